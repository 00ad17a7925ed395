"""Which exit status lets a unit start again: tried with the real units by systemd on a booted node.

The image is a shell that ends with the status it finds on the host; so is the program of the unit without a container.
"""

import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest
from booting import PROGRAM as REAL
from booting import Bridge, Node, node, run, space, until
from engines import image as busybox
from readme import README

from shipper.base.errors import EXIT_CODES
from shipper.deploy import units

UNITS = ("shipper.service", "shipper-host.service", "fleet.service")
PROGRAM = (
    "#!/bin/sh\nfor file in /media/root/opt/status /opt/status; do [ ! -f $file ] || exit $(/bin/cat $file); done\n"
)
AGAIN = (1, 4, 66, 69, 73, 130)
MORE_THAN_THE_DEFAULT_LIMIT = 6  # systemd's own is 5 starts within 10 s


def test_readme_has_the_table() -> None:
    text = README.read_text(encoding="utf-8").split("## Exit statuses", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (\d+) \| (.+) \| (yes|no) \|$", text, re.MULTILINE)
    stay_down = {int(status) for status, _, again in rows if again == "no"}
    assert stay_down == set(units.STAY_DOWN)
    assert {int(status) for status, _, _ in rows} >= set(units.STAY_DOWN) | set(EXIT_CODES) - {141}
    assert {int(status): meaning for status, meaning, again in rows if again == "no"} == dict(units.STAY_DOWN)


@pytest.mark.parametrize("path", [path for path in units.files() if path.endswith((".service", ".container"))])
def test_every_unit_has_the_same_statuses_and_no_limit(path: str) -> None:
    text = units.render(units.files()[path])
    assert f"RestartPreventExitStatus={' '.join(map(str, units.STAY_DOWN))}\n" in text
    assert re.search(r"^StartLimitInterval(Sec)?=0$", text, re.MULTILINE)
    assert "Restart=always\n" in text


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with ExitStack() as stack:
        base = stack.enter_context(space(tmp_path_factory.mktemp("nodes")))
        bridge = stack.enter_context(Bridge(("127.0.0.1", 9)).made())
        one = stack.enter_context(node(base, bridge, 2))
        install(one, base)
        one.boot()
        yield one


def install(one: Node, base: Path) -> None:
    tree = busybox(base / "tiny")
    for name in ("cat", "touch"):
        (tree / "bin" / name).symlink_to("busybox")
    for name in (
        "etc/shipper",
        "media/root",
        "var/lib/shipper",
        "run/credentials",
    ):  # a root that is read-only has them
        (tree / name).mkdir(parents=True)
    for name in ("etc/hosts", "etc/resolv.conf"):
        (tree / name).touch()
    programs = tree / "usr/bin/shipper", one.tree / "opt/shipper/bin/shipper"
    for program in programs:
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)
    with tarfile.open(one.tree / "opt/tiny.tar", "w") as file:
        file.add(tree, ".")
    (one.tree / "etc/shipper/api-key").write_text("id:key")
    for way in ("nspawn", "host"):
        words = ["units", "install", way, "--root", str(one.tree)]
        run(sys.executable, "-m", "shipper", *words, *(["--image", "/opt/tiny.tar"] if way == "nspawn" else []))
    text = units.render(units.files()["fleet/shipper.service"], "/opt/tiny.tar")
    (one.tree / "etc/systemd/system/fleet.service").write_text(text)
    for unit in UNITS:
        drop_in = one.tree / f"etc/systemd/system/{unit}.d/quick.conf"
        drop_in.parent.mkdir()
        drop_in.write_text("[Service]\nRestartSec=100ms\n")


@pytest.mark.root
@pytest.mark.needs("systemd-nspawn", "ip", "busybox")
@pytest.mark.parametrize("unit", UNITS)
def test_status_that_no_start_mends_leaves_the_unit_down(booted: Node, unit: str) -> None:
    for status in units.STAY_DOWN:
        (booted.tree / "opt/status").write_text(f"{status}\n")
        booted.systemctl("start", "--no-block", unit)
        wait_for(booted, unit, status)
        assert restarts(booted, unit) == 0
        booted.systemctl("reset-failed", unit)


@pytest.mark.root
@pytest.mark.needs("systemd-nspawn", "ip", "busybox")
@pytest.mark.parametrize("unit", UNITS)
def test_any_other_status_starts_it_again_for_ever(booted: Node, unit: str) -> None:
    for status in AGAIN:
        (booted.tree / "opt/status").write_text(f"{status}\n")
        booted.systemctl("start", "--no-block", unit)
        least = MORE_THAN_THE_DEFAULT_LIMIT if status == AGAIN[0] else 1
        until(partial(started_again, booted, unit, least), f"{unit} to start again after {status}")
        booted.systemctl("stop", unit)
        booted.systemctl("reset-failed", unit)


def wait_for(one: Node, unit: str, status: int) -> None:
    """Until the unit has failed with ``status``; says what it did instead."""
    wanted = ("failed", str(status))
    try:
        until(lambda: state(one, unit) == wanted, "", 20)
    except AssertionError:
        assert state(one, unit) == wanted, one.journal(unit)[-2000:]


def started_again(one: Node, unit: str, least: int) -> bool:
    return restarts(one, unit) >= least


@pytest.mark.root
@pytest.mark.needs("systemd-nspawn", "ip", "busybox")
def test_trees_of_others_in_the_same_directory_are_left_alone(booted: Node) -> None:
    machines = booted.tree / "var/lib/machines"
    (machines / "postgres-prod/data").mkdir(parents=True)
    machines.chmod(0o755)
    rc = booted.tree / "etc/shipper/nspawnrc"
    rc.write_text("NSPAWN_MACHINES=/var/lib/machines\n")
    try:
        run(
            sys.executable,
            "-m",
            "shipper",
            "units",
            "install",
            "nspawn",
            "--root",
            booted.tree,
            "--image",
            "/opt/tiny.tar",
        )
        booted.run("systemctl", "daemon-reload")
        (booted.tree / "opt/status").write_text("3\n")
        booted.systemctl("start", "--no-block", "shipper.service")
        wait_for(booted, "shipper.service", 3)
        assert (machines / "current/usr/bin/shipper").exists()
        assert (machines / "postgres-prod/data").exists()
        assert machines.stat().st_mode & 0o777 == 0o755
    finally:
        rc.unlink()
        booted.systemctl("reset-failed", "shipper.service")


@pytest.fixture
def real(booted: Node) -> Iterator[Node]:
    """The unit without a container runs the shipper of this checkout, on a spool of 1 MiB; no server is there."""
    program = booted.tree / "opt/shipper/bin/shipper"
    former = program.read_text()
    program.write_text(REAL)
    configure(booted, "")
    booted.run("sh", "-ec", "mkdir -p /var/lib/shipper; mount -t tmpfs -o size=1m,mode=700 spool /var/lib/shipper")
    booted.run("systemctl", "start", "shipper-host.service")
    yield booted
    booted.systemctl("stop", "shipper-host.service")
    booted.run("umount", "--lazy", "/var/lib/shipper")
    program.write_text(former)


def configure(one: Node, more: str) -> None:
    (one.tree / "etc/shipper/shipper.toml").write_text(
        '[elasticsearch]\nhosts = ["http://127.0.0.1:9"]\n[host]\nverify = false\n'
        f'[spool]\nflush = "1s"\n[collect]\nperiod = "1s"\ndatasets = ["host", "agent"]\n{more}\n'
    )


@pytest.mark.root
@pytest.mark.needs("systemd-nspawn", "ip", "busybox")
def test_a_reload_with_a_wrong_file_leaves_the_agent_as_it_was(real: Node) -> None:
    unit, before = "shipper-host.service", real.main_pid("shipper-host.service")
    configure(real, 'command_line_scrub = ["(("]')
    real.run("systemctl", "reload", unit)
    until(lambda: "reload failed; keeping the previous configuration: " in real.journal(unit), "the refusal")
    configure(real, 'labels = ["other"]')
    real.run("systemctl", "kill", "--kill-whom=main", "--signal=HUP", unit)
    until(lambda: "the configuration is valid; restarting with it" in real.journal(unit), "the reload")
    until(lambda: real.journal(unit).count("every 1s to metrics-shipper.*-default") == 2, "the new start")
    until(lambda: real.systemctl("is-active", unit) == "active", "the end of the reload")
    assert real.main_pid(unit) == before


@pytest.mark.root
@pytest.mark.needs("systemd-nspawn", "ip", "busybox")
def test_on_a_full_disk_the_agent_is_alive_and_says_so(real: Node) -> None:
    def status(*options: str) -> tuple[int, str]:
        words = real.enter("/opt/shipper/bin/shipper", "status", *options)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    until(lambda: status("--ready")[0] == 0, "a first tick")
    real.run("sh", "-c", "head -c 2000000 /dev/zero > /var/lib/shipper/filler || true")
    until(lambda: "the disk of the spool is full since" in status()[1], "the full disk")
    assert status()[0] == 0
    assert status("--strict")[0] == 1
    real.run("rm", "/var/lib/shipper/filler")
    until(lambda: "the disk of the spool" not in status()[1], "room again")
    assert "spool: the disk accepts documents again" in real.journal("shipper-host.service")


def restarts(one: Node, unit: str) -> int:
    return int(one.systemctl("show", "--property=NRestarts", "--value", unit) or 0)


def state(one: Node, unit: str) -> tuple[str, str]:
    shown = one.systemctl("show", "--property=ActiveState", "--property=ExecMainStatus", unit)
    found = dict(line.split("=", 1) for line in shown.splitlines())
    return found["ActiveState"], found["ExecMainStatus"]


@pytest.mark.root
@pytest.mark.needs("systemd-nspawn", "ip", "podman", "busybox", "netavark")
@pytest.mark.parametrize("network", ["netavark", "cni"])
def test_podman_with_either_network_gives_the_unit_its_image(booted: Node, network: str) -> None:
    """netavark locks a file below /etc/containers, cni one below /etc/cni: the unit's sandbox has /etc read-only."""
    etc = booted.tree / "etc/containers"
    (etc / "storage.conf").write_text(
        '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n'
    )
    (etc / "containers.conf").write_text(f'[network]\nnetwork_backend = "{network}"\n')
    marked = booted.tree / "opt/marked.tar"
    with tarfile.open(booted.tree / "opt/tiny.tar") as plain, tarfile.open(marked, "w") as file:
        for member in plain:
            file.addfile(member, plain.extractfile(member) if member.isreg() else None)
        file.addfile(tarfile.TarInfo(f"./usr/{network}"), BytesIO())
    assert booted.run("podman", "info", "--format", "{{.Host.NetworkBackend}}").strip() == network
    booted.run("podman", "import", "--quiet", "/opt/marked.tar", f"tiny:{network}")
    run(
        sys.executable,
        "-m",
        "shipper",
        "units",
        "install",
        "nspawn",
        "--root",
        booted.tree,
        "--image",
        f"tiny:{network}",
    )
    booted.run("systemctl", "daemon-reload")
    (booted.tree / "opt/status").write_text("3\n")
    booted.systemctl("start", "--no-block", "shipper.service")
    wait_for(booted, "shipper.service", 3)
    assert (booted.tree / f"var/lib/shipper-nspawn/current/usr/{network}").exists()
    assert booted.run("podman", "ps", "--all", "--quiet") == ""
    booted.systemctl("reset-failed", "shipper.service")
