"""Delivery from the spool, against a server whose answers the test chooses: every document ends in one place."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shipper.agent.self_metrics import Report, SelfMetrics
from shipper.base.errors import BadRequest, TooLarge, Unavailable
from shipper.base.log import Log
from shipper.deliver import replay
from shipper.deliver.bulk import PROBE_S, SHARD_S, Delivery
from shipper.deliver.ledger import Counts, Ledger
from shipper.deliver.segment import Entry, Segment
from shipper.deliver.spool import Spool
from shipper.settings.config import Bulk

STORED = {"create": {"status": 201}}
TWIN = {"create": {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "exists"}}}
BUSY = {"create": {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "busy"}}}
POISON = {"create": {"status": 400, "error": {"type": "document_parsing_exception", "reason": "no number"}}}
OLD = {
    "create": {
        "status": 400,
        "error": {
            "type": "timestamp_error",
            "reason": "is outside of ranges of currently writable indices "
            "[[2026-01-01T00:00:00.000Z,2026-02-01T00:00:00.000Z]]",
        },
    }
}
Answer = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


class Server:
    """Answers each bulk by ``answer``; keeps what it was sent as (action, document) pairs."""

    def __init__(self) -> None:
        self.requests: list[list[tuple[dict[str, Any], dict[str, Any]]]] = []
        self.answer: Callable[[tuple[dict[str, Any], dict[str, Any]]], Any] = lambda _: STORED

    def __call__(self, body: bytes, shard_s: float = SHARD_S) -> Any:
        lines = [json.loads(line) for line in body.split(b"\n") if line]
        pairs = list(zip(lines[::2], lines[1::2], strict=True))
        self.requests.append(pairs)
        return {"items": [self.answer(pair) for pair in pairs]}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.load(Spool(str(tmp_path / "spool"), 1 << 20))


@pytest.fixture
def server() -> Server:
    return Server()


def delivery(ledger: Ledger, server: Any, ready: Callable[[], str] = str, **options: Any) -> Delivery:
    return Delivery(ledger, server, Bulk(**options), Log(journal=False), ready)


class Time:
    """A monotonic clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("random.uniform", lambda _least, most: most)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


class Failing:
    """Raises ``error`` while it is set, and answers like ``server`` otherwise."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.error: Exception | None = None
        self.calls = 0

    def __call__(self, body: bytes, shard_s: float = SHARD_S) -> Any:
        self.calls += 1
        if self.error:
            raise self.error
        return self.server(body, shard_s)


def put(ledger: Ledger, tick: int, *numbers: int, text: str = "") -> None:
    action = b'{"create":{"_index":"metrics-shipper.host-default"}}'
    ledger.put(tick, [Entry(action, json.dumps({"n": n, "text": text}).encode()) for n in numbers])


def drain(one: Delivery) -> None:
    while one.step():
        pass


def patiently(one: Delivery, clock: Time) -> None:
    """Drain over all pauses."""
    for _ in range(500):
        drain(one)
        if not one._ledger.spooled:
            return
        clock.now += one._until_due() or 1.0
    raise AssertionError(one._ledger.counts)


def reopened(ledger: Ledger) -> str:
    ledger.spool.close()
    return ledger.spool.directory


def test_all_that_is_stored_leaves_the_spool(ledger: Ledger, server: Server) -> None:
    put(ledger, 1, 1, 2)
    put(ledger, 2, 3)
    drain(delivery(ledger, server))
    assert [[doc["n"] for _, doc in request] for request in server.requests] == [[3, 1, 2]]
    assert ledger.counts == Counts(collected=3, stored=3)
    assert ledger.due() == []


def test_a_poison_document_is_kept_with_its_reason_and_blocks_nothing(ledger: Ledger, server: Server) -> None:
    put(ledger, 1, 1, 2, 3)
    server.answer = lambda pair: POISON if pair[1]["n"] == 2 else STORED
    drain(delivery(ledger, server))
    assert ledger.counts == Counts(collected=3, stored=2, rejected=1)
    kept = json.loads(Path(ledger.spool.directory, "rejected.ndjson").read_text())
    assert kept == {
        "status": 400,
        "reason": "document_parsing_exception: no number",
        "action": {"create": {"_index": "metrics-shipper.host-default"}},
        "document": {"n": 2, "text": ""},
    }


def test_put_off_documents_rest_while_newer_ones_pass(
    ledger: Ledger, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    one = delivery(ledger, server)
    put(ledger, 1, 1, 2)
    server.answer = lambda pair: BUSY if pair[1]["n"] == 1 else STORED
    drain(one)
    assert (ledger.counts.stored, ledger.spooled) == (1, 1)
    put(ledger, 2, 3)
    drain(one)
    assert [doc["n"] for _, doc in server.requests[-1]] == [3]
    server.answer = lambda _: STORED
    now[0] = 120.0
    drain(one)
    assert [doc["n"] for _, doc in server.requests[-1]] == [1]
    assert ledger.counts == Counts(collected=3, stored=3)


def test_a_failed_request_is_repeated_and_its_twins_are_no_alarm(
    ledger: Ledger, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    put(ledger, 1, 1)

    def fail(_body: bytes, _shard_s: float) -> Any:
        raise Unavailable("http://es: connection refused")

    sender: list[Any] = [fail]

    def send(body: bytes, shard_s: float) -> Any:
        return sender[0](body, shard_s)

    one = delivery(ledger, send)
    assert not one.step()
    assert one.state.trouble == "http://es: connection refused"
    assert not one.step()
    assert one.state.failures == 1
    now[0] = 120.0
    server.answer = lambda _: TWIN
    sender[0] = server
    drain(one)
    assert ledger.counts == Counts(collected=1, stored=1, duplicate=1)
    assert (one.state.twins, one.state.reachable) == (0, True)


def test_a_twin_of_a_first_send_is_not_counted_as_stored(
    ledger: Ledger, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    one = delivery(ledger, server)
    server.answer = lambda _: TWIN
    put(ledger, 1000, 1, 2)
    drain(one)
    assert one.state.twins == 2
    assert ledger.counts == Counts(collected=2, rejected=2)
    assert ledger.reasons == {"409 twin": 2}
    assert capfd.readouterr().err.count("another shipper uses this host's name and id") == 1
    kept = Path(ledger.spool.directory, "rejected.ndjson").read_text().splitlines()
    assert [json.loads(line)["document"]["n"] for line in kept] == [1, 2]


def test_whoever_meets_a_twin_leaves_its_grid_for_good(ledger: Ledger, server: Server) -> None:
    one = delivery(ledger, server)
    server.answer = lambda _: TWIN
    put(ledger, 1000, 1)
    drain(one)
    beside = ledger.used.steps
    assert 1 <= beside <= 999
    first = ledger.used.choose(2000, 1000)
    assert first % 1000 != 0
    ledger.used.note(first)
    assert ledger.used.choose(4000, 1000) % 1000 == first % 1000
    again = Ledger.load(Spool(reopened(ledger), 1 << 20))
    assert again.used.apart
    assert again.used.choose(6000, 1000) % 1000 == first % 1000


def test_a_resend_that_may_be_a_twins_is_not_claimed(ledger: Ledger, server: Server, clock: Time) -> None:
    """The request of tick 1000 was lost on the way, or its answer was: nobody can tell whose document is there."""
    send = Failing(server)
    send.error = Unavailable("the request timed out")
    one = delivery(ledger, send)
    put(ledger, 1000, 1)
    drain(one)
    send.error = None
    clock.now += 10
    server.answer = lambda _: TWIN
    put(ledger, 2000, 2)
    drain(one)
    clock.now += 10
    drain(one)
    assert (ledger.counts.stored + ledger.counts.rejected, one.state.twins >= 1) == (2, True)
    put(ledger, 3000 + ledger.used.steps, 3)  # on this shipper's own grid a resend is its own
    send.error = Unavailable("the request timed out")
    drain(one)
    send.error = None
    clock.now += 10
    drain(one)
    assert ledger.counts.duplicate >= 1


def test_documents_found_at_start_may_have_twins(ledger: Ledger, server: Server) -> None:
    put(ledger, 1, 1)
    one = delivery(ledger, server)
    server.answer = lambda _: TWIN
    drain(one)
    assert one.state.twins == 0


def test_too_old_documents_go_to_the_late_stream_with_an_id_of_their_own(ledger: Ledger, server: Server) -> None:
    put(ledger, 1_800_000_000_000 - 10**10 * 20, 1, 2)
    server.answer = lambda pair: STORED if "late" in pair[0]["create"]["_index"] else OLD
    drain(delivery(ledger, server))
    assert ledger.counts == Counts(collected=2, late=2)
    actions = [action["create"] for action, _ in server.requests[-1]]
    assert {action["_index"] for action in actions} == {"metrics-shipper.host.late-default"}
    assert len({action["_id"] for action in actions}) == 2


def test_413_halves_the_batches_until_they_fit(ledger: Ledger, server: Server, clock: Time) -> None:
    refused: list[int] = []

    def small(body: bytes, shard_s: float) -> Any:
        if len(body) > 20_000:
            refused.append(len(body))
            raise TooLarge
        return server(body, shard_s)

    for tick in range(8):
        put(ledger, tick, tick, text="x" * 9000)
    put(ledger, 9, 9, text="x" * 30_000)
    patiently(delivery(ledger, small), clock)
    assert ledger.counts == Counts(collected=9, stored=8, rejected=1)
    assert sorted(doc["n"] for request in server.requests for _, doc in request) == list(range(8))
    assert max(len(request) for request in server.requests) <= 2
    assert len(refused) < 15


def test_a_server_that_refuses_every_size_gets_few_requests_and_rejects_nothing(
    ledger: Ledger, server: Server, clock: Time
) -> None:
    send = Failing(server)
    send.error = TooLarge()
    one = delivery(ledger, send)
    began = clock.now
    for tick in range(30):
        put(ledger, tick, tick, text="x" * 9000)
        clock.now = began + tick
        drain(one)
    assert send.calls <= 40
    assert ledger.counts.rejected == 0
    send.error = None
    patiently(one, clock)
    assert ledger.counts == Counts(collected=30, stored=30)
    for tick in range(100, 160):  # and the size of requests grows again
        put(ledger, tick, tick, text="x" * 9000)
    clock.now += 60
    server.requests.clear()
    patiently(one, clock)
    assert max(len(request) for request in server.requests) >= 10


def test_an_answer_for_fewer_documents_settles_nothing(ledger: Ledger) -> None:
    put(ledger, 1, 1, 2)
    assert not delivery(ledger, lambda _body, _shard_s: {"items": [STORED]}).step()
    assert ledger.spooled == 2


def test_the_thread_outlives_its_own_faults(ledger: Ledger, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"nonsense": 1}])
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    one = delivery(ledger, lambda body, _shard_s: next(answers, None) or server(body))
    put(ledger, 1, 1)
    one.start()
    one.stop(10)
    put(ledger, 2, 2)
    drain(one)
    assert ledger.counts == Counts(collected=2, stored=2)


@pytest.mark.parametrize(("order", "least"), [("newest-first", 0.75), ("oldest-first", 0.25)])
def test_fresh_documents_keep_their_share_while_a_backlog_is_caught_up(
    ledger: Ledger, server: Server, order: str, least: float
) -> None:
    """One request per document, and a fresh document after each: half of the server goes to each kind or more."""
    for tick in range(200):
        put(ledger, tick, tick)
    one = delivery(ledger, server, order=order, max_bytes=1)
    fresh = range(1000, 1040)
    for tick in fresh:
        put(ledger, tick, tick)
        assert one.step()
    sent = [doc["n"] for request in server.requests for _, doc in request]
    share = sum(n in fresh for n in sent) / len(sent)
    assert share >= least
    assert 1 - share >= 0.25  # neither does the backlog starve
    drain(one)
    assert (ledger.counts.stored, ledger.spooled) == (240, 0)


def test_with_oldest_first_a_fresh_document_waits_for_three_requests_at_most(ledger: Ledger, server: Server) -> None:
    for tick in range(50):
        put(ledger, tick, tick)
    one = delivery(ledger, server, order="oldest-first", max_bytes=1)
    for tick in (100, 101, 102):
        put(ledger, tick, tick)
        for _ in range(4):
            one.step()
        assert tick in [doc["n"] for request in server.requests[-4:] for _, doc in request]


def test_after_retry_after_a_small_question_comes_first(ledger: Ledger, server: Server, clock: Time) -> None:
    put(ledger, 1, 1)
    send = Failing(server)
    asked: list[float] = []
    busy = [False]

    def ready() -> str:
        asked.append(clock.now)
        return "busy" if busy[0] else ""

    one = delivery(ledger, send, ready)
    send.error = Unavailable("busy", retry_after_s=4)
    assert not one.step()
    clock.now += 3.9
    assert not one.step()
    assert send.calls == 1
    clock.now += 0.2
    send.error = Unavailable("busy", retry_after_s=3600)
    assert not one.step()
    assert send.calls == 2
    busy[0] = True
    for _ in range(4):
        clock.now += 5.1
        assert not one.step()
    assert (send.calls, len(asked)) == (2, 6)
    busy[0], send.error = False, None
    clock.now += 5.1
    assert one.step()
    assert ledger.counts.stored == 1


def test_the_circuit_opens_tries_and_closes(ledger: Ledger, server: Server, clock: Time) -> None:
    put(ledger, 1, 1)
    send = Failing(server)
    one = delivery(ledger, send)
    seen = []

    def watching(body: bytes, shard_s: float) -> Any:
        seen.append(one.state.circuit)
        return send(body, shard_s)

    one._send = watching
    send.error = Unavailable("away")
    one.step()
    assert one.state.circuit == "open"
    send.error = None
    clock.now += 100
    one.step()
    assert seen == ["closed", "half-open"]
    assert one.state.circuit == "closed"


def test_another_node_is_asked_at_once(ledger: Ledger, server: Server, clock: Time) -> None:
    put(ledger, 1, 1)
    send = Failing(server)
    send.error = Unavailable("away", nodes=3)
    one = delivery(ledger, send)
    drain(one)
    assert send.calls == 3
    assert one.state.circuit == "open"


def test_nothing_is_sent_before_the_templates_are_there(
    ledger: Ledger, server: Server, clock: Time, capfd: pytest.CaptureFixture[str]
) -> None:
    put(ledger, 1, 1)
    answers = ["the index templates are missing; run `shipper setup` first"] * 5
    one = delivery(ledger, server, ready=lambda: answers.pop() if answers else "")
    for _ in range(5):
        assert not one.step()
        clock.now += 100
    assert (server.requests, ledger.spooled) == ([], 1)
    assert one.step()
    assert capfd.readouterr().err.count("run `shipper setup` first") == 1


def test_an_index_that_is_shut_rests_as_a_whole_and_the_others_go_on(
    ledger: Ledger, server: Server, clock: Time
) -> None:
    block = {"create": {"status": 403, "error": {"type": "cluster_block_exception", "reason": "read-only"}}}
    server.answer = lambda pair: block if "disk" in pair[0]["create"]["_index"] else STORED
    for tick in range(20):
        both = [b'{"create":{"_index":"metrics-shipper.%b-default"}}' % name for name in (b"disk", b"host")]
        ledger.put(tick, [Entry(action, b'{"n":%d}' % tick) for action in both])
    one = delivery(ledger, server, max_bytes=200)
    drain(one)
    assert (ledger.counts.stored, ledger.spooled, ledger.counts.rejected) == (20, 20, 0)
    blocked = [pair for request in server.requests for pair in request if "disk" in pair[0]["create"]["_index"]]
    assert len(blocked) <= 3
    server.answer = lambda _pair: STORED
    clock.now += 120
    drain(one)
    assert ledger.counts == Counts(collected=40, stored=40)


def test_an_index_is_asked_with_two_documents_and_found_again(ledger: Ledger, server: Server, clock: Time) -> None:
    """Its backlog costs neither requests nor the time of the others, and flows as soon as one document is taken."""
    away = {"create": {"status": 503, "error": {"type": "unavailable_shards_exception", "reason": "primary"}}}
    shard_s: list[float] = []

    def send(body: bytes, seconds: float) -> Any:
        shard_s.append(seconds)
        return server(body, seconds)

    server.answer = lambda pair: away if "disk" in pair[0]["create"]["_index"] else STORED
    one = delivery(ledger, send, max_bytes=4096)
    for tick in range(300):
        put_both(ledger, tick)
        clock.now += 1
        drain(one)
        assert ledger.counts.stored == tick + 1  # the others go out at once
    assert ledger.spooled == 300
    assert list(one.state.resting) == ["metrics-shipper.disk-default"]
    probes = [request for request, seconds in zip(server.requests, shard_s, strict=True) if seconds == PROBE_S]
    assert 40 <= len(probes) <= 110
    assert max(map(len, probes)) <= 2
    server.answer = lambda _: STORED
    clock.now += 5
    drain(one)
    assert ledger.counts == Counts(collected=600, stored=600)
    assert one.state.resting == {}


def put_both(ledger: Ledger, tick: int) -> None:
    both = [b'{"create":{"_index":"metrics-shipper.%b-default"}}' % name for name in (b"disk", b"host")]
    ledger.put(tick, [Entry(action, b'{"n":%d}' % tick) for action in both])


def test_early_documents_wait_no_longer_than_the_range(ledger: Ledger, server: Server, clock: Time) -> None:
    """A clock ahead for 50 ticks: the server takes up to ``end`` and moves it; one document is tried at a time."""
    base = 1_800_000_000_000
    end = [base + 10_000]

    def answer(pair: Any) -> Any:
        if base + pair[1]["n"] * 1000 < end[0]:
            return STORED
        limit = datetime.fromtimestamp(end[0] / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        reason = f"outside of ranges of currently writable indices [[2020-01-01T00:00:00.000Z,{limit}]]"
        return {"create": {"status": 400, "error": {"type": "timestamp_error", "reason": reason}}}

    server.answer = answer
    one = delivery(ledger, server)
    for n in range(50):
        put(ledger, base + n * 1000, n)
    drain(one)
    assert (ledger.counts.stored, ledger.spooled) == (10, 40)
    asked = len(server.requests)
    for _ in range(10):
        clock.now += 5
        drain(one)
    assert [len(request) for request in server.requests[asked:]] == [1] * 10
    end[0] = base + 30_000
    clock.now += 5
    drain(one)
    assert ledger.counts.stored == 30
    end[0] = base + 3_600_000
    clock.now += 5
    drain(one)
    assert ledger.counts == Counts(collected=50, stored=50)


def test_what_may_be_the_indexs_fault_waits_until_another_document_is_taken(
    ledger: Ledger, server: Server, clock: Time
) -> None:
    doubtful = {"create": {"status": 400, "error": {"type": "illegal_argument_exception", "reason": "something"}}}
    server.answer = lambda pair: doubtful if pair[1]["n"] == 1 else STORED
    one = delivery(ledger, server)
    put(ledger, 1, 1)
    drain(one)
    assert (ledger.counts.rejected, ledger.spooled) == (0, 1)
    put(ledger, 2, 2)
    patiently(one, clock)
    assert ledger.counts == Counts(collected=2, stored=1, rejected=1)


def test_a_whole_batch_of_several_indices_refused_with_400_waits(ledger: Ledger, server: Server, clock: Time) -> None:
    server.answer = lambda _: POISON
    one = delivery(ledger, server)
    for tick in range(5):
        put_both(ledger, tick)
        clock.now += 5
        drain(one)
    assert (ledger.counts.rejected, ledger.spooled) == (0, 10)
    server.answer = lambda _: STORED
    clock.now += 5
    patiently(one, clock)
    assert ledger.counts == Counts(collected=10, stored=10)


def test_a_body_that_cannot_be_read_is_halved_until_the_document_is_found(
    ledger: Ledger, server: Server, clock: Time
) -> None:
    def send(body: bytes, shard_s: float) -> Any:
        if b'"n": 5' in body:
            raise BadRequest("400: Malformed action/metadata line")
        return server(body, shard_s)

    put(ledger, 1, *range(8))
    one = delivery(ledger, send)
    patiently(one, clock)
    assert (ledger.counts.stored, ledger.counts.rejected) == (7, 1)
    assert "Malformed" in Path(ledger.spool.directory, "rejected.ndjson").read_text()


def test_a_server_that_can_read_no_body_rejects_nothing(ledger: Ledger, server: Server, clock: Time) -> None:
    """A proxy that takes Content-Encoding away, for a while."""
    send = Failing(server)
    send.error = BadRequest("400: Malformed action/metadata line")
    one = delivery(ledger, send)
    for tick in range(20):
        put(ledger, tick, tick)
        clock.now += 1
        drain(one)
    assert ledger.counts.rejected == 0
    send.error = None
    patiently(one, clock)
    assert ledger.counts == Counts(collected=20, stored=20)


def test_a_segment_that_cannot_be_read_now_rests_and_the_next_is_sent(
    ledger: Ledger, server: Server, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tick in range(3):
        put(ledger, tick, tick)
    broken = [OSError(24, "Too many open files"), OSError(5, "Input/output error")]
    real = ledger.spool.read

    def read(segment: Segment) -> Any:
        if segment.sequence == 2 and broken:
            raise broken.pop()
        return real(segment)

    monkeypatch.setattr(ledger.spool, "read", read)
    one = delivery(ledger, server)
    drain(one)
    assert (ledger.counts.stored, ledger.counts.dropped, ledger.spooled) == (2, 0, 1)
    patiently(one, clock)
    assert ledger.counts == Counts(collected=3, stored=3)


def test_a_damaged_segment_that_cannot_be_moved_stops_nothing(
    ledger: Ledger, server: Server, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tick in range(3):
        put(ledger, tick, tick)
    path = Path(ledger.spool.directory, "segments", f"{2:016d}.ndjson")
    path.write_bytes(path.read_bytes().replace(b'"n"', b'"m"'))
    one = delivery(ledger, server)
    with monkeypatch.context() as context:
        context.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system")))
        for _ in range(3):
            drain(one)
            clock.now += 10
    assert (ledger.counts.stored, ledger.counts.dropped, ledger.spooled) == (2, 0, 1)
    patiently(one, clock)
    assert ledger.counts == Counts(collected=3, stored=2, dropped=1, duplicate=ledger.counts.duplicate)
    assert len(list(Path(ledger.spool.directory, "damaged").iterdir())) == 1


def taken(ledger: Ledger) -> list[str]:
    """As at a tick, which looks for the files of ``shipper spool`` while it writes the segment."""
    ledger.spool.on_disk(ledger.spool.see_replays)
    return list(replay.take(ledger))


def test_rejected_documents_are_given_back_or_discarded_by_reason(ledger: Ledger, server: Server) -> None:
    one = delivery(ledger, server)
    other = {"create": {"status": 400, "error": {"type": "strict_dynamic_mapping_exception", "reason": "no field"}}}
    server.answer = lambda pair: STORED if pair[1]["n"] > 3 else (other if pair[1]["n"] == 3 else POISON)
    put(ledger, 1, 1, 2, 3, 4)
    drain(one)
    directory = ledger.spool.directory
    assert replay.discard(directory, "no such reason") == 0
    assert taken(ledger) == []
    assert ledger.rejected_for() == ["2 × 400 document_parsing_exception", "1 × 400 strict_dynamic_mapping_exception"]
    assert replay.discard(directory, "strict_dynamic") == 1
    assert taken(ledger) == []
    assert ledger.rejected_for() == ["2 × 400 document_parsing_exception"]
    assert ledger.counts == Counts(collected=4, stored=1, rejected=3)  # discarding undoes no rejection
    server.answer = lambda _: STORED
    assert replay.give_back(directory, "no number") == 2
    assert taken(ledger) == []
    drain(one)
    assert ledger.counts == Counts(collected=4, stored=3, rejected=1)
    assert ledger.rejected_for() == []
    assert list(replay.rejected(directory)) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_delivery_thread_that_ended_is_started_again(ledger: Ledger, server: Server) -> None:
    class Killed(BaseException):
        pass

    answers: list[Any] = [Killed()]

    def send(body: bytes, shard_s: float) -> Any:
        if answers:
            raise answers.pop()
        return server(body, shard_s)

    one = delivery(ledger, send)
    put(ledger, 1, 1)
    assert not one.why_stalled(60)
    one.start()
    one._thread.join(30)
    assert one.why_stalled(60)
    one.revive()
    assert one.state.restarts == 1
    one.stop(30)
    assert ledger.counts == Counts(collected=1, stored=1)


def test_the_agent_document_has_the_slowest_request_since_the_one_before(ledger: Ledger, server: Server) -> None:
    waits_s = [0.03, 0.0]

    def send(body: bytes, shard_s: float) -> Any:
        time.sleep(waits_s.pop(0))
        return server(body, shard_s)

    one = delivery(ledger, send)
    told = SelfMetrics(ledger, one.state)
    latencies = [told.values(Report(1000)).get("agent.delivery.latency.ms")]
    for tick in (1, 2):
        put(ledger, tick, 1)
        assert one.step()
    latencies += [told.values(Report(1000)).get("agent.delivery.latency.ms") for _ in range(2)]
    before, slowest, after = latencies
    assert (before, after) == (None, None)
    assert isinstance(slowest, int) and slowest >= 30


def test_a_delivery_thread_that_stands_still_is_not_alive(ledger: Ledger, server: Server) -> None:
    entered, release = threading.Event(), threading.Event()

    def send(body: bytes, shard_s: float) -> Any:
        entered.set()
        release.wait(60)
        return server(body, shard_s)

    one = delivery(ledger, send)
    one.start()
    assert not one.why_stalled(60)
    put(ledger, 1, 1)
    one.wake()
    assert entered.wait(30)
    assert not one.why_stalled(60)
    assert one.why_stalled(0.0)
    release.set()
    one.stop(30)
    assert ledger.counts.stored == 1


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"items": None},
        {"items": [{}]},
        {"items": [{"create": {}}]},
        {"items": [{"create": {"status": "x"}}]},
        {"items": [7]},
    ],
)
def test_an_answer_of_something_else_settles_nothing(ledger: Ledger, answer: Any) -> None:
    put(ledger, 1, 1)
    one = delivery(ledger, lambda _body, _shard_s: answer)
    assert not one.step()
    assert (ledger.spooled, one.state.circuit) == (1, "open")


def test_the_servers_clock_is_compared(ledger: Ledger, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    one = delivery(ledger, lambda body, _shard_s: {**server(body), "skew_ms": 1_200_000})
    for tick in range(3):
        put(ledger, tick, tick)
        drain(one)
    assert one.state.skew_ms == 1_200_000
    assert capfd.readouterr().err.count("this host's clock is 1200 s ahead of the server's") == 1


def test_reasons_of_the_rejected_are_counted(ledger: Ledger, server: Server) -> None:
    server.answer = lambda _: POISON
    put(ledger, 1, 1, 2)
    drain(delivery(ledger, server))
    assert ledger.rejected_for() == ["2 × 400 document_parsing_exception"]
    ledger.spool.close()
    again = Ledger.load(Spool(ledger.spool.directory, 1 << 20))
    assert again.rejected_for() == ["2 × 400 document_parsing_exception"]


def test_rejected_documents_go_once_more_when_they_are_given_back(ledger: Ledger, server: Server) -> None:
    server.answer = lambda pair: POISON if pair[1]["n"] > 2 else STORED
    put(ledger, 1, 1, 2, 3)
    put(ledger, 2, 4)
    one = delivery(ledger, server)
    drain(one)
    assert ledger.counts == Counts(collected=4, stored=2, rejected=2)
    with Path(ledger.spool.directory, "rejected.ndjson").open("a") as file:
        file.write("half a li")
    assert replay.give_back(ledger.spool.directory) == 2
    server.answer = lambda _: STORED
    assert taken(ledger) == ["spool: 1 unreadable rejected documents are lost"]
    assert taken(ledger) == []
    drain(one)
    assert ledger.counts == Counts(collected=5, stored=4, dropped=1)
    assert sorted(doc["n"] for _, doc in server.requests[-1]) == [3, 4]
    assert replay.give_back(ledger.spool.directory) == 0


def test_refused_documents_that_the_disk_cannot_keep_stay_in_the_spool(
    ledger: Ledger, server: Server, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_lines: bytes) -> None:
        raise OSError(28, "No space left on device")

    server.answer = lambda pair: POISON if pair[1]["n"] == 1 else STORED
    put(ledger, 1, 1, 2)
    with monkeypatch.context() as context:
        context.setattr(ledger.spool, "reject", full)
        one = delivery(ledger, server)
        drain(one)
    assert (ledger.counts.stored, ledger.counts.rejected, ledger.spooled) == (1, 0, 1)
    clock.now += 100
    drain(one)
    assert ledger.counts == Counts(collected=2, stored=1, rejected=1)


def test_a_document_put_off_with_503_may_be_there_when_it_is_resent(
    ledger: Ledger, server: Server, clock: Time
) -> None:
    busy = {"create": {"status": 503, "error": {"type": "unavailable_shards_exception", "reason": "primary"}}}
    server.answer = lambda _: busy
    one = delivery(ledger, server)
    put(ledger, 1, 1)
    drain(one)
    server.answer = lambda _: TWIN
    clock.now += 100
    drain(one)
    assert (one.state.twins, ledger.counts.stored) == (0, 1)


def test_delivery_begins_as_soon_as_a_thread_can_be_started(
    ledger: Ledger, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    one = delivery(ledger, server)
    put(ledger, 1, 1)
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", no_thread)
        one.start()
        one.revive()
        assert "pids limit" in one.why_stalled(60)
    one.revive()
    assert (one.why_stalled(60), one.state.restarts) == ("", 0)
    one.stop(30)
    assert ledger.counts == Counts(collected=1, stored=1)


def test_what_the_server_deferred_is_sent_again_before_the_end(ledger: Ledger, server: Server) -> None:
    answers = iter([BUSY, BUSY])
    server.answer = lambda _: next(answers, STORED)
    put(ledger, 1, 1)
    one = delivery(ledger, server, backoff_max_s=1)
    one.start()
    one.stop(30)
    assert (ledger.spooled, len(server.requests)) == (0, 3)


def test_the_end_comes_in_time_for_a_server_that_stays_busy(ledger: Ledger, server: Server) -> None:
    server.answer = lambda _: BUSY
    put(ledger, 1, 1)
    one = delivery(ledger, server, backoff_max_s=1)
    one.start()
    begin = time.monotonic()
    one.stop(2)
    assert (ledger.spooled, time.monotonic() - begin < 10) == (1, True)
    assert one.why_stalled(60)
