"""Set-up of a server that is lived in: streams that are there, other people's values, templates that win over ours."""

from collections.abc import Iterator
from typing import Any

import pytest
from fullserver import FullServer, serving

from shipper import cli
from shipper.base.errors import ServerError
from shipper.base.findings import Level
from shipper.deliver import client
from shipper.schema import templates
from shipper.server import checks, effect, setup, streams
from shipper.settings.config import Config, Elasticsearch, Index

HOST = "metrics-shipper.host-default"
FIELD = {"type": "long", "time_series_metric": "gauge"}


@pytest.fixture
def server() -> Iterator[FullServer]:
    with serving(FullServer()) as stub:
        yield stub


def configured(server: FullServer, index: Index) -> Config:
    return Config(elasticsearch=Elasticsearch(hosts=(server.url,)), index=index)


def set_up(server: FullServer, index: Index | None = None, *, rollover: bool = False) -> list[str]:
    """The lines that set-up says; ``server.put`` then has what this one sent."""
    config, lines = configured(server, index or Index()), list[str]()
    server.put.clear()
    with client.connect(config, {}) as connection:
        setup.install(connection, config, lines.append, rollover=rollover)
    return lines


def findings(server: FullServer, index: Index | None = None) -> list[tuple[Level, str]]:
    config = configured(server, index or Index())
    with client.connect(config, {}) as connection:
        return [(one.level, one.text) for one in checks.examine(connection, config)]


def wrong(server: FullServer, index: Index | None = None) -> list[str]:
    return [text for level, text in findings(server, index) if level is Level.WRONG]


def command(server: FullServer, *words: str) -> int:
    server.put.clear()
    return cli.main(["setup", "--elasticsearch-hosts", server.url, *words])


def test_a_second_setup_changes_nothing_and_the_check_agrees(server: FullServer) -> None:
    set_up(server)
    assert [line.split()[0] for line in set_up(server) if "server" not in line and "note" not in line].count(
        "unchanged"
    )
    assert server.put == []
    assert wrong(server) == []
    assert (Level.OK, f"data streams as configured: {len(server.streams)}") in findings(server)


def test_retention_that_is_raised_reaches_streams_that_exist(server: FullServer) -> None:
    set_up(server)
    raised = Index(retention_days=365)
    assert any("retention 30d → 365d" in text for text in wrong(server, raised))
    lines = set_up(server, raised)
    assert f"updated    lifecycle of data stream {HOST}: retention 30d → 365d" in lines
    assert {one["lifecycle"]["data_retention"] for one in server.streams.values()} == {"365d"}
    assert (f"/_data_stream/{HOST}/_lifecycle", {"enabled": True, "data_retention": "365d"}) in server.put
    assert wrong(server, raised) == []


def test_downsampling_reaches_the_time_series_alone(server: FullServer) -> None:
    set_up(server)
    server.make("metrics-shipper.host.late-default")
    set_up(server, Index(downsample=("7d:10m",)))
    assert server.streams[HOST]["lifecycle"]["downsampling"] == [{"after": "7d", "fixed_interval": "10m"}]
    assert "downsampling" not in server.streams["metrics-shipper.host.late-default"]["lifecycle"]


def test_without_a_terminal_other_values_are_shown_and_kept(
    server: FullServer, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(server, Index(retention_days=90))
    assert command(server) == 1
    shown = capsys.readouterr()
    line = f"    index template {HOST}: template.lifecycle.data_retention: 90d → 30d"
    assert line in shown.out.splitlines()
    assert "nothing was changed: there is no terminal to ask on; use --yes" in shown.err
    assert server.put == []
    assert {one["lifecycle"]["data_retention"] for one in server.streams.values()} == {"90d"}
    assert command(server, "--yes") == 0
    assert {one["lifecycle"]["data_retention"] for one in server.streams.values()} == {"30d"}


@pytest.mark.parametrize(("typed", "code"), [("yes", 0), ("no", 1), ("", 1)])
def test_a_terminal_is_asked(server: FullServer, typed: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(server, Index(retention_days=90))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _question: typed)
    assert command(server) == code
    assert bool(server.put) == (code == 0)


def test_a_lifecycle_that_somebody_gave_a_stream_is_not_overwritten_in_passing(server: FullServer) -> None:
    set_up(server)
    server.streams[HOST]["lifecycle"] = {"enabled": True, "data_retention": "400d"}
    assert command(server) == 1
    assert server.streams[HOST]["lifecycle"]["data_retention"] == "400d"


def test_a_stream_that_keeps_for_ever_loses_nothing_without_consent(server: FullServer) -> None:
    set_up(server)
    server.streams[HOST]["lifecycle"] = {"enabled": True}
    assert command(server) == 1
    assert server.put == []


def test_dry_run_shows_the_whole_plan_and_sends_nothing(server: FullServer, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(server, Index(retention_days=90))
    assert command(server, "--dry-run", "--index-shards", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"updated    lifecycle of data stream {HOST}: retention 90d → 30d" in lines
    assert f"    data stream {HOST}: lifecycle.data_retention: 90d → 30d" in lines
    assert any(line.startswith(f"later      data stream {HOST}: index.number_of_shards 1 → 2") for line in lines)
    assert server.put == []


def test_one_namespace_does_not_speak_for_another(server: FullServer) -> None:
    set_up(server, Index(namespace="a", retention_days=90))
    before = {path: body for path, body in server.templates.items() if path.endswith("-a")}
    assert before
    assert command(server, "--index-namespace", "b", "--index-retention-days", "7", "--index-shards", "3") == 0
    assert {path: body for path, body in server.templates.items() if path.endswith("-a")} == before
    kept = {name: one["lifecycle"]["data_retention"] for name, one in server.streams.items()}
    assert kept["metrics-shipper.host-a"] == "90d" and kept["metrics-shipper.host-b"] == "7d"
    assert wrong(server, Index(namespace="a", retention_days=90)) == []


def test_a_failure_store_that_the_cluster_turns_on_is_turned_off(server: FullServer) -> None:
    server.failure_store = True
    set_up(server)
    assert wrong(server) == []  # by the template
    server.streams[HOST]["options"] = None  # made before the template said so
    assert any("no failure store" in text for text in wrong(server))
    set_up(server)
    assert server.put == [(f"/_data_stream/{HOST}/_options", {"failure_store": {"enabled": False}})]
    assert wrong(server) == []


def without_field(server: FullServer, index: str, *names: str) -> None:
    properties = server.indices[index]["mappings"]["properties"]["system"]["properties"]["load"]["properties"]
    for name in names:
        del properties[name]


def test_new_fields_reach_every_backing_index_that_can_be_written_to(server: FullServer) -> None:
    set_up(server)
    for _ in range(3):
        server.roll(HOST)
    blocked, downsampled, old, current = server.streams[HOST]["indices"]
    server.indices[blocked]["settings"]["index.blocks.write"] = "true"
    server.indices[downsampled]["settings"]["index.downsample.status"] = "success"
    for index in (blocked, downsampled, old, current):
        without_field(server, index, "15")
    set_up(server)
    assert [path for path, _ in server.put] == [f"/{old}/_mapping", f"/{current}/_mapping"]
    body = {"properties": {"system": {"properties": {"load": {"properties": {"15": {**FIELD, "type": "double"}}}}}}}
    assert server.put[0][1]["properties"].keys() == body["properties"].keys()
    assert wrong(server) == []


def test_a_late_stream_that_guesses_is_told_not_to(server: FullServer) -> None:
    """By Elastic's own template it was made in the right mode, but it takes any field."""
    late = "metrics-shipper.host.late-default"
    server.make(late)
    (index,) = server.streams[late]["indices"]
    set_up(server)
    assert server.indices[index]["mappings"]["dynamic"] is False
    (left,) = wrong(server)
    assert f"data stream {late}: index.codec unset → best_compression" in left


def test_a_new_dimension_waits_for_the_next_backing_index(server: FullServer) -> None:
    """Added to an index in being, a document that has it would be stored again under another id when it is resent."""
    set_up(server)
    (index,) = server.streams[HOST]["indices"]
    before = dict(server.indices[index]["mappings"]["properties"]["host"]["properties"])
    lines = set_up(server, Index(label_fields=("rack",)))
    assert f"later      data stream {HOST}: other mappings of host.labels.rack: " in "\n".join(lines)
    assert server.indices[index]["mappings"]["properties"]["host"]["properties"] == before
    assert any(
        "host.labels.rack; run shipper setup --rollover" in text
        for text in wrong(server, Index(label_fields=("rack",)))
    )
    set_up(server, Index(label_fields=("rack",)), rollover=True)
    assert (f"/{HOST}/_rollover", None) in server.put
    assert wrong(server, Index(label_fields=("rack",))) == []


def test_settings_are_changed_now_or_with_the_next_backing_index(server: FullServer) -> None:
    set_up(server)
    (index,) = server.streams[HOST]["indices"]
    server.indices[index]["settings"] |= {"index.number_of_replicas": "5", "index.codec": "default"}
    server.templates["/_component_template/metrics-shipper@custom"]["template"] = {
        "settings": {"index.refresh_interval": "7s"}
    }
    lines = set_up(server, Index(replicas=0))
    settings = server.indices[index]["settings"]
    assert (settings["index.number_of_replicas"], settings["index.refresh_interval"]) == ("0", "7s")
    assert f"later      data stream {HOST}: index.codec default → best_compression: " in "\n".join(lines)


def test_a_stream_made_before_setup_is_found_and_a_rollover_mends_it(server: FullServer) -> None:
    server.make(HOST)  # by Elastic's own template for metrics-*-*
    assert any("created in mode standard before setup" in text for text in [*wrong(server), *map(str, set_up(server))])
    assert any(f"data stream {HOST}: it was created in mode standard" in text for text in wrong(server))
    assert server.streams[HOST]["lifecycle"]["data_retention"] == "30d"
    set_up(server, rollover=True)
    assert (f"/{HOST}/_rollover", None) in server.put
    assert wrong(server) == []


def test_an_index_in_the_place_of_a_stream_is_named(server: FullServer) -> None:
    server.indices[HOST] = {"settings": {}, "mappings": {}}
    assert any(line.startswith(f"wrong      {HOST} is an index, not a data stream") for line in set_up(server))
    assert any(f"{HOST} is an index, not a data stream" in text for text in wrong(server))


def test_a_template_that_wins_over_ours_is_named_and_an_error(server: FullServer) -> None:
    set_up(server)
    shadow: dict[str, Any] = {"index_patterns": ["metrics-*"], "priority": 1000, "data_stream": {}, "composed_of": []}
    server.templates["/_index_template/ops-metrics"] = shadow
    with pytest.raises(ServerError) as caught:
        set_up(server)
    number = len(effect.names(Config())) - 1
    told = f"index template ops-metrics (priority 1000, metrics-*) overrides shipper's for {HOST} and {number} more"
    assert str(caught.value).startswith(told)
    assert [text for text in wrong(server) if text.startswith(told)]
    shadow["priority"] = templates.PRIORITY - 1
    assert wrong(server) == []


def test_a_stream_that_would_be_no_time_series_is_named(server: FullServer) -> None:
    set_up(server)
    del server.templates["/_index_template/metrics-shipper.disk-default"]["template"]["settings"]["index.mode"]
    assert any("metrics-shipper.disk-default would be created in mode standard" in text for text in wrong(server))


@pytest.mark.parametrize("version", ["9.4.0", "9.4.3", "9.5.0", "9.5.2"])
def test_versions_that_are_not_fit_are_said(version: str) -> None:
    with serving(FullServer(version=version)) as stub:
        lines = set_up(stub)
        assert any(line.startswith(f"note       Elasticsearch {version} can ") for line in lines)
        assert [
            text for level, text in findings(stub) if level is Level.NOTE and f"Elasticsearch {version} can " in text
        ]


@pytest.mark.parametrize("version", ["8.19.21", "9.3.9", "9.4.4", "9.5.3", "9.6.0-SNAPSHOT"])
def test_other_versions_are_not(version: str) -> None:
    with serving(FullServer(version=version)) as stub:
        assert not [line for line in set_up(stub) if line.startswith("note       Elasticsearch")]


def test_where_past_documents_can_go_into_the_series_setup_says_how() -> None:
    with serving(FullServer(version="9.5.3")) as stub:
        assert any("data_stream.past_tsdb_index_creation_enabled" in line for line in set_up(stub))


def test_what_a_cluster_or_policy_decides_is_noted(server: FullServer) -> None:
    about = {"lifecycle": {"effective_retention": "7d", "retention_determined_by": "max_global_retention"}}
    stream = streams.Stream(HOST, [], {**about, "ilm_policy": "metrics", "prefer_ilm": True})
    assert [one.text for one in checks._retention(stream)] == [
        f"data stream {HOST}: the cluster limits retention to 7d",
        f"data stream {HOST}: ILM policy metrics decides, not index.retention_days",
    ]


def test_removal_takes_what_setup_made_and_nothing_else(server: FullServer) -> None:
    set_up(server)
    set_up(server, Index(namespace="b"))
    assert command(server, "--remove") == 1  # no terminal
    assert command(server, "--remove", "--yes") == 0
    left = set(server.templates)
    assert not [path for path in left if path.endswith("-default")]
    assert "/_index_template/metrics-shipper.host-b" in left
    assert "/_component_template/metrics-shipper.host@package" in left  # namespace b needs it
    assert HOST in server.streams
    assert command(server, "--remove", "--data", "--yes", "--index-namespace", "b") == 0
    assert set(server.templates) == {"/_index_template/metrics"}
    assert not [name for name in server.streams if name.endswith("-b")]


def test_removal_keeps_what_the_operator_wrote(server: FullServer, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(server)
    custom = f"/_component_template/{templates.CUSTOM}"
    server.templates[custom]["template"] = {"settings": {"index.refresh_interval": "7s"}}
    assert command(server, "--remove", "--yes") == 0
    assert f"kept       component template {templates.CUSTOM}: it holds settings" in capsys.readouterr().out
    assert set(server.templates) == {custom, "/_index_template/metrics"}


@pytest.mark.parametrize(
    ("typed", "gone"), [(["yes", "default"], True), (["yes", "other"], False), (["no"], False), (["yes", ""], False)]
)
def test_data_is_deleted_only_after_two_questions(
    server: FullServer, typed: list[str], gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(server)
    answers = iter(typed)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _question: next(answers))
    assert command(server, "--remove", "--data") == (0 if gone else 1)
    assert (HOST not in server.streams) == gone


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data"], "--data needs --remove"),
        (["--remove", "--create-key"], "--create-key and --remove: use only one of them"),
        (["--remove", "--dry-run"], "--remove cannot be combined with --dry-run or --rollover"),
    ],
)
def test_flags_that_say_two_things_are_refused(
    server: FullServer, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(server, *words) == 2
    assert capsys.readouterr().err == f"shipper: {said}\n"
    assert server.put == []
