"""units/kubernetes without a kubelet: the DaemonSet's pod on one node, by ``podman kube play``.

podman 4.3 ignores these of the specification: ``hostPID``, ``defaultMode`` of a secret, the medium of an ``emptyDir``,
``terminationGracePeriodSeconds``, the readiness probe, and the arguments of the liveness probe's command.
"""

import base64
import json
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
import yaml
from booting import until
from engines import Podman, podman, short_path
from imaging import Image
from moments import HOSTS
from readme import REPOSITORY
from served import agent_key, fingerprint

pytestmark = [pytest.mark.root, pytest.mark.es, pytest.mark.needs("podman", "mmdebstrap")]

MANIFEST = REPOSITORY / "units/kubernetes/shipper.yaml"
CAPTURED = HOSTS / "debian-12-v2-systemd"
CAPABILITIES = 1 << 2 | 1 << 19  # DAC_READ_SEARCH, SYS_PTRACE
EXAMPLE = 'hosts = ["https://elasticsearch.example:9200"]\n'


@dataclass
class Pod:
    engine: Podman
    es: shipper_eslocal.Cluster
    namespace: str

    def newest(self, dataset: str, **terms: str | bool) -> dict[str, Any]:
        """The fields of the newest document with these values, once there is one."""
        filters = [{"term": {name.replace("_", "."): value}} for name, value in terms.items()]
        body = {
            "size": 1, "sort": [{"@timestamp": "desc"}], "query": {"bool": {"filter": filters}}, "fields": ["*"],
        }  # fmt: skip
        stream = f"/metrics-shipper.{dataset}-{self.namespace}"
        found: list[dict[str, Any]] = []

        def arrived() -> bool:
            with suppress(shipper_eslocal.Error):  # while a stream's first shard starts
                self.es.request("POST", f"{stream}/_refresh?ignore_unavailable=true")
                answer = self.es.request("POST", f"{stream}/_search?ignore_unavailable=true", body)
                found[:] = [hit["fields"] for hit in answer["hits"]["hits"]]
            return bool(found)

        until(arrived, f"a document of {dataset} with {terms}")
        return {name: values[0] for name, values in found[0].items()}


Played = Callable[[str], AbstractContextManager[Pod]]


@pytest.fixture(scope="module")
def engine(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """It has the image."""
    # without CAP_SYS_RESOURCE the defaults cannot be set
    limits = tmp_path_factory.mktemp("engine") / "containers.conf"
    limits.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
    with short_path() as short, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(limits))
        with podman(short / "p") as one:
            one.run("load", "--quiet", "--input", str(image.oci))
            yield one


@pytest.fixture
def played(engine: Podman, server: shipper_eslocal.Cluster, tmp_path: Path) -> Played:
    namespace = "".join(re.findall("[a-z0-9]", tmp_path.name))

    @contextmanager
    def play(host: str) -> Iterator[Pod]:
        """The pod, with the directory ``host`` as the node's /."""
        kinds = {one["kind"]: one for one in yaml.safe_load_all(MANIFEST.read_text())}
        address = f'hosts = ["{server.url}"]\nca_fingerprint = "{fingerprint(server)}"\n'
        data = kinds["ConfigMap"]["data"]
        assert EXAMPLE in data["shipper.toml"]
        data["shipper.toml"] = data["shipper.toml"].replace(EXAMPLE, address) + (
            f'[index]\nnamespace = "{namespace}"\n[collect]\nperiod = "1s"\n'
            f"[host]\nverify = {str(host == '/').lower()}\n"
        )
        secret = kinds["Secret"]
        assert secret.pop("stringData") == {"api-key": "ID:KEY"}
        # what the API server makes of stringData
        secret["data"] = {"api-key": base64.b64encode(agent_key(server, namespace).encode()).decode()}
        template = kinds["DaemonSet"]["spec"]["template"]
        volumes = {one["name"]: one for one in template["spec"]["volumes"]}
        volumes["secret"]["secret"]["optional"] = False  # podman 4.3 crashes without
        volumes["host"]["hostPath"]["path"] = host
        volumes["state"]["hostPath"]["path"] = str(tmp_path / "state")
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "shipper", **template["metadata"]}}
        (tmp_path / "secret.yaml").write_text(yaml.safe_dump(secret))
        (tmp_path / "pod.yaml").write_text(yaml.safe_dump_all([kinds["ConfigMap"], pod]))
        engine.run("secret", "create", "shipper", str(tmp_path / "secret.yaml"))
        engine.run("kube", "play", str(tmp_path / "pod.yaml"))
        try:
            yield Pod(engine, server, namespace)
        finally:
            engine.run("pod", "rm", "--force", "--time", "0", "--all")
            engine.run("secret", "rm", "shipper")

    return play


def spec() -> dict[str, Any]:
    """The container of the manifest."""
    (found,) = (one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == "DaemonSet")
    container: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return container


def test_pod_ships_the_host_with_the_rights_of_the_manifest_only(played: Played) -> None:
    with played("/") as pod:
        host = pod.newest("host", host_name=platform.node())
        assert host["host.boot.id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        total = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
        assert total and host["system.memory.total"] == int(total[1]) * 1024
        (state,) = json.loads(pod.engine.run("inspect", "shipper-shipper"))
        path = state["State"]["CgroupPath"]
        assert pod.newest("cgroup", cgroup_path=path)["cgroup.memory.limit.bytes"] == 256 << 20
        for probe in ("readinessProbe", "livenessProbe"):
            pod.engine.run("exec", "shipper-shipper", *spec()[probe]["exec"]["command"])
        lines = Path(f"/proc/{state['State']['Pid']}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines)
        assert {int(status[f"Cap{name}"], 16) for name in ("Prm", "Eff", "Bnd")} == {CAPABILITIES}
        assert {status[f"Cap{name}"] for name in ("Inh", "Amb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        for file in ("/x", "/usr/x", "/media/root/x", "/etc/shipper/x", "/run/secrets/shipper/x"):
            words = pod.engine.words("exec", "shipper-shipper", "touch", file)
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            assert done.stderr.endswith("Read-only file system\n"), file
        pod.engine.run("pod", "stop", "--time", str(30), "shipper")
        assert pod.newest("agent", agent_stopped=True)


def test_pod_reads_a_node_with_cgroup_v2(played: Played) -> None:
    """Of a captured node: the machine of the tests may have the first version."""
    expected = json.loads((CAPTURED / "golden.json").read_text())["0"]["documents"]["cgroup"]["/init.scope"]
    with played(str(CAPTURED / "0")) as pod:
        found = pod.newest("cgroup", cgroup_path="/init.scope")
    assert found["host.name"] == (CAPTURED / "0/etc/hostname").read_text().strip()
    names = ("cgroup.mode", "cgroup.kind", "cgroup.cpu.usage.ns", "cgroup.memory.usage.bytes", "cgroup.pids.current")
    assert {name: found.get(name) for name in names} == {name: expected.get(name) for name in names}
