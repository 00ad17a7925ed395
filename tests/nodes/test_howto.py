"""The how-to guides followed on one booted node, from the installation of the package to its removal."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import shipper_eslocal
from booting import SERVER, Bridge, Node, node, run, space, until
from imaging import copied
from readme import blocks, commands
from releasing import NEXT, packed, told
from served import agent_key, fingerprint

from shipper import __version__

pytestmark = [
    pytest.mark.root,
    pytest.mark.es,
    pytest.mark.needs("systemd-nspawn", "dbus-daemon", "dpkg", "ip"),
]

NAMESPACE = "howto"
UNIT = "shipper-host.service"


@dataclass
class Host:
    """``variables``: what is particular to the tests: the server, and that the node is itself a container."""

    node: Node
    es: shipper_eslocal.Cluster
    variables: dict[str, str]

    def run(self, text: str) -> str:
        """The lines, in root's home directory."""
        words = [f"{name}={value}" for name, value in self.variables.items()]
        return self.node.run("env", *words, "bash", "-ec", f"cd /root\n{text}")

    def configure(self, page: str, name: str = "shipper.toml") -> None:
        """What the page shows as configuration."""
        toml = "".join(block.text for block in blocks(page) if block.language == "toml")
        (self.node.tree / "etc/shipper" / name).write_text(toml)

    def put_key(self) -> None:
        key = self.node.tree / "root/api-key"
        key.touch(0o600)
        key.write_text(agent_key(self.es, NAMESPACE))

    def count(self, **terms: str) -> int:
        query = {"bool": {"filter": [{"term": {name.replace("_", "."): value}} for name, value in terms.items()]}}
        stream = f"/metrics-shipper.host-{NAMESPACE}"
        try:
            self.es.request("POST", f"{stream}/_refresh?ignore_unavailable=true")
            answer = self.es.request("POST", f"{stream}/_count?ignore_unavailable=true", {"query": query})
        except shipper_eslocal.Error:  # while a stream's first shard starts
            return 0
        return int(answer["count"])


@pytest.fixture(scope="module")
def host(server: shipper_eslocal.Cluster, dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    variables = {
        "ELASTICSEARCH_HOSTS": f"https://{SERVER}:9200",
        "ELASTICSEARCH_CA_FINGERPRINT": fingerprint(server),
        "INDEX_NAMESPACE": NAMESPACE,
        "COLLECT_PERIOD": "1s",
        "HOST_VERIFY": "false",
    }
    variables = {f"SHIPPER_{name}": value for name, value in variables.items()}
    with ExitStack() as stack:
        base = stack.enter_context(space(tmp_path_factory.mktemp("howto")))
        where = urlsplit(server.url)
        bridge = stack.enter_context(Bridge((str(where.hostname), int(where.port or 0))).made())
        one = stack.enter_context(node(base, bridge, 2))
        (deb,) = dist.glob("*.deb")
        for file in (deb, packed(tmp_path_factory.mktemp("next"), NEXT)["deb"]):
            shutil.copy(file, one.tree / "root")
        drop_in = one.tree / f"etc/systemd/system/{UNIT}.d/test.conf"
        drop_in.parent.mkdir(parents=True)
        lines = "".join(f"Environment={name}={value}\n" for name, value in variables.items())
        drop_in.write_text(f"[Service]\n{lines}")
        one.boot()
        yield Host(one, server, variables)


def test_install(host: Host) -> None:
    lines = commands("README.md", "install")
    bare = [line.partition("  #")[0].strip() for line in commands("units/README.md", "package").splitlines()]
    assert bare == [line.partition("  #")[0].strip() for line in lines.splitlines()]
    host.put_key()
    host.run(lines)
    until(host.count, "a document")
    assert host.node.run("ps", "-o", "user=", "-p", str(host.node.main_pid(UNIT))).strip() == "shipper"
    assert not [one for one in told(host.node)["problems"] if "denied" in one]


def test_secure(host: Host) -> None:
    host.put_key()
    lines = host.run(commands("docs/how-to/secure.md", "host")).splitlines()
    assert [line for line in lines if line.startswith("wrong") and "of a container" not in line] == []
    assert "ok     these credentials may create documents" in lines
    host.put_key()
    before = host.node.main_pid(UNIT)
    host.run(commands("docs/how-to/secure.md", "rotate"))
    assert host.node.main_pid(UNIT) not in (0, before)


def test_labels(host: Host) -> None:
    host.configure("docs/how-to/labels.md")
    host.run(commands("docs/how-to/labels.md", "reload"))
    until(lambda: host.count(labels_role="worker"), "a document with the label")


def test_move_the_spool(host: Host) -> None:
    host.configure("docs/how-to/move-the-spool.md")
    host.run(commands("docs/how-to/move-the-spool.md", "allow"))
    host.run(commands("docs/how-to/move-the-spool.md", "send"))
    assert not list((host.node.tree / "var/lib/shipper/spool/segments").iterdir())
    until(lambda: int(str(told(host.node).get("ticks", 0))) > 1, "ticks in the new directory")
    assert (host.node.tree / "srv/shipper/spool/status.json").exists()
    assert "trouble    none" in host.run("shipper status")


def test_several_clusters(host: Host) -> None:
    host.configure("docs/how-to/several-clusters.md", "second.toml")
    host.run("cp /etc/shipper/api-key /etc/shipper/api-key-2")
    host.run(commands("docs/how-to/several-clusters.md", "second"))


def test_without_a_container_by_pip(host: Host) -> None:
    """With the network of this machine, which the node has not."""
    tree = host.node.tree
    (tree / "root/checkout").mkdir()
    copied(tree / "root/checkout")
    (tree / "root/lines").write_text("cd /root/checkout\n" + commands("units/README.md", "pip"))
    mounts = "; ".join(f"mount --rbind /{name} {tree}/{name}" for name in ("dev", "proc", "sys"))
    run(
        "unshare",
        "--mount",
        "sh",
        "-ec",
        f"{mounts}; mount --bind /etc/resolv.conf {tree}/etc/resolv.conf; chroot {tree} bash -e /root/lines",
    )
    assert host.run("/opt/shipper/bin/shipper --version") == f"shipper {__version__}\n"


def test_alerts_unit(host: Host) -> None:
    assert "shipper-alerts.service" in host.run(commands("units/README.md", "alerts"))


def test_upgrade_and_go_back(host: Host) -> None:
    before = told(host.node)["documents"]["collected"]
    host.run(commands("docs/how-to/upgrade.md", "host"))
    assert NEXT in host.run("dpkg-query --show metrics-shipper")
    until(lambda: told(host.node).get("documents", {}).get("collected", 0) > before, "a tick after the upgrade")
    host.run(commands("docs/how-to/upgrade.md", "back"))
    assert __version__ in host.run("dpkg-query --show metrics-shipper")


def test_uninstall(host: Host) -> None:
    host.run(commands("docs/how-to/uninstall.md", "host"))
    assert (host.node.tree / "etc/shipper/api-key").exists()
    assert host.node.systemctl("show", "--property=LoadState", "--value", UNIT) in {"not-found", "bad-setting"}
    host.run(commands("docs/how-to/uninstall.md", "purge"))
    left = [
        name
        for name in ("etc/shipper", "var/lib/shipper", "usr/lib/metrics-shipper")
        if (host.node.tree / name).exists()
    ]
    assert left == []
