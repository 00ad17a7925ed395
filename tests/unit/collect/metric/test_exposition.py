"""The text formats, with the parser of prometheus_client as an independent witness."""

from pathlib import Path

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as om_parser

from shipper.collect.metric.exposition import Exposition
from shipper.collect.metric.samples import Sample

TEXTS = Path(__file__).parents[3] / "expositions"


def samples(text: str) -> list[Sample]:
    return list(Exposition(text.encode()))


def witness(text: str) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
    format_ = om_parser if text.endswith("# EOF\n") else parser
    return {
        (one.name, frozenset(one.labels.items()), one.value)
        for family in format_.text_string_to_metric_families(text)
        for one in family.samples
        if one.value == one.value and abs(one.value) != float("inf")
    }


@pytest.mark.parametrize("path", sorted(TEXTS.glob("*.txt")), ids=lambda path: path.stem)
def test_real_texts_give_what_prometheus_client_reads(path: Path) -> None:
    text = path.read_text()
    found = Exposition(text.encode())
    assert {(one.name, frozenset(one.labels), one.value) for one in found} == witness(text)
    assert found.damaged == 0


ESCAPED = r"""
a{x="quote \" slash \\ newline \n end",y="}"} 1
b{le="+Inf"} 2 1700000000000
c 3e-2
d{} 4
"""


def test_escapes_times_and_exponents_are_read_as_by_prometheus_client() -> None:
    assert {(one.name, frozenset(one.labels), one.value) for one in samples(ESCAPED)} == witness(ESCAPED)


def test_a_counter_is_what_is_declared_one() -> None:
    text = """
# TYPE jobs counter
jobs 1
# TYPE disk_total gauge
disk_total 2
# TYPE wait_seconds histogram
wait_seconds_bucket{le="1"} 3
wait_seconds_sum 4
wait_seconds_count 5
# TYPE size summary
size{quantile="0.5"} 6
size_sum 7
untyped_total 8
untyped 9
"""
    counters = {one.name for one in samples(text) if one.counter}
    waits = {f"wait_seconds_{part}" for part in ("bucket", "sum", "count")}
    assert counters == {"jobs", *waits, "size_sum", "untyped_total"}


def test_a_counter_of_openmetrics_is_declared_without_its_ending() -> None:
    text = '# TYPE jobs counter\n# UNIT jobs x\njobs_total 1 # {trace="a"} 1 2\njobs_created 3\n# EOF\n'
    assert [(one.name, one.value, one.counter) for one in samples(text)] == [
        ("jobs_total", 1.0, True),
        ("jobs_created", 3.0, False),
    ]


def test_a_quoted_name_may_have_dots() -> None:
    assert samples('{"http.requests","user agent"="x"} 3\n') == [Sample("http.requests", (("user agent", "x"),), 3.0)]


def test_a_damaged_line_costs_itself() -> None:
    found = Exposition(b'a 1\nb{x="1} 2\nc{x=1} 3\nd\ne nonsense\n{} 4\nf{y="1"} 5\n\xff 6\n')
    assert [one.name for one in found] == ["a", "f"]
    assert found.damaged == 6
    assert found.example == 'b{x="1} 2'


def test_what_elasticsearch_cannot_store_is_absent() -> None:
    found = Exposition(b"a NaN\nb +Inf\nc -Inf\nd 1e999\ne 1\n")
    assert [one.name for one in found] == ["e"]
    assert found.damaged == 0
