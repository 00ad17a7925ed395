"""Delivery from the spool, against a server whose answers the test chooses: every document ends in one place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shipper.bulk import Delivery
from shipper.config import Bulk
from shipper.errors import TooLarge, Unavailable
from shipper.ledger import Counts, Ledger
from shipper.log import Log
from shipper.spool import Entry, Spool

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

    def __call__(self, body: bytes) -> Any:
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


def delivery(ledger: Ledger, server: Any, **options: int) -> Delivery:
    return Delivery(ledger, server, Bulk(**options), Log(journal=False))


def put(ledger: Ledger, tick: int, *numbers: int, text: str = "") -> None:
    action = b'{"create":{"_index":"metrics-shipper.host-default"}}'
    ledger.put(tick, [Entry(action, json.dumps({"n": n, "text": text}).encode()) for n in numbers])


def drain(one: Delivery) -> None:
    while one.step():
        pass


def test_all_that_is_stored_leaves_the_spool(ledger: Ledger, server: Server) -> None:
    put(ledger, 1, 1, 2)
    put(ledger, 2, 3)
    drain(delivery(ledger, server))
    assert [[doc["n"] for _, doc in request] for request in server.requests] == [[1, 2, 3]]
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

    def fail(_body: bytes) -> Any:
        raise Unavailable("http://es: connection refused")

    sender: list[Any] = [fail]

    def send(body: bytes) -> Any:
        return sender[0](body)

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


def test_a_twin_of_a_first_send_is_an_alarm(ledger: Ledger, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    one = delivery(ledger, server)
    server.answer = lambda _: TWIN
    put(ledger, 1, 1, 2)
    drain(one)
    assert one.state.twins == 2
    assert ledger.counts == Counts(collected=2, stored=2, duplicate=2)
    assert capsys.readouterr().err.count("another shipper has this host's name") == 1


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


def test_413_halves_the_batches_until_they_fit(ledger: Ledger, server: Server) -> None:
    sizes = []

    def small(body: bytes) -> Any:
        sizes.append(len(body))
        if len(body) > 20_000:
            raise TooLarge
        return server(body)

    for tick in range(8):
        put(ledger, tick, tick, text="x" * 9000)
    put(ledger, 9, 9, text="x" * 30_000)
    drain(delivery(ledger, small))
    assert ledger.counts == Counts(collected=9, stored=8, rejected=1)
    assert [doc["n"] for request in server.requests for _, doc in request] == list(range(8))
    assert max(len(request) for request in server.requests) == 2


def test_an_answer_for_fewer_documents_settles_nothing(ledger: Ledger) -> None:
    put(ledger, 1, 1, 2)
    assert not delivery(ledger, lambda _body: {"items": [STORED]}).step()
    assert ledger.spooled == 2


def test_the_thread_outlives_its_own_faults(ledger: Ledger, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"nonsense": 1}])
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    one = delivery(ledger, lambda body: next(answers, None) or server(body))
    put(ledger, 1, 1)
    one.start()
    one.stop(10)
    put(ledger, 2, 2)
    drain(one)
    assert ledger.counts == Counts(collected=2, stored=2)
