"""Three booted nodes, the units installed as units/README.md says, a real Elasticsearch with security on.

One test after the other on the same nodes: each leaves them running.
"""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fleetd
import psutil
import pytest
import shipper_eslocal
from booting import PROGRAM, SERVER, Bridge, Node, node, run, space, until
from engines import image as busybox
from imaging import Image
from readme import REPOSITORY, commands
from served import agent_key, fingerprint

from shipper.deliver.ledger import Ledger
from shipper.deliver.spool import Spool

pytestmark = [
    pytest.mark.root,
    pytest.mark.es,
    pytest.mark.timeout(900),  # three nodes boot, with docker and a server: minutes on a busy machine
    pytest.mark.needs("systemd-nspawn", "dbus-daemon", "dockerd", "faketime", "ip", "mmdebstrap", "podman"),
]

PERIOD_S = 2
AWAY_S = 60
BEHIND_S = 7200
FAKETIME = (
    "LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    *("FAKETIME_TIMESTAMP_FILE=/opt/clock", "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"),
)
DOCKER = """[Service]
Type=notify
ExecStart=/usr/sbin/dockerd --bridge=none --iptables=false --ip6tables=false --ip-forward=false --storage-driver=vfs
Delegate=yes
[Install]
WantedBy=multi-user.target
"""
WEB = "docker run --detach --name {} --network none shop/web:1.2 /bin/sleep 100000"


@dataclass
class Fleet:
    es: shipper_eslocal.Cluster
    namespace: str
    bridge: Bridge
    nodes: list[Node]
    image: Image

    def search(self, dataset: str, one: Node, **more: Any) -> list[dict[str, Any]]:
        """Documents of a node in the order of their times."""
        query = {"bool": {"filter": [{"term": {"host.name": one.name}}, *more.pop("filters", [])]}}
        body = {"size": 10_000, "sort": [{"@timestamp": "asc"}], "query": query, **more}
        name = f"metrics-shipper.{dataset}-{self.namespace}"
        self.es.request("POST", f"/{name}/_refresh?ignore_unavailable=true")
        found = self.es.request("POST", f"/{name}/_search?ignore_unavailable=true", body)
        return [hit["_source"] for hit in found["hits"]["hits"]]

    def ticks(self, one: Node) -> list[int]:
        """Times of its host documents in seconds."""
        return [seconds(source["@timestamp"]) for source in self.search("host", one, _source=["@timestamp"])]

    def until_newer(self, one: Node, than: float) -> None:
        until(lambda: max(self.ticks(one), default=0) > than, f"documents of {one.name}")


def seconds(timestamp: str) -> int:
    return int(time.mktime(time.strptime(timestamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone)


def missing(ticks: list[int]) -> int:
    """The most ticks in a row that are not there."""
    return max((after - before) // PERIOD_S - 1 for before, after in pairwise(ticks))


@pytest.fixture(scope="module")
def fleet(image: Image, server: shipper_eslocal.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        base = stack.enter_context(space(tmp_path_factory.mktemp("nodes")))
        where = urlsplit(server.url)
        bridge = stack.enter_context(Bridge((str(where.hostname), int(where.port or 0))).made())
        nodes = [stack.enter_context(node(base, bridge, number)) for number in (2, 3, 4)]
        found = Fleet(server, f"t{os.getpid()}", bridge, nodes, image)
        key = agent_key(server, found.namespace)
        for one in nodes:
            configure(found, one, key)
            one.boot()
        install_from_docker(nodes[0], image)
        install_from_podman(nodes[1], image)
        install_from_file(nodes[2], image)
        yield found


def configure(fleet: Fleet, one: Node, key: str) -> None:
    etc = one.tree / "etc/shipper"
    # A node is a container of this machine: what tells so must not keep the shipper from it
    etc.joinpath("shipper.toml").write_text(
        f'[elasticsearch]\nhosts = ["https://{SERVER}:9200"]\nca_fingerprint = "{fingerprint(fleet.es)}"\n'
        'api_key_file = "/etc/shipper/api-key"\n'
        f'[index]\nnamespace = "{fleet.namespace}"\n[collect]\nperiod = "{PERIOD_S}s"\n[bulk]\nbackoff_max = "2s"\n'
        "[host]\nverify = false\n"
    )
    etc.joinpath("api-key").touch(0o400)
    etc.joinpath("api-key").write_text(key)


def install_from_docker(one: Node, image: Image) -> None:
    """Named containers, and the shipper's image in the same engine."""
    (one.tree / "etc/systemd/system/docker.service").write_text(DOCKER)
    with tarfile.open(one.tree / "opt/web.tar", "w") as file:
        file.add(busybox(one.tree / "opt/web"), ".")
    shutil.copy(image.oci, one.tree / "opt" / image.oci.name)
    one.run("systemctl", "enable", "--now", "docker.service")
    one.run("docker", "import", "/opt/web.tar", "shop/web:1.2")
    one.run(*WEB.format("web-1").split())
    one.run("sh", "-ec", "cd /opt\n" + commands("units/README.md", "engine"))


def install_from_podman(one: Node, image: Image) -> None:
    shutil.copy(image.oci, one.tree / "opt" / image.oci.name)
    places = 'runroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n'
    (one.tree / "etc/containers").mkdir(exist_ok=True)
    (one.tree / "etc/containers/storage.conf").write_text(f'[storage]\ndriver = "vfs"\n{places}')  # not on an overlay
    one.run("podman", "load", "--quiet", "--input", f"/opt/{image.oci.name}")
    run(sys.executable, "-m", "shipper", "units", "install", "nspawn", "--root", one.tree)
    one.run("systemctl", "daemon-reload")
    one.run("systemctl", "enable", "--now", "shipper.service")
    assert one.run("podman", "ps", "--all", "--quiet") == one.run("podman", "volume", "ls", "--quiet") == ""


def install_from_file(one: Node, image: Image) -> None:
    shutil.copy(image.tar, one.tree / "opt" / image.tar.name)
    one.run("sh", "-ec", f"cd {REPOSITORY}\n" + commands("units/README.md", "file"))


def test_hosts_and_containers_appear_under_their_own_names(fleet: Fleet) -> None:
    for one in fleet.nodes:
        fleet.until_newer(one, 0)
        host = fleet.search("host", one)[-1]
        assert host["host"]["id"] == (one.tree / "etc/machine-id").read_text().strip()
        assert host["host"]["boot"]["id"] == one.run("cat", "/proc/sys/kernel/random/boot_id").strip()
        assert reads_kernel_log(fleet, one)
        services = {each["cgroup"]["name"] for each in fleet.search("cgroup", one)}
        assert {"shipper.service", "systemd-journald.service"} <= services
    first, *others = fleet.nodes
    named = [{"exists": {"field": "container.name"}}]
    assert {each["container"]["name"] for each in fleet.search("cgroup", first, filters=named)} == {"web-1"}
    assert all(fleet.search("cgroup", one, filters=named) == [] for one in others)


def reads_kernel_log(fleet: Fleet, one: Node) -> bool:
    said = fleet.search("agent", one)[-1]["agent"].get("absent", {}).get("what", [])
    counts = fleet.search("host", one)[-1]["system"].get("kernel", {}).get("log", {})
    return "oom_kill" in counts and not any("kernel log" in each for each in said)


def test_the_agent_says_ready_and_how_it_fares_to_the_hosts_systemd(fleet: Fleet) -> None:
    one = fleet.nodes[0]
    properties = one.systemctl("show", "shipper.service", "--property=StatusText,ActiveState,NRestarts,WatchdogUSec")
    found = dict(line.split("=", 1) for line in properties.splitlines())
    assert (found["ActiveState"], found["NRestarts"], found["WatchdogUSec"]) == ("active", "0", "3min")
    assert "stored" in found["StatusText"]


def agent(one: Node) -> int:
    """Pid of the shipper's own process as this machine sees it; 0 if there is none."""
    for each in psutil.Process(one.init).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if each.cmdline()[1:] == ["/usr/bin/shipper", "run"]:
                return each.pid
    return 0


def test_killed_it_starts_again(fleet: Fleet) -> None:
    one = fleet.nodes[1]
    before = agent(one)
    killed = time.time()
    os.kill(before, signal.SIGKILL)
    until(lambda: agent(one) not in (0, before), "another process")
    fleet.until_newer(one, killed + 2 * PERIOD_S)
    assert missing(fleet.ticks(one)) <= 2


def test_one_that_hangs_is_ended_by_the_watchdog(fleet: Fleet) -> None:
    one = fleet.nodes[1]
    shorter = one.tree / "etc/systemd/system/shipper.service.d/watchdog.conf"
    shorter.parent.mkdir()
    shorter.write_text(f"[Service]\nWatchdogSec={3 * PERIOD_S}\n")
    one.run("systemctl", "daemon-reload")
    one.run("systemctl", "restart", "shipper.service")
    hanging = agent(one)
    os.kill(hanging, signal.SIGSTOP)
    until(lambda: agent(one) not in (0, hanging), "another process")
    assert "Watchdog timeout" in one.journal("shipper.service")
    assert not psutil.pid_exists(hanging)
    shorter.unlink()
    one.run("systemctl", "daemon-reload")
    one.run("systemctl", "restart", "shipper.service")
    fleet.until_newer(one, time.time())


def test_a_filesystem_mounted_later_is_measured(fleet: Fleet) -> None:
    one = fleet.nodes[1]
    one.run("mount", "-t", "tmpfs", "-o", "size=12m", "late", "/mnt")
    try:
        mounted = [{"term": {"system.filesystem.mount_point": "/mnt"}}]
        until(lambda: fleet.search("filesystem", one, filters=mounted), "a document of /mnt")
        assert fleet.search("filesystem", one, filters=mounted)[-1]["system"]["filesystem"]["total"] == 12 << 20
    finally:
        one.run("umount", "/mnt")


def test_stop_sends_what_is_left(fleet: Fleet) -> None:
    one = fleet.nodes[1]
    began = time.monotonic()
    one.run("systemctl", "stop", "shipper.service")
    assert time.monotonic() - began < 20
    assert one.systemctl("show", "--property=Result", "--value", "shipper.service") == "success"
    assert ledger(one).spooled == 0
    one.run("systemctl", "start", "shipper.service")
    fleet.until_newer(one, time.time())


def ledger(one: Node) -> Ledger:
    """Of a shipper that is stopped."""
    spool = Spool(str(one.tree / "var/lib/shipper/spool"), 1 << 30)
    found = Ledger.load(spool)
    spool.close()
    return found


def test_upgrade_leaves_a_gap_of_two_ticks_at_most(fleet: Fleet) -> None:
    one = fleet.nodes[0]
    began = time.time()
    changed = one.tree / "opt/new/shipper-0.1.1.tar"
    changed.parent.mkdir()
    upgraded(fleet.image, changed)
    one.run("sh", "-ec", "cd /opt/new\n" + commands("units/README.md", "upgrade"))
    fleet.until_newer(one, time.time() + PERIOD_S)
    assert "shipper:0.1.1" in one.systemctl("show", "--property=ExecStart", "shipper.service")
    assert (one.tree / "var/lib/shipper-nspawn/current/etc/upgraded").exists()
    assert not (one.tree / "var/lib/shipper-nspawn/previous/etc/upgraded").exists()
    assert missing([tick for tick in fleet.ticks(one) if tick > began - 3 * PERIOD_S]) <= 2


def upgraded(image: Image, tar: Path) -> None:
    """An image of another version: with a file more."""
    shutil.copy(image.tar, tar)
    with tarfile.open(tar, "a") as file:
        file.addfile(tarfile.TarInfo("./etc/upgraded"))
    program = "import sys; from pathlib import Path; from shipper.deploy.image import oci; "
    program += "oci.archive(Path(sys.argv[1]), '0.1.1', 0)"
    run("env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-c", program, tar)


def test_node_is_killed_and_comes_back_while_the_network_is_down(fleet: Fleet) -> None:
    one = fleet.nodes[2]
    boot_id = fleet.search("host", one)[-1]["host"]["boot"]["id"]
    one.kill()
    one.boot(network=False)
    until(lambda: one.systemctl("is-active", "shipper.service") == "active", "the shipper without a network")
    booted = time.time()
    until(lambda: time.time() > booted + 2 * PERIOD_S, "two ticks without a network")
    one.network(up=True)
    fleet.until_newer(one, time.time())
    after = [each for each in fleet.search("host", one) if each["host"]["boot"]["id"] != boot_id]
    assert seconds(after[0]["@timestamp"]) <= booted + PERIOD_S, "what came before the network is there"
    assert len({each["host"]["boot"]["id"] for each in after}) == 1
    # The first tick of a life reads twice, a moment apart; no rate joins two lives
    rates = [value for each in after[:3] for name, value in leaves(each) if name.endswith("_per_s")]
    assert rates
    assert min(rates) >= 0
    first = dict(leaves(after[0]))
    assert first["system.uptime.duration.ms"] > 0


def leaves(source: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in source.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def test_nothing_is_lost_while_the_server_is_away_for_a_minute(fleet: Fleet) -> None:
    fleet.bridge.down()
    gone = time.time()
    until(lambda: time.time() > gone + AWAY_S, "a minute", AWAY_S + 10)
    fleet.bridge.up()
    back = time.time()
    for one in fleet.nodes:
        fleet.until_newer(one, back)

        def whole(one: Node = one) -> bool:
            ticks = [tick for tick in fleet.ticks(one) if gone < tick < back]
            return len(ticks) >= AWAY_S // PERIOD_S - 1 and missing(ticks) == 0

        until(whole, f"all ticks of {one.name}")


def test_ledger_is_even_on_all_nodes(fleet: Fleet) -> None:
    for one in fleet.nodes:
        one.run("systemctl", "stop", "shipper.service")
        found = ledger(one)
        counts = found.counts
        assert (counts.rejected, counts.dropped, found.spooled) == (0, 0, 0)
        assert counts.collected == counts.stored + counts.late
        query = {"query": {"term": {"host.name": one.name}}}
        streams = f"/metrics-shipper.*-{fleet.namespace}"
        fleet.es.request("POST", f"{streams}/_refresh")
        assert fleet.es.request("POST", f"{streams}/_count", query)["count"] == counts.collected


def test_without_a_container_and_the_clock_wrong_at_boot(fleet: Fleet) -> None:
    """Two hours behind until the clock is set while the shipper runs, as time synchronisation does it late."""
    one = fleet.nodes[2]
    (one.tree / "opt/shipper/bin").mkdir(parents=True)
    program = one.tree / "opt/shipper/bin/shipper"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    behind = one.tree / "etc/systemd/system/shipper-host.service.d/clock.conf"
    behind.parent.mkdir()
    behind.write_text(f"[Service]\nEnvironment={' '.join(FAKETIME)}\n")
    clock = one.tree / "opt/clock"
    clock.write_text(f"-{BEHIND_S}\n")
    began = time.time()
    one.run("sh", "-ec", commands("units/README.md", "host"))
    until(lambda: min(fleet.ticks(one)) < began - BEHIND_S + 60, "documents of the wrong time")
    clock.write_text("+0\n")
    fleet.until_newer(one, time.time() + PERIOD_S)
    one.run("systemctl", "disable", "--now", "shipper-host.service")
    found = ledger(one)
    assert found.counts.collected == found.counts.stored + found.counts.late
    wrong = [seconds(each["@timestamp"]) for each in fleet.search("host", one)]
    assert any(tick < began - BEHIND_S + 60 for tick in wrong), "time is not rewritten"
    recent = [each for each in fleet.search("host", one) if seconds(each["@timestamp"]) > began]
    assert min(value for each in recent for name, value in leaves(each) if name.endswith("_per_s")) >= 0
    assert max(each["system"]["cpu"]["total"]["norm"]["pct"] for each in recent) <= 1


def test_docker_by_hand(fleet: Fleet) -> None:
    one = fleet.nodes[0]
    began = time.time()
    one.run("sh", "-ec", commands("units/README.md", "docker"))
    try:
        fleet.until_newer(one, began + PERIOD_S)
        named = {each["container"]["name"] for each in fleet.search("cgroup", one) if "container" in each}
        assert {"web-1", "shipper"} <= named
        assert reads_kernel_log(fleet, one)
    finally:
        one.run("docker", "stop", "--time", "30", "shipper")
    assert ledger(one).spooled == 0


def test_uninstall_leaves_configuration_key_and_spool(fleet: Fleet) -> None:
    one = fleet.nodes[0]
    one.run("sh", "-ec", commands("units/README.md", "uninstall"))
    kept = {name: (one.tree / name).exists() for name in ("etc/shipper/api-key", "var/lib/shipper/spool")}
    assert kept == dict.fromkeys(kept, True)
    gone = [one.tree / "opt/bin/shipper-nspawn", one.tree / "etc/systemd/system/shipper.service"]
    assert [path for path in gone if path.exists()] == []
    assert one.systemctl("show", "--property=LoadState", "--value", "shipper.service") == "not-found"
    run(sys.executable, "-m", "shipper", "units", "install", "nspawn", "--root", one.tree)
    one.run("systemctl", "daemon-reload")


def test_fleets_template_moves_to_a_free_host_when_its_own_is_lost(fleet: Fleet) -> None:
    """fleetd.Engine decides as fleet's engine does; the units are real, and systemd runs them."""
    for one in fleet.nodes:
        shutil.copy(fleet.image.tar, one.tree / "opt" / fleet.image.tar.name)
    words = ["units", "show", "fleet/shipper@.service", "--image", f"/opt/{fleet.image.tar.name}"]
    text = run(sys.executable, "-m", "shipper", *words)
    by_name = {one.name: one for one in fleet.nodes}
    engine = fleetd.Engine(list(by_name))
    for number in (1, 2):
        engine.start(f"shipper@{number}.service", fleetd.parse(text))

    def carry_out() -> list[Node]:
        placed = [(name, by_name[where]) for name, where in engine.schedule().items()]
        for name, one in placed:
            submit(one, name, text)
        return [one for _, one in placed]

    began = time.time()
    first = carry_out()
    assert len({one.name for one in first}) == 2
    for one in first:
        fleet.until_newer(one, began)
    lost, (idle,) = first[0], [one for one in fleet.nodes if one not in first]
    lost.kill()
    engine.lose(lost.name)
    moved = time.time()
    assert carry_out() == [idle]
    fleet.until_newer(idle, moved)
    assert [name for name, where in engine.placed.items() if where == first[1].name] != []


def submit(one: Node, name: str, text: str) -> None:
    """As fleet's agent: the unit lies in /run/fleet/units, linked, and is started."""
    script = (
        f"mkdir -p /run/fleet/units; cat > /run/fleet/units/{name}; systemctl link --runtime /run/fleet/units/{name}"
    )
    words = one.enter("sh", "-ec", f"{script}; systemctl start {name}")
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
