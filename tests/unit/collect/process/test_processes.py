"""The busiest and largest processes: found, described, and put to their container."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from captured import Ticks, collecting
from hypothesis import given
from hypothesis import strategies as st

from shipper.collect.cgroup.identity import CgroupKind
from shipper.collect.process import busiest, processes, stat
from shipper.collect.process.busiest import Busiest
from shipper.kernel.hierarchy import detect
from shipper.kernel.parse import ParseError
from shipper.kernel.source import Reader, Root
from shipper.settings.config import Config

STAT = (
    b"4211 (ng) inx: (w 1) S 4209 4211 4211 0 -1 4194368 812 0 3 0 1520 733 0 0 20 0 7 0 51020 10 300 "
    b"18446744073709551615 0 0 0 0\n"
)
ID = "ab" * 32
MIB = 1 << 20


def test_a_name_with_blanks_and_brackets_shifts_no_column() -> None:
    found = stat.parse(STAT)
    assert (found.pid, found.name, found.state, found.parent) == (4211, "ng) inx: (w 1", "sleeping", 4209)
    assert (found.cpu, found.threads, found.start) == (2253, 7, 51020)
    assert found.rss == 300 * os.sysconf("SC_PAGE_SIZE")
    assert found.key == "4211-51020"


@given(st.binary() | st.builds(lambda a, b: STAT[:a] + b + STAT[a:], st.integers(0, len(STAT)), st.binary(max_size=9)))
def test_any_text_is_a_stat_or_a_parse_error(data: bytes) -> None:
    try:
        found = stat.parse(data)
    except ParseError as error:
        found = error.partial
    if found:
        assert min(one or 0 for one in (found.pid, found.cpu, found.rss, found.start)) >= 0


def without(found: stat.Stat, column: str) -> stat.Stat:
    lost: dict[str, Any] = {column: None}
    return replace(found, **lost)


@pytest.mark.parametrize(
    ("column", "lost"),
    [
        *(("4209 4211", "parent"), ("1520", "cpu"), ("733", "cpu")),
        *(("7 0 51020", "threads"), ("51020", "start"), ("300", "rss")),
    ],
)
@pytest.mark.parametrize("damage", ["-", "9" * 30])
def test_a_damaged_column_costs_that_column(column: str, lost: str, damage: str) -> None:
    first = column.split(maxsplit=1)[0]
    text = STAT.replace(f" {column} ".encode(), f" {column.replace(first, damage, 1)} ".encode())
    assert text != STAT
    sound = stat.parse(STAT)
    with pytest.raises(ParseError) as raised:
        stat.parse(text)
    assert raised.value.partial == without(sound, lost)


@pytest.mark.parametrize(
    ("text", "path", "kind"),
    [
        (f"0::/system.slice/docker-{ID}.scope/init\n", f"/system.slice/docker-{ID}.scope", CgroupKind.CONTAINER),
        (f"5:memory:/docker/{ID}\n1:cpu:/\n0::/\n", f"/docker/{ID}", CgroupKind.CONTAINER),
        ("0::/system.slice/sshd.service\n", "/system.slice/sshd.service", CgroupKind.SERVICE),
        ("0::/user.slice/user-0.slice/session-1.scope\n", "/user.slice/user-0.slice/session-1.scope", CgroupKind.SCOPE),
        ("4:memory:/own/a:b\n0::/\n", "/own/a:b", None),
    ],
)
def test_the_cgroup_that_tells_most(text: str, path: str, kind: CgroupKind | None) -> None:
    found = busiest.cgroup_of(text.encode())
    assert found is not None
    assert (found[0], found[1].kind if found[1] else None) == (path, kind)


@pytest.mark.parametrize("text", ["0::/\n", "0::/../../system.slice/sshd.service\n", "", "garbage"])
def test_no_cgroup_is_told_rather_than_a_wrong_one(text: str) -> None:
    assert busiest.cgroup_of(text.encode()) is None


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["db", "--password=hunter2", "-v"], "db --password=*** -v"),
        (
            ["curl", "-H", "Authorization: Bearer", "https://u:pw@host/x"],
            "curl -H Authorization: *** https://u:***@host/x",
        ),
        (["app", "API_KEY", "k1"], "app API_KEY ***"),
        (["plain", "words"], "plain words"),
        (["curl", "-H", "Authorization: Bearer X1"], "curl -H Authorization: ***"),
        (["curl", "-HAuthorization: Basic X1", "-H", "X-Api-Key: X1"], "curl -HAuthorization: *** -H X-Api-Key: ***"),
        (["curl", "--header=Cookie: a=X1; b=X1"], "curl --header=Cookie: ***"),
        (["curl", "-sSu", "ann:X1:X1", "-uann:X1", "--user=ann:X1"], "curl -sSu ann:*** -uann:*** --user=ann:***"),
        (["curl", "-u", "X1", "-o", "a"], "curl -u *** -o a"),
        (["app", "--password=correct X1"], "app --password=***"),
        (["app", "--password", "correct X1", "next"], "app --password *** next"),
        (
            ["app", "-password", "X1", "--passwordFile=/run/a", "--password-stdin", "b"],
            "app -password *** --passwordFile=/run/a --password-stdin b",
        ),
        (
            ["env", "AWS_SECRET_ACCESS_KEY=X1", "AWS_REGION=eu", "PGPASSWORD=X1 X1", "psql"],
            "env AWS_SECRET_ACCESS_KEY=*** AWS_REGION=eu PGPASSWORD=*** psql",
        ),
        (["/usr/bin/redis-cli", "-h", "a", "-a", "X1", "ping"], "/usr/bin/redis-cli -h a -a *** ping"),
        (["sudo", "redis-cli", "config", "set", "requirepass", "X1"], "sudo redis-cli config set requirepass ***"),
        (["mysql", "-uroot", "-pX1", "-P3306", "db"], "mysql -uroot -p*** -P3306 db"),
        (["docker", "run", "-p", "80:80", "web"], "docker run -p 80:80 web"),
        (["docker", "login", "-u", "ann", "-p", "X1", "registry"], "docker login -u ann -p *** registry"),
        (["ldapsearch", "-x", "-w", "X1", "-D", "cn=a"], "ldapsearch -x -w *** -D cn=a"),
        (["sshpass", "-p", "X1", "ssh", "host"], "sshpass -p *** ssh host"),
        (["smbclient", "-U", "ann%X1", "//host/a"], "smbclient -U ann%*** //host/a"),
        (["rabbitmqctl", "add_user", "ann", "X1"], "rabbitmqctl add_user *** ***"),
        (
            ["java", "-Djavax.net.ssl.keyStorePassword=X1", "-jar", "a"],
            "java -Djavax.net.ssl.keyStorePassword=*** -jar a",
        ),
        (["keytool", "-storepass", "X1", "-alias", "a"], "keytool -storepass *** -alias a"),
        (["app", "--db", "postgres://ann:p@X1@host/db?ssl=on"], "app --db postgres://ann:***@host/db?ssl=on"),
        (["git", "clone", "https://X1X1@github.com/a"], "git clone https://***@github.com/a"),
        (["app", "https://host/a?x=1&access_token=X1&y=2"], "app https://host/a?x=1&access_token=***"),
        (["app", '{"user": "a", "password": "X1"}'], 'app {"user": "a", "password": ***'),
        (["mount", "-o", "username=ann,password=X1", "//a/b"], "mount -o username=ann,password=*** //a/b"),
        (["app", "ghp_" + "X1" * 15, "x"], "app *** x"),
        (["app", "eyJ" + "a" * 20 + ".eyJ" + "X1" * 9 + ".s-X1"], "app ***"),
        (["sh", "-c", "redis-cli -a X1 ping | tail"], "sh -c redis-cli -a *** ping | tail"),
        (["sh", "-c", "export TOKEN=X1; run"], "sh -c export TOKEN=***"),
        (["vault", "login", "X1"], "vault login ***"),
        (
            ["app", "--api-key", "X1", "--key", "a.pem", "--keyboard=de", "--tokenizer=b", "--compass=n"],
            "app --api-key *** --key a.pem --keyboard=de --tokenizer=b --compass=n",
        ),
        (["passwd", "ann"], "passwd ann"),
    ],
)
def test_secrets_are_scrubbed_from_arguments(arguments: list[str], shown: str) -> None:
    found = Busiest(Reader(Root()), Config(), 1).scrubbed(arguments)
    assert found == shown
    assert "X1" not in found


def test_further_expressions_hide_their_group_only() -> None:
    config = collecting(command_line_scrub=(r"room (\S+)", r"nothing(at all)?"))
    shown = Busiest(Reader(Root()), config, 1).scrubbed(["app", "o", "room", "o", "nothing", "--token", "t"])
    assert shown == "app o room *** nothing --token ***"


def test_a_secret_at_the_end_of_what_is_shown_is_not_cut_open() -> None:
    line = Busiest(Reader(Root()), Config(), 1).scrubbed(["app", "x" * 1010, "--password=X1", "y" * 5000])
    assert "X1" not in line
    assert len(line) == 1024


def works(pid: int, seconds: float) -> None:
    """Wait until the process has used that much CPU time from now on."""
    process = psutil.Process(pid)
    wanted = sum(process.cpu_times()[:2]) + seconds
    while sum(process.cpu_times()[:2]) < wanted:
        time.sleep(0.05)


def looked(seconds: float, busy: int = 0, **collect: Any) -> dict[int, dict[str, Any]]:
    """Documents by process id, of two looks at this machine; between them ``busy`` has worked for ``seconds``."""
    config = collecting(**collect)
    ticks = Ticks(Root(), (processes.COLLECTOR,), config)
    ticks.tick()
    if busy:
        works(busy, seconds)
    else:
        time.sleep(seconds)
    documents = ticks.tick()["process"]
    ticks.close()
    return {int(str(one["process.pid"])): one for one in documents.values()}


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[str]]:
    """Busy, with 64 MiB more than it needs, and an argument that looks like a secret."""
    code = "x = bytearray(b'x') * (64 << 20); print(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code, "--token", "abc"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_busy_process_is_found_with_its_own_figures(worker: subprocess.Popen[str]) -> None:
    witness = psutil.Process(worker.pid)
    before, began = witness.cpu_times(), time.monotonic()
    interval = 2.0
    found = looked(interval, processes=100, command_lines=True)[worker.pid]
    after, elapsed = witness.cpu_times(), time.monotonic() - began
    spent = after.user + after.system - before.user - before.system
    # The witness looks a little longer; on a busy machine the process need not run all the time
    least = (spent - (elapsed - interval)) / elapsed
    assert least - 0.02 <= found["system.process.cpu.total.pct"] <= spent / interval + 0.02
    norm = found["system.process.cpu.total.pct"] / psutil.cpu_count()
    assert found["system.process.cpu.total.norm.pct"] == pytest.approx(norm)
    assert found["system.process.memory.rss.bytes"] == pytest.approx(witness.memory_info().rss, rel=0.02)
    assert found["system.process.memory.pss.bytes"] > 64 * MIB
    assert found["process.name"] == witness.name()
    assert found["process.parent.pid"] == os.getpid()
    assert found["user.name"] == witness.username()
    assert found["system.process.num_threads"] == 1
    assert found["system.process.fd.open"] == witness.num_fds()
    assert found["process.command_line"].endswith("--token ***")
    started = time.mktime(time.strptime(found["process.start"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert abs(started - witness.create_time()) <= 2


def test_a_process_that_began_since_the_look_before_has_a_share() -> None:
    """Of the time since its start: it may be gone at the next look."""
    ticks = Ticks(Root(), (processes.COLLECTOR,), collecting(processes=50))
    ticks.tick()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        works(process.pid, 1.1)  # what is younger than a second has no share
        found = {one["process.pid"]: one for one in ticks.tick()["process"].values()}
        process.kill()
    share = found[process.pid]["system.process.cpu.total.pct"]
    assert isinstance(share, float) and share > 0
    ticks.close()


def test_arguments_are_off_by_choice_and_numbers_bounded(worker: subprocess.Popen[str]) -> None:
    found = looked(0.2, processes=1)
    assert 1 <= len(found) <= 2
    assert all("process.command_line" not in one for one in found.values())
    with subprocess.Popen([sys.executable], stdin=subprocess.PIPE) as idle:  # there are three at least
        assert {worker.pid, os.getpid()} < looked(0.2, processes=100).keys()
        idle.kill()


@pytest.mark.parametrize(
    ("lost", "fields"),
    [
        ("rss", {"system.process.memory.rss.bytes", "system.process.memory.rss.pct"}),
        ("cpu", {"system.process.cpu.total.ns", "system.process.cpu.total.pct", "system.process.cpu.total.norm.pct"}),
        ("threads", {"system.process.num_threads"}),
        ("start", {"process.start", "system.process.cpu.total.pct", "system.process.cpu.total.norm.pct"}),
    ],
)
def test_a_process_with_a_damaged_column_has_a_document_without_it(
    worker: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, lost: str, fields: set[str]
) -> None:
    parse = stat.parse

    def damaged(text: bytes) -> stat.Stat:
        found = parse(text)
        if found.pid != worker.pid:
            return found
        raise ParseError("damaged", without(found, lost))

    sound = looked(0.2, worker.pid, processes=100)[worker.pid].keys()
    monkeypatch.setattr(stat, "parse", damaged)
    lacking = sound - looked(0.2, worker.pid, processes=100)[worker.pid].keys()
    assert {name for name in lacking if not name.endswith("_per_s")} == fields


def test_psutil_is_left_as_it_was(worker: subprocess.Popen[str], tmp_path: Path) -> None:
    looked(0.0)
    Ticks(Root(str(tmp_path)), (processes.COLLECTOR,)).tick()
    assert psutil.Process(worker.pid).is_running()
    assert psutil.PROCFS_PATH == "/proc"


def test_none_where_none_are_asked_for() -> None:
    ticks = Ticks(Root(), (processes.COLLECTOR,), collecting(processes=0))
    assert "process" not in ticks.tick()


@pytest.mark.root
def test_a_process_in_a_container_names_it(worker: subprocess.Popen[str]) -> None:
    name = f"shipper-test-{secrets.token_hex(4)}"
    hierarchies = detect(Reader(Root())).hierarchies
    directories = [Path("/", base, name, ID) for base in hierarchies.values()]
    try:
        for directory in directories:
            directory.mkdir(parents=True)
            (directory / "cgroup.procs").write_text(str(worker.pid))
        found = looked(1.5, processes=50)[worker.pid]  # a look serves for a second
    finally:
        worker.kill()
        worker.wait()
        for directory in directories:
            if directory.exists():
                directory.rmdir()
                directory.parent.rmdir()
    assert found["container.id"] == ID
    assert found["cgroup.path"] == f"/{name}/{ID}"
