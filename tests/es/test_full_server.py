"""Set-up and delivery on a full Elasticsearch of any version, which SHIPPER_TEST_ELASTICSEARCH names.

The servers that the other tests start have no data-stream API, lifecycle, time bounds or failure store. For example:

    SHIPPER_TEST_ELASTICSEARCH=https://user:password@es.example:9200 SHIPPER_TEST_CA_FILE=ca.crt pytest -m full

The user needs the role superuser. Each test has a namespace of its own and removes it, with its documents, at its end.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pytest
import shipper_eslocal
from fault.line import DATASETS, Line, found, iso
from fault.line import configured as line_config

from shipper.base.errors import ServerError
from shipper.base.findings import Level
from shipper.deliver import client
from shipper.deliver.client import Connection, call
from shipper.deliver.segment import Entry
from shipper.schema import stream_names
from shipper.server import checks, removal, setup
from shipper.server.capabilities import examine
from shipper.settings.config import Config

pytestmark = pytest.mark.full
ADDRESS = os.environ.get("SHIPPER_TEST_ELASTICSEARCH", "")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Full:
    """A namespace on the server."""

    def __init__(self, namespace: str, directory: Path) -> None:
        parts = urlsplit(ADDRESS)
        url = f"{parts.scheme}://{parts.hostname}:{parts.port or 9200}{parts.path.rstrip('/')}"
        own: dict[str, Any] = {"ca_file": os.environ.get("SHIPPER_TEST_CA_FILE", "")}
        if parts.username:
            password = directory / "password"
            password.touch(0o600)
            password.write_text(unquote(parts.password or ""))
            own |= {"username": unquote(parts.username), "password_file": str(password)}
        self.namespace, self._directory, self._url, self._own = namespace, directory, url, own
        self.config = self.configured()
        self.connection = client.connect(self.config, {})

    def configured(self, **index: Any) -> Config:
        index = {"replicas": 0, **index}
        return line_config(self._url, self.namespace, self._directory / "spool", elasticsearch=self._own, index=index)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        return call(self.connection, method, path, body)

    def set_up(self, *, rollover: bool = False, **index: Any) -> list[str]:
        lines: list[str] = []
        setup.install(self.connection, self.configured(**index), lines.append, rollover=rollover)
        return lines

    def wrong(self, **index: Any) -> list[str]:
        known = checks.examine(self.connection, self.configured(**index))
        return [one.text for one in known if one.level is Level.WRONG]

    def stream(self, dataset: str = "host") -> str:
        return stream_names.stream(dataset, self.namespace)

    def about(self, dataset: str = "host") -> Any:
        (one,) = self.request("GET", f"/_data_stream/{self.stream(dataset)}")["data_streams"]
        return one

    def count(self, pattern: str = "*") -> int:
        target = f"metrics-shipper.{pattern}-{self.namespace}"
        self.request("POST", f"/{target}/_refresh")
        return int(self.request("GET", f"/{target}/_count")["count"])

    def found(self, config: Config) -> Any:
        return found(cast("shipper_eslocal.Cluster", self), config)


@pytest.fixture
def full(namespace: str, tmp_path: Path) -> Iterator[Full]:
    one = Full(namespace, tmp_path)
    try:
        yield one
    finally:
        removal.remove(one.connection, one.config, lambda _line: None, with_data=True)
        one.connection.close()


@pytest.fixture
def line(full: Full) -> Iterator[Line]:
    one = Line(full.config)
    yield one
    one.close()


def entry(full: Full, at_ms: int, number: int = 0) -> Entry:
    action = json.dumps({"create": {"_index": full.stream("disk")}}).encode()
    document = {
        "@timestamp": iso(at_ms),
        "host": {"name": full.config.host.name, "id": "x"},
        "system": {"diskio": {"name": f"sd{number}"}},
    }
    return Entry(action, json.dumps(document).encode())


def now_ms() -> int:
    return time.time_ns() // 1_000_000 // 1000 * 1000


def test_setup_is_in_effect_and_a_second_one_changes_nothing(full: Full) -> None:
    full.set_up()
    assert full.wrong() == []
    again = full.set_up()
    assert not [one for one in again if one.startswith(("created", "updated", "upgraded", "later", "not yet"))]
    settings = next(iter(full.request("GET", f"/{full.stream()}/_settings?flat_settings=true").values()))["settings"]
    assert settings["index.mode"] == "time_series"
    assert "index.routing_path" in settings or "index.dimensions" in settings


def test_retention_that_is_raised_reaches_streams_that_exist(full: Full) -> None:
    full.set_up(retention_days=30)
    assert full.about()["lifecycle"]["data_retention"] == "30d"
    assert any("retention 30d → 365d" in text for text in full.wrong(retention_days=365))
    full.set_up(retention_days=365)
    assert full.about()["lifecycle"]["data_retention"] == "365d"
    assert full.wrong(retention_days=365) == []


def test_downsampling_reaches_streams_that_exist(full: Full) -> None:
    full.set_up()
    full.set_up(downsample=("7d:10m",))
    assert full.about()["lifecycle"]["downsampling"] == [{"after": "7d", "fixed_interval": "10m"}]
    assert full.wrong(downsample=("7d:10m",)) == []


def test_a_failure_store_takes_nothing_of_ours(full: Full, line: Line) -> None:
    """Turned on by the cluster for all metrics, and by hand for one stream."""
    if not examine(full.connection).has_failure_store:
        pytest.skip("this version has no failure store")
    setting = "data_streams.failure_store.enabled"
    before = full.request("GET", "/_cluster/settings?flat_settings=true")["persistent"].get(setting)
    full.request("PUT", "/_cluster/settings", {"persistent": {setting: "metrics-*"}})
    try:
        full.set_up()
        assert not full.about()["failure_store"]["enabled"]
        options = {"failure_store": {"enabled": True}}
        full.request("PUT", f"/_data_stream/{full.stream('disk')}/_options", options)
        assert any("no failure store" in text for text in full.wrong())
        full.set_up()
        assert full.wrong() == []
        at = now_ms()
        line.ledger.put(at, [entry(full, at), entry(full, at - 400 * DAY_MS, 1)])
        line.drain()
        counts = line.ledger.counts
        assert (counts.stored, counts.late, counts.rejected) == (1, 1, 0)
    finally:
        full.request("PUT", "/_cluster/settings", {"persistent": {setting: before}})


def test_rollovers_mid_run_lose_and_double_nothing(full: Full, line: Line) -> None:
    full.set_up()

    def roll(number: int) -> None:
        if number % 5 == 4:
            for dataset in DATASETS:
                full.request("POST", f"/{full.stream(dataset)}/_rollover")

    line.run(20, roll)
    line.drain()
    assert line.ledger.counts.stored == line.ledger.counts.collected
    assert full.found(full.config) == line.ticks
    assert full.about()["generation"] == 5


def test_a_resend_after_a_rollover_meets_its_twin(full: Full, line: Line) -> None:
    full.set_up()
    at = now_ms()
    for _ in range(3):
        line.ledger.put(at, [entry(full, at, number) for number in range(50)])
        line.drain()
        full.request("POST", f"/{full.stream('disk')}/_rollover")
    assert full.count("disk") == 50


def test_names_become_dimensions_by_a_rollover_and_nothing_doubles(full: Full, line: Line) -> None:
    full.set_up()
    at = now_ms()
    line.ledger.put(at, [entry(full, at)])
    line.drain()
    assert any("host.labels.rack" in text for text in full.wrong(label_fields=("rack",)))
    full.set_up(label_fields=("rack",), rollover=True)
    line.ledger.put(at, [entry(full, at)])
    line.drain()
    assert full.count("disk") == 1
    assert full.wrong(label_fields=("rack",)) == []


def test_a_stream_made_before_setup_is_found_and_a_rollover_mends_it(full: Full, line: Line) -> None:
    at = now_ms()
    body = {"@timestamp": iso(at), "host": {"name": "a", "id": "b"}, "labels": {"rack": "a1"}}
    full.request("PUT", f"/_index_template/guessed-{full.namespace}",
                 {"index_patterns": [full.stream("disk")], "priority": 150, "data_stream": {}})  # fmt: skip
    try:
        full.request("POST", f"/{full.stream('disk')}/_doc?op_type=create", body)
        assert any("created in mode standard" in text for text in [*full.set_up(), *full.wrong()])
        full.set_up(rollover=True)
        assert full.wrong() == []
        line.ledger.put(at, [entry(full, at)])
        line.drain()
        assert (line.ledger.counts.stored, full.count("disk")) == (1, 2)
    finally:
        with suppress(ServerError):
            full.request("DELETE", f"/_index_template/guessed-{full.namespace}")


def test_an_outage_longer_than_the_look_ahead(full: Full, line: Line) -> None:
    """Documents of the time while the server was away go into the series; older ones are late, none is lost."""
    full.set_up()
    at = now_ms()
    for hours in (1, 2, 6, 24, 100):
        line.ledger.put(at - hours * HOUR_MS, [entry(full, at - hours * HOUR_MS)])
    line.ledger.put(at - 30 * DAY_MS, [entry(full, at - 30 * DAY_MS)])
    line.drain()
    counts = line.ledger.counts
    past = _takes_past(full.connection)
    assert (counts.stored, counts.late, counts.rejected) == ((6, 0, 0) if past else (5, 1, 0))
    assert full.count("disk*") == 6


def test_a_document_of_the_future_waits(full: Full, line: Line) -> None:
    full.set_up()
    at = now_ms() + 5 * HOUR_MS
    line.ledger.put(at, [entry(full, at)])
    line.delivery.step()
    assert (line.ledger.spooled, line.ledger.counts.rejected) == (1, 0)


def _takes_past(connection: Connection) -> bool:
    name = "data_stream.past_tsdb_index_creation_enabled"
    answer = call(connection, "GET", "/_cluster/settings?flat_settings=true&include_defaults=true")
    values = [answer[part].get(name) for part in ("transient", "persistent", "defaults")]
    return next((value for value in values if value is not None), "false") == "true"


def test_a_template_that_wins_over_ours_is_named_and_an_error(full: Full) -> None:
    full.set_up()
    name = f"ops-{full.namespace}"
    body = {"index_patterns": [f"metrics-shipper.*-{full.namespace}"], "priority": 1000, "data_stream": {}}
    full.request("PUT", f"/_index_template/{name}", body)
    try:
        with pytest.raises(ServerError, match=f"index template {name} "):
            full.set_up()
        assert any(f"index template {name} " in text for text in full.wrong())
    finally:
        full.request("DELETE", f"/_index_template/{name}")


def test_removal_leaves_nothing(full: Full, line: Line) -> None:
    full.set_up()
    line.run(3)
    line.drain()
    removal.remove(full.connection, full.config, lambda _line: None, with_data=True)
    assert full.request("GET", f"/_data_stream/metrics-shipper.*-{full.namespace}")["data_streams"] == []
    assert full.request("GET", f"/_index_template/{full.stream()}") is None
