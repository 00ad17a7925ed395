"""One verdict per document. The answers are those of real servers (8.19.21 and 9.4.3), captured."""

from datetime import UTC, datetime

import pytest

from shipper.deliver.verdict import Verdict, judge, kind

TICK = int(datetime(2026, 11, 23, 18, 26, tzinfo=UTC).timestamp() * 1000)
RANGES = "is outside of ranges of currently writable indices [[2026-11-21T18:26:07.415Z,2026-11-24T18:26:07.415Z]]"


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def error(status: int, type_: str = "", reason: str = "") -> dict[str, object]:
    return {"create": {"status": status, "error": {"type": type_, "reason": reason}}}


@pytest.mark.parametrize(
    ("item", "verdict"),
    [
        ({"create": {"status": 201}}, Verdict.STORED),
        ({"create": {"status": 201, "failure_store": "used"}}, Verdict.REJECTED),
        ({"create": {"status": 201, "failure_store": "not_applicable_or_unknown"}}, Verdict.STORED),
        (
            error(409, "version_conflict_engine_exception", "[a][b]: version conflict, document already exists"),
            Verdict.DUPLICATE,
        ),
        (error(429, "es_rejected_execution_exception", "rejected"), Verdict.RETRY),
        (error(503, "unavailable_shards_exception", "x"), Verdict.SHUT),
        (error(503, "cluster_block_exception", "blocked by: [SERVICE_UNAVAILABLE/2/no master]"), Verdict.RETRY),
        (error(400, "validation_exception", "this action would add [2] shards, but this cluster"), Verdict.SHUT),
        (error(400, "index_closed_exception", "closed"), Verdict.SHUT),
        (error(400, "illegal_argument_exception", "pipeline with id [a] does not exist"), Verdict.SHUT),
        (error(400, "document_parsing_exception", "[1:84] failed to parse field [g] of type [long]"), Verdict.REJECTED),
        (
            error(400, "timestamp_error", "Error extracting data stream timestamp field: failed to parse"),
            Verdict.REJECTED,
        ),
        (
            error(
                400, "illegal_argument_exception", "Error extracting routing: source didn't contain any routing fields"
            ),
            Verdict.DOUBTFUL,
        ),
        (error(403, "security_exception", "action is unauthorized"), Verdict.SHUT),
        (
            error(403, "cluster_block_exception", "index [x] blocked by: [FORBIDDEN/5/index read-only (api)]"),
            Verdict.SHUT,
        ),
        (error(404, "index_not_found_exception", "no such index"), Verdict.SHUT),
        (error(413, "", "too large"), Verdict.DOUBTFUL),
    ],
)
def test_each_answer(item: dict[str, object], verdict: Verdict) -> None:
    assert judge(item, TICK, TICK).verdict is verdict


@pytest.mark.parametrize(
    ("time", "verdict"),
    [
        ("2026-11-14T18:26:07+00:00", Verdict.LATE),
        ("2026-11-21T18:26:07+00:00", Verdict.LATE),
        ("2026-11-24T18:26:07+00:00", Verdict.EARLY),
        ("2026-11-24T19:00:00+00:00", Verdict.EARLY),
    ],
)
def test_times_outside_of_the_writable_ranges(time: str, verdict: Verdict) -> None:
    assert (
        judge(error(400, "timestamp_error", f"the document timestamp [{time}] {RANGES}"), at(time), TICK).verdict
        is verdict
    )


def test_a_gap_between_ranges_is_late() -> None:
    ranges = RANGES.replace("]]", "],[2026-11-25T00:00:00.000Z,2026-11-26T00:00:00.000Z]]")
    answer = judge(
        error(400, "illegal_argument_exception", f"the document timestamp [x] {ranges}"),
        at("2026-11-24T20:00:00+00:00"),
        TICK,
    )
    assert answer.verdict is Verdict.LATE


def test_an_open_range_never_makes_a_document_early() -> None:
    reason = "… outside of ranges of currently writable indices [[2026-11-21T18:26:07.415Z,null]]"
    assert judge(error(400, "timestamp_error", reason), at("2026-11-20T00:00:00+00:00"), TICK).verdict is Verdict.LATE


def test_less_than_a_second_past_the_end_the_shard_answers_in_other_words() -> None:
    reason = (
        "[1:136] failed to parse: time series index @timestamp value [2026-11-24T18:25:25.577Z] "
        "must be smaller than 2026-11-24T18:25:25.374Z"
    )
    assert judge(error(400, "document_parsing_exception", reason), TICK, TICK).verdict is Verdict.EARLY
    assert (
        judge(error(400, "document_parsing_exception", reason.replace("smaller", "larger")), TICK, TICK).verdict
        is Verdict.LATE
    )


@pytest.mark.parametrize(
    ("age_ms", "verdict"),
    [(7_200_000, Verdict.LATE), (-3_600_000, Verdict.EARLY), (10_000, Verdict.REJECTED)],
)
def test_what_a_failure_store_took_is_judged_by_its_time(age_ms: int, verdict: Verdict) -> None:
    item = {"create": {"status": 201, "failure_store": "used"}}
    assert judge(item, TICK - age_ms, TICK).verdict is verdict


def test_reasons_that_differ_in_a_value_are_of_one_kind() -> None:
    assert kind(400, "document_parsing_exception: [1:84] failed") == "400 document_parsing_exception"
    assert kind(413, "one document of 7 bytes is too large") == "413"
