"""Label sets become readings: rates, the source's own document, and the container that numbers belong to."""

from pathlib import Path

from shipper.collect.cgroup.entities import entities
from shipper.collect.metric.bounds import Series
from shipper.collect.metric.documents import Documents
from shipper.fields.rates import Reading
from shipper.kernel.source import Reader, Root

ID = "7f3d" * 16
S = 10**9


def series(at_ns: int, unit: str = "", **values: float) -> Series:
    """The first value is of a counter."""
    return Series((), unit, at_ns, {**values}, {next(iter(values))})


def readings(documents: Documents, *gathered: Series) -> list[Reading]:
    return list(documents.readings(gathered, {"metricset.samples.count": 1}, 1))


def test_rates_are_of_the_time_between_two_readings_and_absent_after_a_reset() -> None:
    documents = Documents(Reader(Root()), "s", "")
    told = []
    for at_s, value in ((0, 1.5), (60, 4.5), (60, 4.5), (120, 2.0), (130, 3.0)):
        (one,) = readings(documents, series(at_s * S, jobs_total=value, level=value))
        told.append(one.values["metric"])
    assert [one.get("jobs_total_per_s") for one in told] == [None, 0.05, None, None, 0.1]  # type: ignore[union-attr]
    assert all("level_per_s" not in one for one in told)  # type: ignore[operator]


def test_a_metric_with_the_name_of_a_rate_keeps_it() -> None:
    documents = Documents(Reader(Root()), "s", "")
    for at_s in (0, 10):
        (one,) = readings(documents, series(at_s * S, a=float(at_s), a_per_s=7.0))
    assert one.values["metric"] == {"a": 10.0, "a_per_s": 7.0}
    assert one.values["dynamic_templates"] == {"metric.a": "counter"}


def test_a_source_without_numbers_has_a_document_of_its_own() -> None:
    (one,) = readings(Documents(Reader(Root()), "s", ""))
    assert one.values.keys() == {"metricset.name", "metricset.series", "metricset.samples.count"}


def test_a_container_is_found_by_id_name_and_inode(tmp_path: Path) -> None:
    directory = tmp_path / "sys/fs/cgroup/docker" / ID
    directory.mkdir(parents=True)
    reader = Reader(Root(str(tmp_path)))
    entities(reader).add(f"/docker/{ID}", "web-1@node-1")
    documents = Documents(reader, "s", "")
    senders = (ID, ID[:12], "web-1", f"in-{directory.stat().st_ino}")
    found = readings(documents, *(series(1, sender, a=1.0) for sender in senders), series(1, "in-1", a=1.0))
    *known, unknown, own = [one.values for one in found]
    assert len({str(one["metricset.series"]) for one in (*known, unknown, own)}) == len(senders) + 2
    for one in known:
        assert (one["container.id"], one["cgroup.entity"]) == (ID, "web-1@node-1")
        assert one["cgroup.path"] == f"/docker/{ID}"
    assert "cgroup.path" not in unknown
