"""What a source may give: no more label sets, names and bytes than it is allowed, whatever it sends."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

from shipper.collect.metric.bounds import Bounds
from shipper.collect.metric.samples import Sample
from shipper.settings.sources import Textfile


def bounds(**options: Any) -> Bounds:
    return Bounds(Textfile(name="s", directory="/d", **options))


def test_label_sets_beyond_the_limit_are_counted_and_named() -> None:
    one = bounds(max_series=2)
    kept = one.gather([Sample("a", (("i", str(i)),), i) for i in range(5)], 7)
    assert [series.values for series in kept] == [{"a": 0}, {"a": 1}]
    assert (one.dropped, one.samples) == (3, 2)
    assert one.problem == "3 samples are beyond max_series = 2, such as a"


def test_names_beyond_the_limit_stay_out_for_good() -> None:
    one = bounds(max_names=2)
    assert [set(series.values) for series in one.gather([Sample(name, (), 1) for name in "abc"], 7)] == [{"a", "b"}]
    assert [set(series.values) for series in one.gather([Sample(name, (), 1) for name in "cb"], 7)] == [{"b"}]
    assert one.problem == "1 samples are beyond max_names = 2, such as c"


def test_names_of_labels_count_too() -> None:
    one = bounds(max_names=3)
    samples = [Sample("a", ((name, "x"),), 1) for name in "bcde"]
    assert [series.labels for series in one.gather(samples, 7)] == [(("b", "x"),), (("c", "x"),)]
    assert one.dropped == 2


def test_globs_choose_and_what_is_not_chosen_is_no_loss() -> None:
    one = bounds(accept=("etcd_*",), drop=("*_bucket",))
    samples = [Sample(name, (), 1) for name in ("etcd_a", "etcd_b_bucket", "go_c")]
    assert [set(series.values) for series in one.gather(samples, 7)] == [{"etcd_a"}]
    assert one.dropped == 0


def test_the_order_of_labels_and_empty_ones_make_no_other_set() -> None:
    samples = [Sample("a", (("x", "1"), ("y", "2")), 1), Sample("b", (("y", "2"), ("x", "1"), ("z", "")), 2)]
    (series,) = bounds().gather(samples, 7)
    assert series.values == {"a": 1, "b": 2}


def test_hostile_names_and_values_become_ones_that_the_server_takes() -> None:
    samples = [Sample("..a..b. \0\u2603", (("c*\n.", "v" * 40_000), (".", "x")), 1)]
    (series,) = bounds().gather(samples, 7)
    assert list(series.values) == ["_.a_.b.___"]
    ((name, value),) = series.labels
    assert name == "c__"
    assert len(value) == 512


def many() -> Iterator[Sample]:
    return (Sample("a", (("user", f"user-{i:012}"),), i) for i in range(30_000))


def test_many_label_values_take_little_memory() -> None:
    """tracemalloc counts what Python allocates; with a thousand label sets kept."""
    one = bounds()
    one.gather([Sample("a", (), 1)], 7)
    tracemalloc.start()
    try:
        kept = one.gather(many(), 7)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(kept), one.dropped) == (1000, 29_000)
    assert peak < 4 << 20
