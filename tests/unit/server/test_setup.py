"""Set-up against a stub of a server with the data-streams module, which no server that runs here has."""

import json

import pytest
from fullserver import FullServer, serving

from shipper.base.errors import ServerError
from shipper.deliver import client
from shipper.schema import templates
from shipper.server import setup
from shipper.settings.config import Config, Elasticsearch, Index


def set_up(stub: FullServer, index: Index) -> list[str]:
    config, lines = Config(elasticsearch=Elasticsearch(hosts=(stub.url,)), index=index), list[str]()
    with client.connect(config, {}) as connection:
        setup.install(connection, config, lines.append)
    return lines


@pytest.mark.parametrize("layout", ["datastream", "dated"])
def test_full_server_gets_exactly_what_is_printed(layout: str) -> None:
    index = Index(layout=layout)
    with serving(FullServer()) as stub:
        lines = set_up(stub, index)
    assert stub.put == [(one.path, one.body) for one in setup.requests(Config(index=index))]
    assert ("created    data stream metrics-shipper.host-default" in lines) == (layout == "datastream")
    assert [line for line in lines if line.startswith(("left out   index", "not kept"))] == []


def test_setting_that_is_refused_by_name_is_left_out() -> None:
    refuse = {"index.look_back_time": (400, "unknown setting [index.look_back_time] please check")}
    with serving(FullServer(refuse=refuse)) as stub:
        lines = set_up(stub, Index())
    assert "left out   look_back_time: the server rejects it" in lines
    bodies = dict(stub.put)
    for one in templates.render(Index(), templates.Features(look_back=False)):
        assert bodies[one.path] == one.body


def test_refusal_for_another_reason_ends_in_one_line() -> None:
    with (
        serving(FullServer(refuse={"PUT /_index_template": (403, "no")})) as stub,
        pytest.raises(ServerError) as caught,
    ):
        set_up(stub, Index())
    text = "PUT /_index_template/metrics-shipper.host-default: 403: the credentials lack this privilege: no"
    assert str(caught.value) == text


def test_stream_that_may_not_be_made_stops_nothing() -> None:
    with serving(FullServer(refuse={"_data_stream": (403, "no")})) as stub:
        lines = set_up(stub, Index())
    assert lines[-1].startswith("not yet    data streams: the first document creates them (GET /_data_stream/")


def test_server_too_old_is_refused_in_one_line() -> None:
    with serving(FullServer(version="8.6.2")) as stub:
        with pytest.raises(ServerError) as caught:
            set_up(stub, Index())
        assert str(caught.value) == "Elasticsearch 8.6.2: index.layout datastream needs 8.7 or newer"
        assert set_up(stub, Index(layout="dated"))[0] == "server     Elasticsearch 8.6.2"


def test_server_without_lifecycle_gets_none() -> None:
    with serving(FullServer(version="8.10.4")) as stub:
        lines = set_up(stub, Index())
    assert "left out   lifecycle: Elasticsearch 8.10.4 has none; nothing deletes old documents" in lines
    assert "lifecycle" not in json.dumps(stub.put)


def test_downsampling_stands_in_the_lifecycle_of_the_time_series_alone() -> None:
    index = Index(downsample=("7d:10m", "30d:1h"), retention_days=90)
    bodies = {one.name: one.body for one in templates.render(index) if one.kind == "index"}
    stages = [{"after": "7d", "fixed_interval": "10m"}, {"after": "30d", "fixed_interval": "1h"}]
    lifecycle = {"enabled": True, "data_retention": "90d"}
    assert bodies["metrics-shipper.host-default"]["template"]["lifecycle"] == {**lifecycle, "downsampling": stages}
    assert bodies["metrics-shipper.host.late-default"]["template"]["lifecycle"] == lifecycle


def test_a_server_that_refuses_downsampling_gets_the_rest() -> None:
    refusal = "[lifecycle] unknown field [downsampling]"
    with serving(FullServer(refuse={'"downsampling"': (400, refusal)})) as stub:
        lines = set_up(stub, Index(downsample=("7d:10m",)))
    assert "left out   downsampling: the server rejects it" in lines
    bodies = dict(stub.put)
    assert bodies["/_index_template/metrics-shipper.host-default"]["template"]["lifecycle"]["data_retention"] == "30d"


def test_a_server_before_the_lifecycle_gets_ilm_policies() -> None:
    with serving(FullServer(version="8.9.2", modules=("data-streams", "x-pack-ilm", "x-pack-rollup"))) as stub:
        lines = set_up(stub, Index(downsample=("7d:10m", "30d:1h"), retention_days=90))
    bodies = dict(stub.put)
    phases = bodies["/_ilm/policy/metrics-shipper-default"]["policy"]["phases"]
    assert phases == {
        "hot": {"actions": {"rollover": {"max_age": "1d", "max_primary_shard_size": "50gb"}}},
        "warm": {"min_age": "7d", "actions": {"downsample": {"fixed_interval": "10m"}}},
        "cold": {"min_age": "30d", "actions": {"downsample": {"fixed_interval": "1h"}}},
        "delete": {"min_age": "90d", "actions": {"delete": {}}},
    }
    assert set(bodies["/_ilm/policy/metrics-shipper.late-default"]["policy"]["phases"]) == {"hot", "delete"}
    template = bodies["/_index_template/metrics-shipper.host-default"]["template"]
    assert template["settings"]["index.lifecycle.name"] == "metrics-shipper-default"
    assert "lifecycle" not in template
    assert "created    lifecycle policy metrics-shipper-default" in lines
    assert [path for path, _ in stub.put].index("/_ilm/policy/metrics-shipper-default") < [
        path for path, _ in stub.put
    ].index("/_index_template/metrics-shipper.host-default")
