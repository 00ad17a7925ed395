"""``shipper top`` driven by keys against a real server: what stands in the table is what the documents say."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import fleetload
import pytest
import shipper_eslocal
from fleetdocs import ODD_NAMES, Document, Fleet
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from shipper import cli
from shipper.base.errors import ServerError
from shipper.deliver import client
from shipper.settings.config import Config, Elasticsearch, Index
from shipper.view import fleet, last_tick
from shipper.view.demo_screen import shown
from shipper.view.top_screen import Top
from shipper.view.top_table import CGROUPS, HOSTS, Column, span
from shipper.view.why import text

SHIPPER = str(Path(sys.executable).with_name("shipper"))
PERIOD_S = 10
SILENT, FIRST_SILENT = 1, 20
TICKS = 40
LAST = TICKS - 1
NAMESPACE = "top"
Drive = Callable[[Top, Pilot[None]], Awaitable[None]]


@cache
def simulated_fleet() -> Fleet:
    """Made when the server is ready for it: ``top`` looks at the last minutes."""
    return Fleet(
        hosts=6, containers=7, ticks=TICKS, period_s=PERIOD_S, names=ODD_NAMES, gone={SILENT: FIRST_SILENT},
        namespace=NAMESPACE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(es9: shipper_eslocal.Cluster) -> shipper_eslocal.Cluster:
    fleetload.load([es9.url], simulated_fleet(), workers=1)
    return es9


@pytest.fixture(scope="module")
def documents(server: shipper_eslocal.Cluster) -> list[Document]:
    return list(simulated_fleet().documents())


def configured(server: shipper_eslocal.Cluster, namespace: str = NAMESPACE) -> Config:
    return Config(elasticsearch=Elasticsearch(hosts=(server.url,)), index=Index(namespace=namespace))


def driven(config: Config, drive: Drive, width: int = 300) -> None:
    """Start the app on a terminal of ``width`` columns, wait for its first answer, and hand it over."""

    async def run() -> None:
        with client.connect(config) as connection:
            app = Top(
                lambda at_ms: fleet.hosts(connection, config.index, at_ms),
                lambda host, at_ms: fleet.cgroups(connection, config.index, host, at_ms),
                lambda name, at_ms: text.half_hour(connection, config.index, name, at_ms),
                every_s=3600,
            )
            async with app.run_test(size=(width, 50)) as pilot:
                await settled(app, pilot)
                await drive(app, pilot)

    asyncio.run(run())


async def settled(app: Top, pilot: Pilot[None]) -> None:
    await app.workers.wait_for_complete()
    await pilot.pause()


async def press(app: Top, pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settled(app, pilot)


def table(app: Top) -> list[list[str]]:
    found = app.query_one(DataTable)
    return [[str(value) for value in found.get_row_at(at)] for at in range(found.row_count)]


def cells(app: Top) -> list[list[Text]]:
    found = app.query_one(DataTable)
    return [found.get_row_at(at) for at in range(found.row_count)]


def title(app: Top) -> str:
    return str(app.query_one("#title", Static).content)


def status(app: Top) -> str:
    return str(app.query_one("#status", Static).content)


def at(documents: list[Document], dataset: str, tick: int, **more: Any) -> list[dict[str, Any]]:
    found = [one.values for one in documents if one.dataset == dataset and one.tick == tick]
    return [one for one in found if all(one.get(name) == value for name, value in more.items())]


def expected(values: dict[str, Any], columns: tuple[Column, ...]) -> list[str]:
    """Cells from a document's own values; seven digits are stored of a fraction."""

    def cell(column: Column) -> str:
        value = values.get(column.field)
        if isinstance(value, float):
            value = float(f"{value:.7g}")
        return span(value) if column.form == "span" and value is not None else shown(value, column.form)

    return [cell(column) for column in columns]


def host_row(documents: list[Document], name: str, tick: int, newest: int) -> list[str]:
    (values,) = at(documents, "host", tick, **{"host.name": name})
    recent = range(newest - fleet._SLOW_S // PERIOD_S, newest + 1)
    mounts = [one for near in recent for one in at(documents, "filesystem", near, **{"host.name": name})]
    ran = {one.get("container.id") for near in recent for one in at(documents, "cgroup", near, **{"host.name": name})}
    more: dict[str, Any] = {fleet.AGE: (newest - tick) * PERIOD_S * 1000}
    if mounts:
        more[fleet.FULLEST] = max(one["system.filesystem.used.pct"] for one in mounts)
        more[fleet.CONTAINERS] = len(ran - {None})
    return expected({**values, **more}, HOSTS)


def test_hosts_are_those_of_the_documents_busiest_first(
    server: shipper_eslocal.Cluster, documents: list[Document]
) -> None:
    async def drive(app: Top, _pilot: Pilot[None]) -> None:
        rows = [host_row(documents, one["host.name"], LAST, LAST) for one in at(documents, "host", LAST)]
        silent = host_row(documents, ODD_NAMES[SILENT], FIRST_SILENT - 1, LAST)
        assert sorted(table(app)) == sorted([*rows, silent])
        cpu = [float(row[1].rstrip("%")) for row in table(app)]
        assert cpu == sorted(cpu, reverse=True)
        assert silent[5] == "3m 20s"
        name = ODD_NAMES[SILENT]
        assert re.fullmatch(rf"silent: {name} since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC \(stopped\)", status(app))
        styles = {str(row[0]): {str(cell.style) for cell in row} for row in cells(app)}
        assert styles[name] == {"bold red"}
        assert styles["node-004"] <= {"", "bold yellow"}
        assert title(app).startswith(f"{simulated_fleet().hosts} hosts · now")

    driven(configured(server), drive)


def test_what_runs_on_a_host_on_enter_and_back(server: shipper_eslocal.Cluster, documents: list[Document]) -> None:
    async def drive(app: Top, pilot: Pilot[None]) -> None:
        await press(app, pilot, "down", "enter")
        host = app.host
        assert host in simulated_fleet().names or host.startswith("node-")
        running = [one for one in at(documents, "cgroup", LAST if host != ODD_NAMES[SILENT] else FIRST_SILENT - 1)
                   if one["host.name"] == host and not one["cgroup.aggregate"]]  # fmt: skip
        assert sorted(table(app)) == sorted(expected(one, CGROUPS) for one in running)
        assert len(running) == simulated_fleet().containers + simulated_fleet().services
        assert f"{host}: containers and services" in title(app)
        await press(app, pilot, "escape")
        assert len(table(app)) == simulated_fleet().hosts

    driven(configured(server), drive)


def test_a_narrow_terminal_shows_what_matters_without_scrolling(server: shipper_eslocal.Cluster) -> None:
    async def drive(app: Top, pilot: Pilot[None]) -> None:
        found = app.query_one(DataTable)
        await press(app, pilot, "enter")
        headings = [str(column.label).rstrip("▲▼") for column in found.ordered_columns]
        assert headings[:5] == ["name", "CPUs", "of quota", "memory", "of limit"]
        assert found.max_scroll_x == 0
        keys = {binding.description for _, binding, _, _ in app.screen.active_bindings.values() if binding.show}
        assert keys >= {"Quit", "Back", "Open", "Time", "Now", "Sort", "Reverse", "Filter", "Wide"}
        await press(app, pilot, "w")
        assert len(found.ordered_columns) == len(CGROUPS)
        assert found.max_scroll_x > 0
        await press(app, pilot, "w", "slash", "ctrl+c")
        assert app.return_code == 0

    driven(configured(server), drive, width=80)


def test_a_host_that_went_hours_ago_is_silent_and_a_stopped_one_says_so(server: shipper_eslocal.Cluster) -> None:
    now_s = time.time()
    for name, ago_s in {"here": 10, "lost": 7200, "stopped": 3600, "old": 90_000}.items():
        for dataset, more in {"host": {}, "agent": {"agent.stopped": True} if name == "stopped" else {}}.items():
            at = datetime.fromtimestamp(now_s - ago_s, UTC).isoformat(timespec="milliseconds")
            document = {"@timestamp": at, "host.name": name, "host.id": name, "event.dataset": f"shipper.{dataset}"}
            server.request("POST", f"/metrics-shipper.{dataset}-silent/_doc?refresh=true", {**document, **more})

    async def drive(app: Top, _pilot: Pilot[None]) -> None:
        assert {row[0]: row[5] for row in table(app)} == {"here": "0s", "lost": "1h 59m", "stopped": "59m 50s"}
        assert re.fullmatch(r"silent: stopped since 20\S+ \S+ UTC \(stopped\), lost since 20\S+ \S+ UTC", status(app))

    driven(configured(server, "silent"), drive)


def test_a_key_explains_the_selected_host_or_container(server: shipper_eslocal.Cluster) -> None:
    async def drive(app: Top, pilot: Pilot[None]) -> None:
        selected = table(app)[0][0]
        await press(app, pilot, "e")
        shown_lines = str(app.screen.query_one("#explained", Static).content).splitlines()
        assert shown_lines[0].startswith(f"{selected}, ")
        await press(app, pilot, "escape")
        assert table(app)[0][0] == selected
        await press(app, pilot, "enter", "e")
        name = str(app.screen.query_one("#explained", Static).content).partition(", ")[0]
        assert name.endswith(f"@{selected}")
        await press(app, pilot, "q")
        assert app.is_running

    driven(configured(server), drive)


def test_names_like_markup_stand_as_they_are(server: shipper_eslocal.Cluster) -> None:
    async def drive(app: Top, pilot: Pilot[None]) -> None:
        assert {row[0] for row in table(app)} >= set(ODD_NAMES)
        await press(app, pilot, "slash", *"[RED]", "enter")
        assert [row[0] for row in table(app)] == ["[red]node[/red]"]
        assert title(app).startswith(f"1 of {simulated_fleet().hosts} hosts")
        await press(app, pilot, "enter")
        assert app.host == "[red]node[/red]"
        assert "[red]node[/red]: containers" in title(app)
        assert len(table(app)) == simulated_fleet().containers + simulated_fleet().services

    driven(configured(server), drive)


def test_time_travel_to_ticks_before_and_back_to_now(
    server: shipper_eslocal.Cluster, documents: list[Document]
) -> None:
    async def drive(app: Top, pilot: Pilot[None]) -> None:
        await press(app, pilot, "left", "left")
        for one in at(documents, "host", LAST - 2):
            assert host_row(documents, one["host.name"], LAST - 2, LAST - 2) in table(app)
        assert app.at_ms == simulated_fleet().tick_ms(LAST - 2)
        await press(app, pilot, "right")
        assert app.at_ms == simulated_fleet().tick_ms(LAST - 1)
        await press(app, pilot, "slash", "left", "enter")  # while typing, the keys are the input's
        assert app.at_ms == simulated_fleet().tick_ms(LAST - 1)
        await press(app, pilot, "ctrl+left")
        assert table(app) == []
        assert status(app).startswith("no documents in the 15m 0s before 20")
        await press(app, pilot, "n")
        assert app.at_ms is None
        assert len(table(app)) == simulated_fleet().hosts
        assert status(app).startswith("silent: ")

    driven(configured(server), drive)


def test_order_by_any_column_and_turned(server: shipper_eslocal.Cluster, documents: list[Document]) -> None:
    async def drive(app: Top, pilot: Pilot[None]) -> None:
        by_load = sorted(at(documents, "host", LAST), key=lambda one: -one["system.load.norm.1"])
        await press(app, pilot, "s")
        shown_names = [row[0] for row in table(app) if row[0] != ODD_NAMES[SILENT]]
        assert shown_names == [one["host.name"] for one in by_load]
        await press(app, pilot, "r")
        assert [row[0] for row in table(app) if row[0] != ODD_NAMES[SILENT]] == shown_names[::-1]
        await press(app, pilot, "S", "S", "r")
        assert [row[0] for row in table(app)] == sorted(
            simulated_fleet().host_name(one) for one in range(simulated_fleet().hosts)
        )

    driven(configured(server), drive)


def test_the_cursor_stays_on_its_host_when_the_order_changes(server: shipper_eslocal.Cluster) -> None:
    async def drive(app: Top, pilot: Pilot[None]) -> None:
        await press(app, pilot, "down", "down")
        name = table(app)[2][0]
        await press(app, pilot, "r")
        await press(app, pilot, "enter")
        assert app.host == name

    driven(configured(server), drive)


def test_an_empty_cluster_says_so(server: shipper_eslocal.Cluster) -> None:
    async def drive(app: Top, _pilot: Pilot[None]) -> None:
        assert table(app) == []
        assert status(app) == "no documents in the 15m 0s before now"

    driven(configured(server, "nobody"), drive)


def test_a_server_that_goes_away_is_one_line_and_what_was_seen_stays(server: shipper_eslocal.Cluster) -> None:
    away = "http://127.0.0.1:9: connection refused"

    async def run() -> None:
        with client.connect(configured(server)) as connection:
            there = True

            def hosts(at_ms: int | None) -> fleet.Seen:
                if not there:
                    raise ServerError(away)
                return fleet.hosts(connection, Index(namespace=NAMESPACE), at_ms)

            app = Top(hosts, lambda _host, _at: fleet.Seen("", []), lambda _name, _at: [], every_s=3600)
            async with app.run_test(size=(300, 50)) as pilot:
                await settled(app, pilot)
                before, told, there = table(app), status(app), False
                app.read()
                await settled(app, pilot)
                assert (table(app), status(app)) == (before, away)
                there = True
                app.read()
                await settled(app, pilot)
                assert (table(app), status(app)) == (before, told)

    asyncio.run(run())


def test_a_clock_that_is_ahead_holds_up_nobodys_view(
    server: shipper_eslocal.Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = time.time()
    shipped = {"good": (-40, -20), "ahead": (-40, -20, 3600)}  # seconds from now
    for dataset, more in {
        "host": {},
        "cgroup": {"cgroup.path": "/a", "cgroup.name": "a", "cgroup.aggregate": False},
    }.items():
        for name, times in shipped.items():
            for at_s in times:
                at = datetime.fromtimestamp(now_s + at_s, UTC).isoformat(timespec="milliseconds")
                document = {"@timestamp": at, "host.name": name, "host.id": name, "event.dataset": f"shipper.{dataset}"}
                server.request("POST", f"/metrics-shipper.{dataset}-future/_doc", {**document, **more})
        server.request("POST", f"/metrics-shipper.{dataset}-future/_refresh")
    config = configured(server, "future")
    with client.connect(config) as connection:
        seen = fleet.hosts(connection, config.index)
        assert {row["host.name"]: row[fleet.AGE] for row in seen.rows} == {"good": 0, "ahead": 0}
        assert abs(seen.at_ms / 1000 - now_s + 20) < 1
        assert list(seen.future) == ["ahead"]
        assert abs(fleet.milliseconds(seen.future["ahead"]) / 1000 - now_s - 3600) < 1
        assert abs(fleet.cgroups(connection, config.index, "ahead").at_ms / 1000 - now_s + 20) < 1
        newest = last_tick.latest(connection, config.index, "ahead")
        assert newest and abs(fleet.milliseconds(newest.tick) / 1000 - now_s + 20) < 1
    assert cli.main(["top", "--elasticsearch-hosts", server.url, "--index-namespace", "future"]) == 0
    assert "ignored documents from the future; a clock is or was ahead: ahead (up to 2" in capsys.readouterr().err
    assert (
        cli.main(["top", "--json", "--at", "-30s", "--elasticsearch-hosts", server.url, "--index-namespace", "future"])
        == 0
    )
    assert {json.loads(line)["host.name"] for line in capsys.readouterr().out.splitlines()} == set(shipped)


def test_without_a_terminal_it_is_lines_of_text(server: shipper_eslocal.Cluster, documents: list[Document]) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SHIPPER_")}
    command = [SHIPPER, "top", "--elasticsearch-hosts", server.url, "--index-namespace", NAMESPACE]
    result = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=True)
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["host", "CPU"]
    assert len(lines) == simulated_fleet().hosts + 1
    for one in at(documents, "host", LAST):
        row = host_row(documents, one["host.name"], LAST, LAST)
        assert any(line.startswith(row[0]) and row[1] in line for line in lines)
    result = subprocess.run(
        [*command, "--host", "node b/1"], env=clean, capture_output=True, text=True, timeout=60, check=True
    )
    assert len(result.stdout.splitlines()) == 1 + simulated_fleet().containers + simulated_fleet().services


def test_a_server_that_is_not_there_is_one_line_and_exit_code_4() -> None:
    command = [SHIPPER, "top", "--elasticsearch-hosts", "http://127.0.0.1:9"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (4, "")
    assert result.stderr == "shipper: http://127.0.0.1:9: connection refused\n"


def test_a_key_that_may_only_read_is_enough(
    secure: shipper_eslocal.Cluster, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rights = {"index": [{"names": ["metrics-shipper.*"], "privileges": ["read"]}]}
    where = ["--elasticsearch-hosts", secure.url, "--elasticsearch-ca-file", str(secure.ca_file)]
    where += ["--index-namespace", namespace]
    user = ["--elasticsearch-username", str(secure.username)]
    assert cli.main(["setup", *where, *user, "--elasticsearch-password-file", str(secure.password_file)]) == 0
    for one in Fleet(hosts=2, containers=1, ticks=2, period_s=10, namespace=namespace).documents():
        secure.request("POST", f"/{one.index}/_doc?op_type=create&refresh=true", json.loads(one.line))
    key = secure.request("POST", "/_security/api_key", {"name": "looks", "role_descriptors": {"looks": rights}})
    file = tmp_path / "key"
    file.write_text(f"{key['id']}:{key['api_key']}\n")
    file.chmod(0o600)
    capsys.readouterr()
    assert cli.main(["top", *where, "--elasticsearch-api-key-file", str(file)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["node-000", "node-001"]
    file.write_text(f"{key['id']}:wrong\n")
    assert cli.main(["top", *where, "--elasticsearch-api-key-file", str(file)]) == 4
    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert "401" in told.err
