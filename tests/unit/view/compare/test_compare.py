import random

import pytest

from shipper.view.compare.compare import Compared, Row, Spread
from shipper.view.compare.find import Subject, repository, subject
from shipper.view.compare.measures import OF_CGROUP, OF_HOST, RESTARTS
from shipper.view.compare.text import lines
from shipper.view.compare.variation import Verdict, verdict
from shipper.view.msearch import term
from shipper.view.why.changes import Change

STEADY = [1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.03]
WILD = [1.0, 3.0, 0.2, 2.2, 0.5, 1.6, 2.8]


@pytest.mark.parametrize(
    ("earlier", "value", "least", "expected"),
    [
        (STEADY, 2.0, 0, Verdict.MORE),
        (STEADY, 0.5, 0, Verdict.LESS),
        (STEADY, 1.09, 0, Verdict.USUAL),  # less than a tenth
        (STEADY, 2.0, 1.5, Verdict.USUAL),  # too small to matter
        (WILD, 4.0, 0, Verdict.USUAL),
        ([*STEADY[:6], 50.0], 2.0, 0, Verdict.MORE),  # an outlier before hides nothing
        ([0.0] * 6, 0.001, 0, Verdict.MORE),  # the first error
        ([0.0] * 6, 0.001, 0.01, Verdict.USUAL),
        ([0.0] * 6, 0.0, 0, Verdict.USUAL),
        (STEADY[:5], 9.0, 0, Verdict.UNKNOWN),
        (STEADY, None, 0, Verdict.UNKNOWN),
    ],
)
def test_a_value_is_compared_with_the_variation_before(
    earlier: list[float], value: float | None, least: float, expected: Verdict
) -> None:
    assert verdict(earlier, value, least) is expected


@pytest.mark.parametrize(("windows", "share"), [(12, 0.006), (6, 0.034)])
def test_noise_seldom_differs(windows: int, share: float) -> None:
    """The figures of docs/why.md."""
    chance = random.Random(1)
    noise = [[chance.gauss(1, 0.3) for _ in range(windows + 1)] for _ in range(10_000)]
    differs = sum(verdict(earlier, value, 0) is not Verdict.USUAL for *earlier, value in noise)
    assert differs / len(noise) == pytest.approx(share, abs=0.003)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("shop/web:1.2", "shop/web"),
        ("shop/web", "shop/web"),
        ("registry:5000/web", "registry:5000/web"),
        ("registry:5000/web:1@sha256:0a", "registry:5000/web"),
    ],
)
def test_repository_of_an_image(image: str, expected: str) -> None:
    assert repository(image) == expected


def answer(started: float | None = None, **images: int) -> dict[str, object]:
    buckets = [{"key": f"web:{name}", "first": {"value": first}} for name, first in images.items()]
    return {"images": {"buckets": buckets}, "started": {"value": started}}


def test_the_newest_image_is_compared_with_those_before() -> None:
    own = term("x", "y")
    made = subject("image", "web", own, answer(v3=300, v1=100, v2=200), 0)
    assert made.change == Change(300, "the image changed from web:v2 to web:v3")
    assert made.before == ({"terms": {"container.image.name": ["web:v1", "web:v2"]}},)
    assert made.after == ({"term": {"container.image.name": "web:v3"}},)
    asked = subject("image", "web:v2", own, answer(v3=300, v1=100, v2=200), 0)
    assert asked.change and asked.change.at_ms == 200
    assert subject("image", "web:v1", own, answer(v1=100, v2=200), 0).change is None


def test_without_another_image_the_last_start_is_the_change() -> None:
    own = term("x", "y")
    assert subject("unit", "web", own, answer(700.0, v1=100), 500).change == Change(700, "the last start")
    assert subject("unit", "web", own, answer(400.0, v1=100), 500).change is None
    assert subject("unit", "web", own, answer(None), 500).change is None


def test_every_measure_has_a_unit_and_a_name_of_its_own() -> None:
    for measures in (OF_CGROUP, OF_HOST):
        assert len({one.name for one in measures}) == len(measures)
        assert all(one.unit for one in measures if one is not RESTARTS)


def test_the_text_names_what_changed_first() -> None:
    cpu, memory, restarts = OF_CGROUP[0], OF_CGROUP[2], RESTARTS
    rows = (
        Row(cpu, Spread(0.9, 1.1, 1.2), Spread(2.1, 2.4, 2.5), 1.0, 2.2, Verdict.MORE),
        Row(memory, Spread(1e6, 2e6, 3e6), None, 1e6, None, Verdict.UNKNOWN),
        Row(restarts, None, None, 0.0, 0.5, Verdict.MORE),
    )
    whose = Subject("image", "web", Change(60_000, "the image changed from web:1 to web:2"), ())
    told = list(lines(Compared(whose, 60_000, 3_600_000, 12, (3, 4), rows, [])))
    assert told == [
        "image web: 1 h before and after 1970-01-01 00:01:00 UTC (the image changed from web:1 to web:2)",
        "values per container or service; before: 3, after: 4",
        "more than usual: CPU, restarts",
        "not measured after the change: memory",
        "",
        "                  before: p50, p95, max         after: p50, p95, max          usual mean, mean after",
        "CPU               0.9, 1.1, 1.2 cores           2.1, 2.4, 2.5 cores           1, 2.2 cores (+120 %), more",
        "memory            0.95, 1.91, 2.86 MiB          –                             –",
        "restarts each     –                             –                             0, 0.5, more",
    ]
