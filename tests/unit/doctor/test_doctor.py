"""What ``shipper doctor`` makes of a host, a container and a spool, from the kernel's own words."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from shipper import cli
from shipper.base.findings import Finding
from shipper.doctor import delivery, host
from shipper.kernel.source import Reader, Root
from shipper.settings.config import Config, Elasticsearch


def levels(findings: Iterable[Finding]) -> list[str]:
    return [str(finding.level) for finding in findings]


def one(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_kernel_without_psi_or_memory_controller(tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpu io pids\n")
    reader = Reader(Root(str(tmp_path)))
    assert "psi=1" in one(host.pressure(reader)).remedy
    lacking = one(host.memory_controller(reader))
    assert (lacking.level, "cgroup_enable=memory" in lacking.remedy) == ("wrong", True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpu io memory pids\n")
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/pressure/cpu").touch()
    assert levels([*host.pressure(reader), *host.memory_controller(reader)]) == ["ok", "ok"]


@pytest.mark.parametrize(
    ("effective", "lacking"),
    [
        ("000001ffffffffff", ""),
        ("0000000000080004", ""),
        ("0000000000000004", "CAP_SYS_PTRACE"),
        ("0000000000000000", "CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE"),
    ],
)
def test_capabilities(effective: str, lacking: str) -> None:
    found = one(host.capabilities(f"Name:\tx\nCapEff:\t{effective}\n".encode()))
    assert found.text.startswith(f"this process lacks {lacking}:") if lacking else found.level == "ok"


@pytest.mark.parametrize(
    ("label", "remedy"),
    [
        (b"docker-default (enforce)\n", "start the container with --security-opt apparmor=unconfined"),
        (b"system_u:system_r:container_t:s0:c1,c2\0", "start the container with --security-opt label=disable"),
        (b"unconfined\n", None),
        (b"", None),
    ],
)
def test_confinement(label: bytes, remedy: str | None) -> None:
    assert [finding.remedy for finding in host.confinement(label)] == ([remedy] if remedy else [])


def test_binds_of_the_hosts_root() -> None:
    bound = b"40 1 254:0 / /media/root %s,relatime master:1 - ext4 /dev/vda rw\n"
    assert levels(host.mounts(bound % b"ro", "/media/root", "")) == ["ok"]
    assert "docker run --volume /:/media/root:ro,rslave" in one(host.mounts(bound % b"rw", "/media/root", "")).remedy
    assert "--bind-ro=/:/media/root" in one(host.mounts(bound % b"rw", "/media/root", "systemd-nspawn")).remedy
    assert levels(host.mounts(bound, "/", "")) == []


def test_two_agents() -> None:
    lines = {
        "7": b"/usr/bin/python3\0/usr/bin/shipper\0run\0",
        "8": b"python3\0-m\0shipper\0run\0--period\x001s\0",
        "9": b"/usr/bin/python3\0/usr/bin/shipper\0top\0",
        "10": b"vi\0shipper\0",
    }
    assert one(host.agents(lines)).text == "2 agents run on this host: processes 7, 8"
    assert levels(host.agents({pid: lines[pid] for pid in ("8", "9", "10")})) == []


def test_a_spool_that_does_not_last() -> None:
    mounts = (
        b"20 1 254:0 / / rw - ext4 /dev/vda rw\n"
        b"21 20 0:30 / /run rw - tmpfs tmpfs rw\n"
        b"22 20 0:31 / /var/lib rw - ext4 /dev/vdb rw\n"
    )
    assert one(delivery.spool("/run/shipper", mounts, 1 << 30, 0)).text == (
        "spool /run/shipper: tmpfs, so a boot loses the documents that wait"
    )
    assert levels(delivery.spool("/var/lib/shipper", mounts, 1 << 30, 0)) == []
    assert levels(delivery.spool("/runner", mounts, 1 << 30, 1 << 20)) == ["ok"]
    small = one(delivery.spool("/var/lib/shipper", mounts, 3 << 20, 1 << 20))
    assert small.remedy == "set spool.max_bytes to 24MiB for a day"


def test_names_and_proxies() -> None:
    config = Config(elasticsearch=Elasticsearch(hosts=("https://nosuchhost.invalid:9200",)))
    assert one(delivery.servers(config, {})).text.startswith("the name nosuchhost.invalid cannot be resolved: ")
    through = [*delivery.servers(config, {"HTTPS_PROXY": "http://u:hunter2@127.0.0.1:3128"})]
    assert [str(finding) for finding in through] == [
        "ok     https://nosuchhost.invalid:9200 is asked through the proxy 127.0.0.1:3128"
    ]


def test_the_command_tells_what_is_wrong_and_its_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--spool", str(tmp_path), "--host-name", "a", "--elasticsearch-hosts", "http://127.0.0.1:1"]
    assert cli.main(["doctor", *where]) == 4
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("wrong  http://127.0.0.1:1: connection refused")
    assert lines[at + 1].startswith("       → elasticsearch.hosts must name a server that runs")
    assert not any(line.startswith("ok ") for line in lines)
    assert cli.main(["check", "--json", "--online", *where]) == 4
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"level": "wrong", "text": "http://127.0.0.1:1: connection refused"}.items() <= findings[-1].items()
