"""The terminal user interface of ``shipper top``: hosts and what runs on them; filter, sort, go back in time."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from shipper.base.errors import ServerError, UserError
from shipper.view.demo_screen import shown
from shipper.view.fleet import AGE, KEEP_S, SILENT_MS, Row, Seen
from shipper.view.thresholds import Level, level
from shipper.view.top_table import (
    CGROUPS,
    HOSTS,
    Column,
    cell,
    fitting,
    future,
    matching,
    name_width,
    ordered,
    silent,
    span,
)

# at_ms, host → Seen; raises ServerError
Hosts = Callable[[int | None], Seen]
Cgroups = Callable[[str, int | None], Seen]
# a host or container, at_ms → lines that explain its state; raises UserError
Explain = Callable[[str, int | None], list[str]]

_STEP_MS: Final = 10_000  # until documents report their period
_MINUTES: Final = 10 * 60_000
_SCROLLBAR: Final = 2  # characters
_STYLES: Final = {Level.OK: "", Level.WARNING: "bold yellow", Level.BAD: "bold red"}


class _Table(DataTable[Text]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Open")]


class _Explained(ModalScreen[None]):
    """The explanation of a host or container; any of its keys closes it."""

    CSS = "VerticalScroll {padding: 0 1;}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,e,q", "dismiss", "Back", key_display="esc"),
        Binding("ctrl+c", "app.quit", show=False),
    ]

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(Text("\n".join(self._lines)), id="explained")
        yield Footer(compact=True)


class Top(App[None]):
    """``host``: the host whose cgroups are shown, empty for the list of hosts; ``at_ms``: the moment, None for now."""

    TITLE = "shipper top"
    ENABLE_COMMAND_PALETTE = False
    CSS = "Static, Input {height: 1; border: none; padding: 0 1;} DataTable {height: 1fr;} Input {display: none;}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", priority=True, show=False),
        Binding("escape", "leave", "Back"),
        Binding("left", "travel(-1)", "Time", key_display="←→", priority=True),
        Binding("right", "travel(1)", "Later", priority=True, show=False),
        Binding("shift+left", "jump(-1)", "10 min", priority=True, show=False),
        Binding("shift+right", "jump(1)", "10 min", priority=True, show=False),
        Binding("ctrl+left", "jump(-6)", "1 h", priority=True, show=False),
        Binding("ctrl+right", "jump(6)", "1 h", priority=True, show=False),
        Binding("n", "now", "Now"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", "Sort by the previous column", show=False),
        Binding("r", "turn", "Reverse"),
        Binding("slash", "filter", "Filter"),
        Binding("e", "explain", "Why"),
        Binding("w", "widen", "Wide"),
    ]

    def __init__(self, hosts: Hosts, cgroups: Cgroups, explain: Explain, *, every_s: float = 5.0) -> None:
        super().__init__()
        self._read_hosts, self._read_cgroups, self._every_s = hosts, cgroups, every_s
        self._explain = explain
        self.host = ""
        self.at_ms: int | None = None
        self.seen = Seen("", [])
        self._step_ms = _STEP_MS
        self._wanted = ""
        self._order = {HOSTS: HOSTS[1], CGROUPS: CGROUPS[1]}
        self._wide = False
        self._turned = False
        self._drawn: tuple[Column, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        return CGROUPS if self.host else HOSTS

    @property
    def shown_columns(self) -> tuple[Column, ...]:
        """Those that the terminal has room for, or all after ``w``, to scroll through."""
        return self.columns if self._wide else fitting(self.columns, self.seen.rows, self.size.width - _SCROLLBAR)

    def compose(self) -> ComposeResult:
        yield Static(id="title", markup=False)
        yield Input(placeholder="part of a name; Enter keeps the filter, Escape clears it")
        yield _Table(cursor_type="row", zebra_stripes=True)
        yield Static(id="status", markup=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self.query_one(DataTable).focus()
        self.set_interval(self._every_s, self.read)
        self.read()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While a filter is typed, the arrow keys belong to the input."""
        del parameters
        return not (isinstance(self.focused, Input) and action in ("travel", "jump"))

    @work(thread=True, exclusive=True)
    def read(self) -> None:
        """Ask the server in a thread, so that keys still work."""
        host, at_ms = self.host, self.at_ms
        try:
            seen = self._read_cgroups(host, at_ms) if host else self._read_hosts(at_ms)
        except ServerError as error:
            self.call_from_thread(self.say, str(error))
            return
        self.call_from_thread(self.take, host, at_ms, seen)

    def take(self, host: str, at_ms: int | None, seen: Seen) -> None:
        if (host, at_ms) != (self.host, self.at_ms):
            return  # the answer to an older request
        self.seen = seen
        self._step_ms = max(
            (row["metricset.period"] for row in seen.rows if "metricset.period" in row), default=self._step_ms
        )
        told = "; ".join(filter(None, (silent(seen), future(seen))))
        self.say(told if seen.rows else f"no documents in the {span(KEEP_S * 1000)} before {self._moment()}")
        self.draw()

    def say(self, text: str) -> None:
        self.query_one("#status", Static).update(Text(text, style="bold red"))

    def _moment(self) -> str:
        if self.at_ms is None:
            return "now"
        return f"{datetime.fromtimestamp(self.at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"

    def draw(self) -> None:
        """Draw the table again, with the cursor on the same row."""
        columns, order = self.shown_columns, self._order[self.columns]
        rows = ordered(matching(self.seen.rows, self.columns, self._wanted), order, turned=self._turned)
        table = self.query_one(DataTable)
        held = self._cursor_key() if self._drawn == columns else None
        table.clear(columns=True)
        self._drawn = columns
        for column in columns:
            sign = ("▲" if (column.form == "text") != self._turned else "▼") if column is order else ""
            table.add_column(Text(f"{column.title}{sign}"), key=column.field)
        for row in rows:
            table.add_row(*(self._cell(row, column) for column in columns), key=_key(row))
        keys = [_key(row) for row in rows]
        if held in keys:
            table.move_cursor(row=keys.index(held))
        place = f"{shown(self.host, 'text')}: containers and services" if self.host else "hosts"
        count = f"{len(rows)} of {len(self.seen.rows)}" if self._wanted else str(len(rows))
        newest = f" · newest {self.seen.at}" if self.seen.at else ""
        self.query_one("#title", Static).update(Text(f"{count} {place} · {self._moment()}{newest}"))

    def _cursor_key(self) -> str | None:
        table = self.query_one(DataTable)
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value if table.row_count else None

    def _cell(self, row: Row, column: Column) -> Text:
        """Always a Text, because names may look like markup."""
        worst = level(column.field, row.get(column.field)) if column.form != "text" else Level.OK
        style = _STYLES[Level.BAD if row.get(AGE, 0) > SILENT_MS else worst]
        made = Text(cell(row, column), style, justify="left" if column.form == "text" else "right", no_wrap=True)
        if column is self.columns[0] and not self._wide:
            made.truncate(name_width(self.size.width), overflow="ellipsis")
        return made

    def on_resize(self) -> None:
        self.draw()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if not self.host and event.row_key.value is not None:
            self._open(event.row_key.value)

    def _open(self, host: str) -> None:
        self.host, self.seen, self._wanted, self._turned = host, Seen("", []), "", False
        self.query_one(Input).value = ""
        self.say("")
        self.draw()
        self.read()

    def action_leave(self) -> None:
        field = self.query_one(Input)
        if field.display or self._wanted:
            self._wanted = field.value = ""
            self._hide_input()
            self.draw()
        elif self.host:
            self._open("")

    def action_travel(self, steps: int) -> None:
        self._go(steps * self._step_ms)

    def action_jump(self, steps: int) -> None:
        self._go(steps * _MINUTES)

    def _go(self, ms: int) -> None:
        """Move in time, starting at the newest tick shown; never beyond now."""
        at_ms = (self.at_ms if self.at_ms is not None else self.seen.at_ms or _now_ms()) + ms
        self.at_ms = at_ms if at_ms < _now_ms() else None
        self.draw()
        self.read()

    def action_now(self) -> None:
        self.at_ms = None
        self.draw()
        self.read()

    def action_sort(self, step: int) -> None:
        columns, order = self.shown_columns, self._order[self.columns]
        at = columns.index(order) if order in columns else 0
        self._order[self.columns] = columns[(at + step) % len(columns)]
        self.draw()

    def action_widen(self) -> None:
        self._wide = not self._wide
        self.draw()

    def action_explain(self) -> None:
        """Show why the selected host or container is slow."""
        row = next((row for row in self.seen.rows if _key(row) == self._cursor_key()), None)
        if row:
            self.say("asking Elasticsearch …")
            self._ask_why(str(row.get("cgroup.entity") or row["host.name"]), self.at_ms)

    @work(thread=True, exclusive=True, group="why")
    def _ask_why(self, name: str, at_ms: int | None) -> None:
        try:
            lines = self._explain(name, at_ms)
        except UserError as error:
            lines = [str(error)]
        self.call_from_thread(self._show_why, lines)

    def _show_why(self, lines: list[str]) -> None:
        self.say("")
        self.push_screen(_Explained(lines))

    def action_turn(self) -> None:
        self._turned = not self._turned
        self.draw()

    def action_filter(self) -> None:
        field = self.query_one(Input)
        field.display = True
        field.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._wanted = event.value
        self.draw()

    def on_input_submitted(self) -> None:
        self._hide_input()

    def _hide_input(self) -> None:
        self.query_one(Input).display = False
        self.query_one(DataTable).focus()


def _key(row: Row) -> str:
    """A row key that is unique even if two hosts ship under one name."""
    return f"{row['host.id']}{row['cgroup.path']}" if "cgroup.path" in row else str(row["host.name"])


def _now_ms() -> int:
    return round(datetime.now(UTC).timestamp() * 1000)
