"""Show a LastTick on the terminal: as a live table, or without a terminal as a few plain lines per tick."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from shipper.base.text import utf8, visible
from shipper.view.last_tick import LastTick

_HOST: Final = (
    ("CPU", "system.cpu.total.norm.pct", "pct"),
    ("load", "system.load.1", "number"),
    ("memory", "system.memory.actual.used.pct", "pct"),
    ("disk read", "system.diskio.total.read.bytes_per_s", "rate"),
    ("disk write", "system.diskio.total.write.bytes_per_s", "rate"),
    ("net in", "system.network.total.in.bytes_per_s", "rate"),
    ("net out", "system.network.total.out.bytes_per_s", "rate"),
    ("PSI cpu", "system.pressure.cpu.some.avg10.pct", "pct"),
    ("PSI memory", "system.pressure.memory.some.avg10.pct", "pct"),
    ("PSI io", "system.pressure.io.some.avg10.pct", "pct"),
)
_CGROUP: Final = (
    ("kind", "cgroup.kind", "text"),
    ("runtime", "container.runtime", "text"),
    ("name", "cgroup.name", "text"),
    ("CPU", "cgroup.cpu.pct", "pct"),
    ("working set", "cgroup.memory.working_set.bytes", "bytes"),
    ("limit", "cgroup.memory.limit.bytes", "bytes"),
    ("tasks", "cgroup.pids.current", "number"),
)
_FATES: Final = ("collected", "stored", "late", "spooled", "rejected", "dropped")
_ABSENT: Final = "–"


def shown(value: Any, form: str) -> str:
    """``value`` as text for people; an absent value is not 0. Control characters of hostile names are replaced."""
    if value is None:
        return _ABSENT
    if form == "text":
        return visible(utf8(str(value)))
    if form == "pct":
        return f"{value:.1%}"
    if form == "number":
        return f"{value:.2f}" if isinstance(value, float) else str(value)
    return _bytes(value) + ("/s" if form == "rate" else "")


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


class Screen:
    """A context manager that shows views one after the other."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, view: LastTick) -> None:
        if self._live:
            self._live.update(Group(_host(view), _cgroups(view), _ledger(view)), refresh=True)
            return
        for line in plain(view):
            print(line, flush=True)  # noqa: T201


def plain(view: LastTick) -> list[str]:
    """A view as lines of text: the host, its busiest cgroups by CPU and by memory, the ledger."""
    cells = ", ".join(f"{title} {shown(view.host.get(name), form)}" for title, name, form in _HOST)
    lines = [f"{view.tick} host {shown(view.host.get('host.name'), 'text')}: {cells}"]
    for order, rows in (("CPU", view.by_cpu), ("memory", view.by_memory)):
        lines += [f"{view.tick} by {order}: {_cells(row)}" for row in rows]
    return [*lines, f"{view.tick} ledger: {_balance(view.agent)}"]


def _cells(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{title} {shown(row[name], form)}" for title, name, form in _CGROUP if name in row)


def _balance(agent: Mapping[str, Any]) -> str:
    collected, *ends = (f"{fate} {agent.get(f'agent.ledger.{fate}.count', _ABSENT)}" for fate in _FATES)
    return f"{collected} = {' + '.join(ends)}"


def _host(view: LastTick) -> Table:
    table = Table(title=f"{shown(view.host.get('host.name'), 'text')}  {view.tick}", title_justify="left", expand=True)
    for title, _, _ in _HOST:
        table.add_column(title, justify="right")
    table.add_row(*(shown(view.host.get(name), form) for _, name, form in _HOST))
    return table


def _cgroups(view: LastTick) -> Table:
    table = Table(title="containers and services, by CPU, then by memory", title_justify="left", expand=True)
    for title, _, form in _CGROUP:
        table.add_column(title, justify="left" if form == "text" else "right", no_wrap=True)
    for rows in (view.by_cpu, view.by_memory):
        for row in rows:
            table.add_row(*(Text(shown(row.get(name), form)) for _, name, form in _CGROUP))
        table.add_section()
    return table


def _ledger(view: LastTick) -> Text:
    rss = shown(view.agent.get("agent.memory.rss.bytes"), "bytes")
    tick = view.agent.get("agent.tick.duration.us")
    cost = f"tick {tick / 1000:.1f} ms" if isinstance(tick, int) else ""
    return Text(
        f"ledger: {_balance(view.agent)}\nshipper: {rss}, {cost}, CPU {shown(view.agent.get('agent.cpu.pct'), 'pct')}"
    )
