"""What the agent tells those on its host: status, spool commands, systemd, a quiet log, signals. Real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shipper import cli
from shipper.agent import status
from shipper.agent.loop import Agent
from shipper.base import log, messages
from shipper.base.errors import Unavailable
from shipper.deliver.ledger import Fate, Ledger
from shipper.deliver.segment import Entry
from shipper.deliver.spool import Spool
from shipper.settings.config import Collect, Config, Host
from shipper.settings.config import Spool as SpoolOptions

_FEW = {"SHIPPER_COLLECT_DATASETS": "host,agent"}
ACTION = b'{"create":{"_index":"metrics-shipper.host-default"}}'


@contextmanager
def agent(spool: Path | None, *more: str, **environment: str | None) -> Iterator[subprocess.Popen[str]]:
    """`shipper run` against a port where nothing listens."""
    words = ["run", "--period", "1s", "--elasticsearch-hosts", "http://127.0.0.1:1", *more]
    words += ["--spool", str(spool)] if spool else []
    main = "import sys; from shipper.cli import main; sys.exit(main())"
    given = {**os.environ, "SHIPPER_HOST_VERIFY": "false", "SHIPPER_SPOOL_FLUSH": "1s", **_FEW, **environment}
    env = {name: value for name, value in given.items() if value is not None}
    process = subprocess.Popen(
        [sys.executable, "-c", main, *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(address))
        sock.settimeout(30)
        yield str(address), sock


def spooled(ledger: Ledger, dataset: str = "") -> list[dict[str, Any]]:
    """The documents in the spool, oldest first, or those of ``dataset``."""
    documents = [json.loads(item.document) for segment in ledger.due() for item in ledger.spool.read(segment)]
    return [document for document in documents if not dataset or document["event"]["dataset"] == dataset]


def until(sock: socket.socket, word: str) -> list[str]:
    """Messages up to the first with ``word``."""
    messages: list[str] = []
    while not messages or word not in messages[-1]:
        messages.append(sock.recv(4096).decode())
    return messages


def test_systemd_is_told_of_start_ticks_and_end(tmp_path: Path, notified: tuple[str, socket.socket]) -> None:
    address, sock = notified
    with agent(tmp_path / "spool", NOTIFY_SOCKET=address) as process:
        assert "READY=1" in until(sock, "READY")[0]
        for _ in range(3):
            tick = until(sock, "WATCHDOG=1")[-1]
            assert " collected = 0 stored + 0 late + " in tick
        # Of the second tick: status.json is written when its documents could not be sent, at the latest after the third
        assert status.read(str(tmp_path / "spool"))["ticks"] >= 2
        process.send_signal(signal.SIGTERM)
        until(sock, "STOPPING=1")
        assert process.wait(20) == 0


def test_a_process_that_does_not_tick_sends_no_watchdog(tmp_path: Path, notified: tuple[str, socket.socket]) -> None:
    """Stopped between two ticks: nothing else in the process speaks for it."""
    address, sock = notified
    with agent(tmp_path / "spool", NOTIFY_SOCKET=address) as process:
        until(sock, "WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        sock.settimeout(2.5)
        with pytest.raises(TimeoutError):
            until(sock, "never")
        process.send_signal(signal.SIGCONT)
        sock.settimeout(30)
        until(sock, "WATCHDOG=1")


# systemd-nspawn's stub sends both to stop: the one that ends wins
@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, signal.SIGTERM)]
)
def test_signals_end_the_agent_and_nothing_is_lost(
    tmp_path: Path, notified: tuple[str, socket.socket], numbers: tuple[signal.Signals, ...]
) -> None:
    address, sock = notified
    with agent(tmp_path / "spool", NOTIFY_SOCKET=address) as process:
        until(sock, "WATCHDOG=1")
        for number in numbers:
            process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr
        lines = process.stderr.read().splitlines()
        assert (
            f"ships host agent of host {os.uname().nodename} every 1s to metrics-shipper.*-default at http://127"
            in lines[0]
        )
        assert [line for line in lines if "documents remain in the spool [S102]" in line]
    ledger = Ledger.load(Spool(str(tmp_path / "spool"), 1 << 30))
    assert ledger.counts.collected == ledger.spooled > 0
    *earlier, last = spooled(ledger, "shipper.agent")
    assert last["agent"]["stopped"] is True
    assert earlier and not [document for document in earlier if "stopped" in document["agent"]]
    assert last["@timestamp"] == earlier[-1]["@timestamp"].replace(".000Z", ".001Z")
    ledger.spool.close()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_reload_takes_the_new_configuration_and_refuses_a_wrong_one(
    tmp_path: Path, notified: tuple[str, socket.socket], number: signal.Signals
) -> None:
    """Of what may be wrong: an unknown option, an expression, a file that is not there, a spool that cannot be made."""
    address, sock = notified
    file = tmp_path / "shipper.toml"
    file.write_text('[host]\nname = "before"\nverify = false\n')
    faults = {
        "unknown option nonsense": "verify = false\nnonsense = 1",
        "a list of regular expressions": 'verify = false\n[collect]\ncommand_line_scrub = ["(("]',
        "elasticsearch.api_key_file /nowhere": 'verify = false\n[elasticsearch]\napi_key_file = "/nowhere"',
        "this is not the host": f'[collect]\nhost_root = "{tmp_path}"',
    }
    with agent(tmp_path / "spool", "--config", str(file), NOTIFY_SOCKET=address, SHIPPER_HOST_VERIFY=None) as process:
        until(sock, "WATCHDOG=1")
        assert process.stderr
        for words, fault in faults.items():
            file.write_text(f'[host]\nname = "after"\n{fault}\n')
            process.send_signal(number)
            refused = next(line for line in process.stderr if "reload failed; keeping the previous" in line)
            assert words in refused
            assert process.poll() is None
        file.write_text('[host]\nname = "after"\nverify = false\n')
        process.send_signal(number)
        until(sock, "RELOADING=1")
        until(sock, "READY=1")
        until(sock, "WATCHDOG=1")
        process.terminate()
        assert process.wait(20) == 0
        told = process.stderr.read()
    assert "reload failed" not in told
    assert "the configuration is valid; restarting with it" in told
    ledger = Ledger.load(Spool(str(tmp_path / "spool"), 1 << 30))
    names = [document["host"]["name"] for document in spooled(ledger)]
    assert [document["host"]["name"] for document in spooled(ledger) if "stopped" in document.get("agent", {})] == [
        "after"
    ]  # a reload is no stop
    assert names == sorted(names, reverse=True) and set(names) == {"before", "after"}
    assert ledger.counts.collected == ledger.spooled == len(names)
    ledger.spool.close()


def test_a_signal_to_stop_while_a_reload_closes_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(_body: bytes, _shard_s: float) -> None:
        raise Unavailable("no server")

    def close(ledger: Ledger, close: Callable[[Ledger], int] = Ledger.close) -> int:
        if not closed:
            closed.append(True)
            signal.raise_signal(signal.SIGTERM)
        return close(ledger)

    closed: list[bool] = []
    monkeypatch.setattr(Ledger, "close", close)
    config = Config(
        collect=Collect(period_s=1, datasets=("agent",)),
        spool=SpoolOptions(directory=str(tmp_path / "spool"), flush_s=1),
        host=Host(name="a", verify=False),
    )
    one = Agent(config, unavailable, log.Log(journal=False))
    one.run(lambda _tick_ms: signal.raise_signal(signal.SIGHUP))
    assert closed and not one.reload
    assert list(spooled(one.ledger, "shipper.agent"))[-1]["agent"]["stopped"] is True
    assert status.read(config.spool.directory)["stopped"] is True
    one.ledger.spool.close()


def test_a_reload_that_moves_the_spool_says_what_it_leaves(tmp_path: Path, notified: tuple[str, socket.socket]) -> None:
    address, sock = notified
    file = tmp_path / "shipper.toml"
    old, new = tmp_path / "old", tmp_path / "new"
    file.write_text(f'[spool]\ndirectory = "{old}"\nflush = "1s"\n')
    with agent(None, "--config", str(file), NOTIFY_SOCKET=address) as process:
        until(sock, "WATCHDOG=1")
        file.write_text(f'[spool]\ndirectory = "{new}"\n')
        process.send_signal(signal.SIGHUP)
        until(sock, "RELOADING=1")
        until(sock, "WATCHDOG=1")
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr
        told = process.stderr.read()
    ledger = Ledger.load(Spool(str(old), 1 << 30))
    assert f"{ledger.spooled} documents remain in {old}, which is no longer the spool" in told
    assert ledger.spooled > 0
    ledger.spool.close()
    assert any((new / "segments").iterdir())


def test_a_terminal_that_is_closed_ends_it(tmp_path: Path) -> None:
    primary, secondary = os.openpty()
    words = ["run", "--period", "1s", "--spool", str(tmp_path / "spool"), "--elasticsearch-hosts", "http://127.0.0.1:1"]
    environment = {**os.environ, "SHIPPER_HOST_VERIFY": "false", "SHIPPER_SPOOL_FLUSH": "1s", **_FEW}
    command = [sys.executable, "-c", "import sys; from shipper.cli import main; sys.exit(main())", *words]
    process = subprocess.Popen(command, stdin=secondary, stderr=subprocess.DEVNULL, env=environment)
    try:
        end = time.monotonic() + 30
        while not status.read(str(tmp_path / "spool")).get("ticks"):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(primary)
        os.close(secondary)


def test_a_second_agent_refuses_in_one_line(tmp_path: Path, notified: tuple[str, socket.socket]) -> None:
    address, sock = notified
    with agent(tmp_path / "spool", NOTIFY_SOCKET=address):
        until(sock, "READY=1")
        with agent(tmp_path / "spool") as second:
            assert second.wait(30) == 1
            assert second.stderr
            assert second.stderr.read() == f"shipper: spool {tmp_path / 'spool'}: in use by another shipper\n"


def test_an_outage_is_one_line_an_hour(tmp_path: Path, notified: tuple[str, socket.socket]) -> None:
    address, sock = notified
    journal = {"JOURNAL_STREAM": "8:1", "NOTIFY_SOCKET": address}
    with agent(tmp_path / "spool", SHIPPER_BULK_BACKOFF_MAX="1s", **journal) as process:
        for _ in range(5):
            until(sock, "WATCHDOG=1")
        process.terminate()
        process.wait(20)
        assert process.stderr
        lines = process.stderr.read().splitlines()
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<6>"], lines
    assert "connection refused" in lines[1]


def test_a_cause_is_told_once_an_hour_with_its_count(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    out = log.Log(journal=True)
    for second in range(7200):
        now[0] = float(second)
        out.once(messages.NOT_READ, "cause", text="it happened")
    assert capfd.readouterr().err.splitlines() == [
        "<4>shipper: it happened; their fields are missing [S108]",
        "<4>shipper: it happened; their fields are missing (and 3599 times more since last logged) [S108]",
    ]


def test_hostile_text_cannot_steer_a_terminal_or_make_a_second_line(capfd: pytest.CaptureFixture[str]) -> None:
    log.Log(journal=False).line(messages.STARTED, purpose="a\n<0>shipper: b\x1b[2J\x9b\u202e")
    time_, rest = capfd.readouterr().err.split(" ", 1)
    assert rest == "info: shipper: a\\n<0>shipper: b\\x1b[2J\\x9b\\u202e [S101]\n"
    assert abs(datetime.fromisoformat(time_).timestamp() - time.time()) < 60


def test_status_without_an_agent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--spool", str(tmp_path / "none")]) == 1
    assert capfd.readouterr().out == f"no agent runs on {tmp_path / 'none'}\n"


def test_status_of_a_running_and_of_a_killed_agent(
    tmp_path: Path, notified: tuple[str, socket.socket], capfd: pytest.CaptureFixture[str]
) -> None:
    address, sock = notified
    directory = str(tmp_path / "spool")
    with agent(tmp_path / "spool", NOTIFY_SOCKET=address):
        for _ in range(3):
            until(sock, "WATCHDOG=1")
        assert cli.main(["status", "--spool", directory]) == 0
        shown = capfd.readouterr().out.splitlines()
        assert cli.main(["status", "--json", "--spool", directory]) == 0
        assert json.loads(capfd.readouterr().out)["running"] is True
    assert cli.main(["status", "--spool", directory]) == 1
    gone = capfd.readouterr().out
    by_word = {line.split()[0]: line for line in shown}
    documents = by_word["documents"].split()
    collected, spooled = int(documents[1]), int(documents[10])
    assert by_word["documents"].endswith(
        f"{collected} collected = 0 stored + 0 late + {spooled} spooled + 0 rejected + 0 dropped"
    )
    assert collected == spooled > 0
    assert by_word["delivery"].endswith("connection refused")
    assert gone.startswith(f"no agent runs on {directory}\n")


def test_an_agent_that_stands_still_is_seen(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spool = Spool(str(tmp_path / "spool"), 1 << 20)
    from shipper.agent.self_metrics import Report
    from shipper.deliver.ledger import DeliveryState

    content = status.gather(0, Report(1000, stuck=["disk"], failed={"x": "E: \x1b[2J"}), Ledger(spool), DeliveryState())
    status.write(spool.directory, {**content, "wall_ms": content["wall_ms"] - 5000})
    assert cli.main(["status", "--spool", spool.directory]) == 1
    shown = capfd.readouterr().out
    assert "5 s ago: too long ago" in shown
    assert "stuck      collector disk" in shown and "failed     collector x: E: \\x1b[2J" in shown
    spool.close()


def test_what_is_wrong_is_named_and_fails_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from shipper.agent.self_metrics import Report
    from shipper.deliver.ledger import DeliveryState

    ledger = Ledger.load(Spool(str(tmp_path / "spool"), 1 << 20))
    ledger.counts.rejected = 7  # of an earlier run
    state = DeliveryState(reachable=True, skew_ms=-3)
    told = status.Status(ledger, state, 1000)
    directory = ledger.spool.directory

    def asked(*options: str) -> tuple[int, str]:
        return cli.main(["status", "--spool", directory, *options]), capsys.readouterr().out

    status.write(directory, told.now())
    assert [asked(*options)[0] for options in ((), ("--ready",), ("--strict",))] == [0, 1, 1]
    told.tick(1000, Report(1000, ticks=1))
    status.write(directory, told.now())
    assert [asked(*options)[0] for options in ((), ("--ready",), ("--strict",))] == [0, 0, 0]
    ledger.counts.rejected, ledger.counts.dropped = 9, 1
    state.reachable, state.trouble, state.twins, state.skew_ms = False, "connection refused", 3, 3_600_000
    told.tick(2000, Report(1000, ticks=2, failed={"disk": "E"}, stuck=["network"]))
    status.write(directory, told.now())
    assert [asked(*options)[0] for options in ((), ("--ready",), ("--strict",))] == [0, 0, 1]
    assert asked("--strict", "--json")[0] == 1
    troubles = [line[11:] for line in asked()[1].splitlines() if line.startswith("trouble")]
    since_s = status.read(directory)["since_ms"]["delivery"] / 1000
    since = datetime.fromtimestamp(since_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert troubles == [
        f"Elasticsearch cannot be reached since {since}: connection refused",
        "2 documents were rejected since the start; `shipper spool ls` shows the reasons",
        "1 documents were dropped since the start",
        "3 documents existed before they were sent: another host uses this name and id",
        "this host's clock is +3600 s off the server's",
        "collector disk failed: E",
        "collector network exceeded its deadline",
    ]
    assert f"since {since}, clock +3600000 ms against the server's: connection refused" in asked()[1]
    ledger.spool.close()


def test_a_clock_set_back_does_not_hide_that_ticks_stay_away() -> None:
    content = {"wall_ms": 10_000_000, "period_ms": 1000}
    assert [status.is_late(content, 10_000_000 + ms) for ms in (-2000, -500, 0, 3000, 3001)] == [
        *(True, False, False, False, True)
    ]


@pytest.fixture
def filled(tmp_path: Path) -> str:
    ledger = Ledger.load(Spool(str(tmp_path / "spool"), 1 << 20))
    ledger.put(1_795_000_000_000, [Entry(ACTION, b'{"n":1}'), Entry(ACTION, '{"n":"\x9b2J\u202e"}'.encode())])
    ledger.put(1_795_000_010_000, [Entry(ACTION, b'{"n":3}')])
    refused = b'{"status":400,"reason":"no \\u001b number","action":%b,"document":{"n":4}}\n' % ACTION
    ledger.spool.reject(refused * 2)
    ledger.settle({2: {0: Fate.REJECTED}})
    (Path(ledger.spool.directory) / "damaged" / "bad\x1b").touch()
    ledger.spool.close()
    return ledger.spool.directory


def spool_command(capfd: pytest.CaptureFixture[str], directory: str, *words: str) -> str:
    assert cli.main(["spool", *words, "--spool", directory]) == 0
    return capfd.readouterr().out


def test_spool_ls(capfd: pytest.CaptureFixture[str], filled: str) -> None:
    size = 2 * (len(ACTION) + 2) + 7 + len('{"n":"\x9b2J\u202e"}'.encode())
    assert spool_command(capfd, filled, "ls").splitlines() == [
        f"1  2026-11-18T11:06:40.000Z  2 documents  {size} bytes",
        "rejected  2 × 400 metrics-shipper.host-default, such as: no \\x1b number",
        "set aside  bad\\x1b",
    ]
    told = json.loads(spool_command(capfd, filled, "ls", "--json"))
    assert [(one["sequence"], one["documents"]) for one in told["segments"]] == [(1, 2)]
    assert [(one["count"], one["example"]) for one in told["rejected"]] == [(2, "no \x1b number")]
    assert told["damaged"] == ["bad\x1b"]


def test_spool_show_and_export(capfd: pytest.CaptureFixture[str], filled: str) -> None:
    shown = spool_command(capfd, filled, "show")
    assert shown.isascii()
    assert [json.loads(line)["document"]["n"] for line in shown.splitlines()] == [1, "\x9b2J\u202e"]
    refused = [json.loads(line) for line in spool_command(capfd, filled, "show", "rejected").splitlines()]
    assert [(one["status"], one["reason"], one["document"]) for one in refused] == [
        (400, "no \x1b number", {"n": 4})
    ] * 2
    lines = spool_command(capfd, filled, "export", "1").splitlines()
    assert [json.loads(line) for line in lines[::2]] == [json.loads(ACTION)] * 2
    assert spool_command(capfd, filled, "export", "rejected") == f'{ACTION.decode()}\n{{"n":4}}\n' * 2
    assert cli.main(["spool", "show", "9", "--spool", filled]) == 1
    assert capfd.readouterr().err == "shipper: no segment 9\n"


def test_spool_replay_is_taken_at_the_next_start(capfd: pytest.CaptureFixture[str], filled: str) -> None:
    assert spool_command(capfd, filled, "replay").startswith("2 documents selected; the agent sends them when")
    assert spool_command(capfd, filled, "replay") == "no rejected document matches\n"
    with agent(Path(filled), SHIPPER_COLLECT_TICKS="1") as process:
        assert process.wait(30) == 0
    ledger = Ledger.load(Spool(filled, 1 << 30))
    assert spooled(ledger).count({"n": 4}) == 2
    assert ledger.counts.rejected == 0
    assert ledger.counts.collected == ledger.counts.ended + ledger.spooled
    ledger.spool.close()


def test_spool_without_a_spool(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["spool", "ls", "--spool", str(tmp_path / "none")]) == 1
    assert capfd.readouterr().err == f"shipper: spool {tmp_path / 'none'}: no such directory\n"


def test_the_watchdog_hears_nothing_while_delivery_stands_still(
    tmp_path: Path, notified: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks are made all the time; what would be kept alive is an agent that delivers nothing."""
    address, sock = notified
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setattr("shipper.agent.loop._REQUESTS", 0.0)  # any request takes too long
    entered, release = threading.Event(), threading.Event()

    def send(body: bytes, _shard_s: float) -> dict[str, Any]:
        entered.set()
        release.wait(60)
        return {"items": [{"create": {"status": 201}}] * (body.count(b"\n") // 2)}

    config = Config(
        collect=Collect(period_s=1, datasets=("agent",)),
        spool=SpoolOptions(directory=str(tmp_path / "spool")),
        host=Host(name="a", verify=False),
    )
    pipeline = Agent(config, send, log.Log(journal=False))
    pipeline.delivery.start()

    def tick() -> list[str]:
        before = len(ticks)
        while len(ticks) == before:
            pipeline._tick(ticks.append)
        sock.setblocking(False)
        heard = []
        with suppress(BlockingIOError):
            while True:
                heard.append(sock.recv(4096).decode())
        return heard

    ticks: list[int] = []
    tick()
    assert entered.wait(30)
    assert not any("WATCHDOG" in text for text in tick())
    release.set()
    end = time.monotonic() + 30
    while not any("WATCHDOG" in text for text in tick()):
        assert time.monotonic() < end
    pipeline.delivery.stop(10)
    assert pipeline.ledger.counts.stored > 0
