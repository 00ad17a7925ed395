"""A booted systemd, its services and its bus, against what systemctl says of them.

The node is one of ``booting``: nothing of this machine is changed by it.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import booting
import pytest
import shipper_eslocal
from booting import Node
from captured import Ticks
from fault.judged import MINUTE, Judged, fast
from fault.line import configured

from shipper.collect.cgroup import cgroups
from shipper.collect.host import systemd
from shipper.deliver import client
from shipper.fields.rates import Value
from shipper.kernel.source import Root
from shipper.server import setup

pytestmark = [pytest.mark.root, pytest.mark.needs("systemd-nspawn", "dbus-daemon", "ip")]

UNITS = {
    "busy.service": "[Service]\nExecStart=/bin/sh -c 'while :; do :; done'\nCPUAccounting=yes\n",
    "broken.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with ExitStack() as stack:
        base = stack.enter_context(booting.space(tmp_path_factory.mktemp("node")))
        bridge = stack.enter_context(booting.Bridge(("127.0.0.1", 9)).made())
        one = stack.enter_context(booting.node(base, bridge, 2))
        wanted = one.tree / "etc/systemd/system/multi-user.target.wants"
        wanted.mkdir()
        for unit, text in UNITS.items():
            (wanted.parent / unit).write_text(text)
            (wanted / unit).symlink_to(f"../{unit}")
        one.boot()
        yield one


def cgroup_documents() -> dict[str, dict[str, Value]]:
    """The documents of this machine's cgroups by path."""
    ticks = Ticks(Root(), (cgroups.COLLECTOR,))
    try:
        return ticks.tick()["cgroup"]
    finally:
        ticks.close()


def test_cpu_of_a_service_is_what_systemd_accounts(node: Node) -> None:
    path = f"{node.cgroup}/system.slice/busy.service"
    before = cgroup_documents()[path]
    theirs = int(node.systemctl("show", "--property=CPUUsageNSec", "--value", "busy.service"))
    after = cgroup_documents()[path]
    assert (before["cgroup.kind"], before["cgroup.name"], before["cgroup.aggregate"]) == (
        "service",
        "busy.service",
        False,
    )
    first, second = before["cgroup.cpu.usage.ns"], after["cgroup.cpu.usage.ns"]
    assert isinstance(first, int)
    assert isinstance(second, int)
    assert 0 < first * 0.98 <= theirs <= second * 1.02


def test_every_running_service_of_systemd_has_a_document(node: Node) -> None:
    listed = node.systemctl("list-units", "--type=service", "--state=running", "--no-legend", "--plain").splitlines()
    running = {line.split()[0] for line in listed}
    assert "busy.service" in running
    named = {values["cgroup.name"] for path, values in cgroup_documents().items() if path.startswith(node.cgroup)}
    assert running <= named


def test_units_by_state_are_those_that_systemctl_lists(node: Node) -> None:
    ticks = Ticks(Root(f"/proc/{node.init}/root"), (systemd.COLLECTOR,))
    values = ticks.tick()["host"][""]
    listed = node.systemctl("list-units", "--all", "--no-legend", "--plain").splitlines()
    states = Counter(line.split()[2] for line in listed)
    assert "broken.service" in str(values["system.systemd.failed"])
    for state in ("active", "failed"):
        ours = values[f"system.systemd.units.{state}.count"]
        assert isinstance(ours, int)
        assert abs(ours - states[state]) <= 1, "a unit may come or go between the two questions"
    assert ticks.problems == []
    ticks.close()


def test_a_failed_unit_is_an_alert_until_it_is_reset(
    node: Node, server: shipper_eslocal.Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fast(monkeypatch)
    way = {"ca_file": str(server.ca_file), "username": server.username, "password_file": str(server.password_file)}
    options = {"host_root": f"/proc/{node.init}/root", "datasets": ("host", "agent")}
    config = configured(server.url, "units", tmp_path, elasticsearch=way, collect=options)
    with client.connect(config) as connection:
        setup.install(connection, config, lambda _line: None)
    one = Judged(server, config)
    one.run(4 * MINUTE)
    assert "broken.service" in one.alerts()["host-units-failed", config.host.name].note
    node.systemctl("reset-failed", "broken.service")
    one.run(5 * MINUTE)
    assert ("host-units-failed", config.host.name) not in one.alerts()
    one.line.close()
