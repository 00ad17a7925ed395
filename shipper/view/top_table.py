"""The tables of ``shipper top``: columns, rows and their order, and as plain text."""

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Final

from shipper.view.demo_screen import shown
from shipper.view.fleet import AGE, CONTAINERS, FULLEST, SILENT_MS, STOPPED, Row, Seen

_MOST_NAMED: Final = 5
_UNITS: Final = (("d", 86_400), ("h", 3600), ("m", 60))


@dataclass(frozen=True)
class Column:
    """A column: title, field, and how its values are shown."""

    title: str
    field: str
    form: str  # as demo_screen.shown knows them, and span: a time in ms


# Names first, then what matters most: a narrow terminal shows the first columns
HOSTS: Final = (
    Column("host", "host.name", "text"),
    Column("CPU", "system.cpu.total.norm.pct", "pct"),
    Column("load/CPU", "system.load.norm.1", "number"),
    Column("memory", "system.memory.actual.used.pct", "pct"),
    Column("fullest fs", FULLEST, "pct"),
    Column("silent", AGE, "span"),
    Column("containers", CONTAINERS, "number"),
    Column("PSI cpu", "system.pressure.cpu.some.avg10.pct", "pct"),
    Column("PSI mem", "system.pressure.memory.some.avg10.pct", "pct"),
    Column("PSI io", "system.pressure.io.some.avg10.pct", "pct"),
    Column("read", "system.diskio.total.read.bytes_per_s", "rate"),
    Column("written", "system.diskio.total.write.bytes_per_s", "rate"),
    Column("net in", "system.network.total.in.bytes_per_s", "rate"),
    Column("net out", "system.network.total.out.bytes_per_s", "rate"),
    Column("up", "system.uptime.duration.ms", "span"),
)
CGROUPS: Final = (
    Column("name", "cgroup.name", "text"),
    Column("CPUs", "cgroup.cpu.cores", "number"),
    Column("of quota", "cgroup.cpu.limit.pct", "pct"),
    Column("memory", "cgroup.memory.working_set.bytes", "bytes"),
    Column("of limit", "cgroup.memory.working_set.pct", "pct"),
    Column("restarts", "cgroup.restarts.count", "number"),
    Column("throttled", "cgroup.cpu.throttled.pct", "pct"),
    Column("PSI mem", "cgroup.pressure.memory.some.avg10.pct", "pct"),
    Column("OOM kills", "cgroup.memory.events.oom_kill.count", "number"),
    Column("up", "cgroup.uptime.ms", "span"),
    Column("tasks", "cgroup.pids.current", "number"),
    Column("read", "cgroup.io.read.bytes_per_s", "rate"),
    Column("written", "cgroup.io.write.bytes_per_s", "rate"),
    Column("net in", "cgroup.network.in.bytes_per_s", "rate"),
    Column("net out", "cgroup.network.out.bytes_per_s", "rate"),
    Column("kind", "cgroup.kind", "text"),
    Column("pod", "kubernetes.pod.name", "text"),
    Column("image", "container.image.name", "text"),
    Column("runtime", "container.runtime", "text"),
)


def fitting(columns: Sequence[Column], rows: Sequence[Row], width: int) -> tuple[Column, ...]:
    """The first of ``columns`` that fit into ``width`` characters; at least the first one."""
    left = width - _padded_width(columns[0], rows, most=name_width(width))
    chosen = [columns[0]]
    for column in columns[1:]:
        left -= _padded_width(column, rows)
        if left < 0:
            break
        chosen.append(column)
    return tuple(chosen)


def name_width(width: int) -> int:
    """How many characters of a name a terminal of ``width`` characters shows."""
    return max(2 * width // 5, 8)


def _padded_width(column: Column, rows: Sequence[Row], most: int = 1000) -> int:
    """Of a column with a blank on both sides, and room for the sort sign in the heading."""
    return 2 + min(max([len(column.title) + 1, *(len(cell(row, column)) for row in rows)]), most)


def cell(row: Row, column: Column) -> str:
    """The text of one cell."""
    value = row.get(column.field)
    return span(value) if column.form == "span" and value is not None else shown(value, column.form)


def span(ms: float) -> str:
    """``3d 4h``, ``5m 10s``, ``0s``."""
    seconds, words = int(ms / 1000), list[str]()
    for unit, size in _UNITS:
        if seconds >= size or words:
            words.append(f"{seconds // size}{unit}")
            seconds %= size
    return " ".join([*words, f"{seconds}s"][:2])


def matching(rows: Iterable[Row], columns: Iterable[Column], wanted: str) -> list[Row]:
    """Rows in which a shown text contains ``wanted``, regardless of case."""
    fields = [column.field for column in columns if column.form == "text"]
    return [row for row in rows if any(wanted.lower() in str(row.get(field, "")).lower() for field in fields)]


def ordered(rows: Iterable[Row], column: Column, *, turned: bool) -> list[Row]:
    """Rows in order: texts ascending, numbers descending, or reversed; absent values last in both cases."""
    rows = list(rows)
    having = [row for row in rows if column.field in row]
    having.sort(key=lambda row: row[column.field], reverse=(column.form != "text") != turned)
    return having + [row for row in rows if column.field not in row]


def plain(seen: Seen, columns: tuple[Column, ...] = HOSTS) -> list[str]:
    """The table as lines of text, busiest first, for output that is not a terminal."""
    rows = ordered(seen.rows, columns[1], turned=False)
    table: list[list[str]] = [
        [column.title for column in columns],
        *([cell(row, column) for column in columns] for row in rows),
    ]
    widths = [max(len(line[at]) for line in table) for at in range(len(columns))]
    return [
        "  ".join(_padded(line[at], width, columns[at]) for at, width in enumerate(widths)).rstrip() for line in table
    ]


def silent(seen: Seen) -> str:
    """A line that names the silent hosts, the latest first; empty if there are none."""
    rows = sorted((row for row in seen.rows if row.get(AGE, 0) > SILENT_MS), key=lambda row: int(row[AGE]))
    named = [f"{shown(row['host.name'], 'text')} {_since(row)}" for row in rows[:_MOST_NAMED]]
    return f"silent: {', '.join(named)}{_and_more(rows)}" if rows else ""


def _since(row: Row) -> str:
    why = " (stopped)" if row.get(STOPPED) else ""
    return f"since {row['@timestamp'][:19].replace('T', ' ')} UTC{why}"


def _and_more(named: Sized) -> str:
    return f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""


def future(seen: Seen) -> str:
    """A line that names the hosts with documents from the future; empty if there are none."""
    if not seen.future:
        return ""
    named = [f"{shown(name, 'text')} (up to {at})" for name, at in sorted(seen.future.items())[:_MOST_NAMED]]
    return f"ignored documents from the future; a clock is or was ahead: {', '.join(named)}{_and_more(seen.future)}"


def _padded(text: str, width: int, column: Column) -> str:
    return text.ljust(width) if column.form == "text" else text.rjust(width)
