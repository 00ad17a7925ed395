"""Names as dimensions change the identity of no document: what was stored is met again, what differs stays apart."""

import json
from typing import Any

import pytest
import shipper_eslocal

from shipper.base.errors import ServerError
from shipper.deliver import client
from shipper.deliver.client import call
from shipper.deliver.document import Writer
from shipper.fields.field import host_label
from shipper.schema import stream_names, templates
from shipper.schema.datasets import DATASETS
from shipper.schema.templates import Features
from shipper.server import setup, streams
from shipper.server.capabilities import examine, features
from shipper.settings.config import Config, Elasticsearch, Index

TICK_MS = 1_795_456_800_000
CONTAINER = {
    "@timestamp": TICK_MS,
    "host.name": "node-1",
    "host.id": "0" * 32,
    "cgroup.path": "/system.slice/docker-1.scope",
    "cgroup.kind": "container",
    "cgroup.entity": "web-1@node-1",
    "container.id": "1" * 64,
    "container.name": "web-1",
    "container.runtime": "docker",
    "container.image.name": "shop/web:1.2",
    "cgroup.cpu.cores": 0.5,
}
NAMES = ("cgroup.entity", "cgroup.kind", "container.name", "container.image.name", "container.runtime")
LABELLED = {**CONTAINER, "host.labels.rack": "a1"}
WRITER = Writer((*DATASETS["cgroup"].fields, *map(host_label, ("rack",))))


def configured(es: shipper_eslocal.Cluster, namespace: str, **index: Any) -> Config:
    wanted = Index(namespace=namespace, replicas=0, **index)
    return Config(elasticsearch=Elasticsearch(hosts=(es.url,)), index=wanted)


def set_up(config: Config) -> list[str]:
    lines: list[str] = []
    with client.connect(config) as connection:
        setup.install(connection, config, lines.append)
    return lines


def send(es: shipper_eslocal.Cluster, namespace: str, *documents: dict[str, Any]) -> list[int]:
    """The status of each document, as an agent sends it."""
    action = json.dumps({"create": {"_index": stream_names.stream("cgroup", namespace)}}).encode()
    lines = b"".join(action + b"\n" + WRITER.write(dict(one)) + b"\n" for one in documents)
    return [item["create"]["status"] for item in es.request("POST", "/_bulk?refresh=true", lines)["items"]]


def test_a_resend_meets_its_twin_and_others_stay_apart(es: shipper_eslocal.Cluster, namespace: str) -> None:
    set_up(configured(es, namespace))
    other = {**CONTAINER, "cgroup.path": "/system.slice/docker-2.scope"}
    nameless = {key: value for key, value in CONTAINER.items() if key not in NAMES} | {"cgroup.path": "/a.slice"}
    assert send(es, namespace, CONTAINER, other, nameless) == [201, 201, 201]
    assert send(es, namespace, CONTAINER, other, nameless) == [409, 409, 409]
    assert send(es, namespace, {**CONTAINER, "cgroup.cpu.cores": 9.0}) == [409]
    assert send(es, namespace, {**CONTAINER, "@timestamp": TICK_MS + 10_000}) == [201]


def test_names_are_dimensions_that_queries_can_split_by(es: shipper_eslocal.Cluster, namespace: str) -> None:
    set_up(configured(es, namespace, label_fields=("rack",)))
    assert send(es, namespace, LABELLED) == [201]
    wanted = (*NAMES, "host.labels.rack")
    found = es.request("GET", f"/{stream_names.stream('cgroup', namespace)}/_field_caps?fields={','.join(wanted)}")
    fields = found["fields"]
    assert {name: fields[name]["keyword"].get("time_series_dimension") for name in wanted} == dict.fromkeys(
        wanted, True
    )


def test_a_long_name_refuses_no_document(es: shipper_eslocal.Cluster, namespace: str) -> None:
    set_up(configured(es, namespace))
    assert send(es, namespace, {**CONTAINER, "container.image.name": "x" * 40_000, "container.name": "☂" * 9_000}) == [
        201
    ]


def test_an_index_from_before_keeps_its_identity(es: shipper_eslocal.Cluster, namespace: str) -> None:
    """A stream made when names were no dimensions: set-up leaves its index alone and says what a rollover brings."""
    config = configured(es, namespace)
    for one in templates.render(config.index, Features(look_back=False, routing_path=True, names=False)):
        # A component of the test's own: the servers here cannot be rid of a template that a stream uses
        body = json.loads(json.dumps(one.body).replace("cgroup@package", f"cgroup-{namespace}"))
        if "cgroup" in one.name:
            path = one.path.replace("cgroup@package", f"cgroup-{namespace}")
            es.request("PUT", path, body)
    assert send(es, namespace, CONTAINER) == [201]
    lines = set_up(configured(es, namespace, label_fields=("rack",)))
    later = next(
        line for line in lines if line.startswith(f"later      data stream metrics-shipper.cgroup-{namespace}: ")
    )
    assert "other mappings of" in later
    assert send(es, namespace, CONTAINER) == [409]
    # An agent that has the label now: the old index does not know the field, so it is the same document
    assert send(es, namespace, LABELLED) == [409]


def test_a_dimension_added_to_an_index_would_store_a_document_twice(
    es: shipper_eslocal.Cluster, namespace: str
) -> None:
    """Why set-up does not: the server takes the new dimension, and the same document is another one from then on."""
    set_up(configured(es, namespace))
    assert send(es, namespace, LABELLED) == [201]
    assert send(es, namespace, LABELLED) == [409]
    rack = {"properties": {"rack": {"type": "keyword", "time_series_dimension": True}}}
    body = {"properties": {"host": {"properties": {"labels": rack}}}}
    es.request("PUT", f"/{stream_names.stream('cgroup', namespace)}/_mapping", body)
    assert send(es, namespace, LABELLED) == [201]


def test_a_stream_made_before_setup_is_found_and_a_rollover_mends_it(
    es: shipper_eslocal.Cluster, namespace: str
) -> None:
    """By a template as Elastic's own for metrics-*-*: standard mode, mappings that are guessed."""
    stream = stream_names.stream("cgroup", namespace)
    guessed = {"index_patterns": [stream], "priority": 101, "data_stream": {}}
    es.request("PUT", f"/_index_template/guessed-{namespace}", guessed)
    assert send(es, namespace, CONTAINER) == [201]
    config = configured(es, namespace)
    lines = set_up(config)
    assert any(line.startswith(f"later      data stream {stream}: it was created in mode standard") for line in lines)
    with client.connect(config) as connection:
        setup.install(connection, config, lines.append, rollover=True)
        assert any(line.startswith(f"rolled     data stream {stream}: ") for line in lines)
        known = features(examine(connection), "datastream")
        expected = streams.expected(connection, config, known)[stream]
        (found,) = [one for one in streams.present(connection, config, examine(connection)) if one.name == stream]
        comparison = streams.compare(found, expected)
        assert (comparison.steps, comparison.later) == ([], [])
        assert len(found.backing) == 2
        assert call(connection, "GET", f"/{stream}/_count")["count"] == 1
    assert send(es, namespace, {**CONTAINER, "@timestamp": TICK_MS + 10_000}) == [201]


@pytest.mark.parametrize("priority", [1000, templates.PRIORITY - 1])
def test_a_template_that_wins_over_ours_is_an_error(es: shipper_eslocal.Cluster, namespace: str, priority: int) -> None:
    shadow = {"index_patterns": [f"metrics-shipper.*-{namespace}"], "priority": priority, "data_stream": {}}
    es.request("PUT", f"/_index_template/ops-{namespace}", shadow)
    config = configured(es, namespace)
    try:
        if priority < templates.PRIORITY:
            set_up(config)
            return
        with pytest.raises(ServerError, match=rf"^index template ops-{namespace} \(priority 1000, "):
            set_up(config)
    finally:
        es.request("DELETE", f"/_index_template/ops-{namespace}")
