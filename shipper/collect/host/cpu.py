"""CPU times, interrupts and context switches: ``proc/stat``.

    cpu  13557 0 3978 198016 443 0 128 30 0 0
    cpu0 3112 0 1159 103745 17 0 13 10 0 0
    intr 303227 0 0 …
    ctxt 439405
    processes 7802
    procs_blocked 0
    softirq 247009 0 26482 …

Times are in ticks of 1/USER_HZ s; steal exists since Linux 2.6.11, guest since 2.6.24, guest_nice since 2.6.33.
``procs_running`` is not used: ``load`` publishes the same number from proc/loadavg as system.threads.runnable.count.
https://docs.kernel.org/filesystems/proc.html#miscellaneous-kernel-statistics-in-proc-stat
"""

import os
from collections.abc import Iterable, Mapping

from shipper.collect.contract import Collect, Collector, Output, host_reading
from shipper.fields.dataset import HOST
from shipper.fields.field import counter, cpu_time, dimension, gauge, real
from shipper.fields.rates import Reading, Value, cpus
from shipper.kernel.parse import LARGEST, ParseError, columns, integer, lines, merged, shown, then, whole
from shipper.kernel.source import Reader
from shipper.settings.config import Config

CORE = "core"
_FILE = "proc/stat"
_HZ = os.sysconf("SC_CLK_TCK")
_STATES = {
    "user": "in user mode, including guests",
    "nice": "in user mode with low priority, including niced guests",
    "system": "in kernel mode",
    "idle": "idle",
    "iowait": "idle while at least one task waited for disk I/O",
    "irq": "in hardware interrupts",
    "softirq": "in soft interrupts",
    "steal": "stolen by the hypervisor for other virtual machines",
    "guest": "running guest virtual machines (part of user)",
    "guest_nice": "running niced guest virtual machines (part of nice)",
}
_FEWEST_STATES = 4
_IDLE = ("idle", "iowait")
_GUEST = ("guest", "guest_nice")
_ALL = tuple(state for state in _STATES if state not in _GUEST)
_BUSY = tuple(state for state in _ALL if state not in _IDLE)
# The kernel derives both from per-CPU clocks, which are read at other moments than those they are compared with
_SLACK_NS = 3_000_000_000
_COUNTS = {
    b"intr": "system.interrupts.count",
    b"softirq": "system.softirqs.count",
    b"ctxt": "system.context_switches.count",
    b"processes": "system.forks.count",
    b"procs_blocked": "system.threads.blocked.count",
}

FIELDS = (
    *(
        cpu_time(f"system.cpu.{state}.ns", f"Time of all CPUs {what}", f"{_FILE} cpu, column {at}",
                 slack=_SLACK_NS if state in _IDLE else 0)
        for at, (state, what) in enumerate(_STATES.items(), 1)
    ),
    *(
        real(f"system.cpu.{state}.norm.pct", "pct", f"Share of the host's CPU time {what}", "increments of the states")
        for state, what in _STATES.items()
    ),
    real("system.cpu.total.pct", "pct", "CPU usage in cores: time that is neither idle nor iowait, up to the number of cores",
         "increments of the states"),
    real("system.cpu.total.norm.pct", "pct", "CPU usage: share of the host's CPU time that is neither idle nor iowait",
         "increments of the states"),
    gauge("system.cpu.cores", "cores", "Online logical CPUs", f"{_FILE} cpuN"),
    counter("system.interrupts.count", "count", "Hardware interrupts", f"{_FILE} intr"),
    counter("system.softirqs.count", "count", "Soft interrupts of all types", f"{_FILE} softirq"),
    counter("system.context_switches.count", "count", "Context switches", f"{_FILE} ctxt"),
    counter("system.forks.count", "count", "Processes and threads created", f"{_FILE} processes"),
    gauge("system.threads.blocked.count", "count", "Threads blocked on disk I/O", f"{_FILE} procs_blocked"),
)  # fmt: skip


CORE_FIELDS = (
    dimension("system.core.id", "Number of the logical CPU", f"{_FILE} cpuN"),
    *(
        cpu_time(f"system.core.{state}.ns", f"Time of this CPU {what}", f"{_FILE} cpuN, column {at}",
                 slack=_SLACK_NS if state in _IDLE else 0)
        for at, (state, what) in enumerate(_STATES.items(), 1)
    ),
    real("system.core.total.pct", "pct", "CPU usage: share of this CPU's time that is neither idle nor iowait", "increments of the states"),
)  # fmt: skip


def nanoseconds(ticks: bytes) -> int:
    """Ticks of 1/USER_HZ s as nanoseconds. Raises ParseError."""
    value = integer(ticks) * 1_000_000_000 // _HZ
    if value > LARGEST:
        raise ParseError(f"not a time: {shown(ticks)}")
    return value


def _parse_line(line: bytes) -> dict[str, Value]:
    key, _, rest = line.partition(b" ")
    if key == b"cpu":
        return _times(rest, "system.cpu")
    name = _COUNTS.get(key)
    return {name: integer(rest.partition(b" ")[0])} if name else {}


def _times(rest: bytes, prefix: str) -> dict[str, Value]:
    """Times of the states on a line; a damaged number costs only its own state."""
    ticks = rest.split()
    if len(ticks) < _FEWEST_STATES:
        raise ParseError("fewer than four states")
    return {
        **columns(((f"{prefix}.{state}.ns", time) for state, time in zip(_STATES, ticks, strict=False)), nanoseconds)
    }


def parse(text: bytes) -> dict[str, Value]:
    """Values of the host. Raises ParseError."""
    cores = text.count(b"\ncpu")
    counted: dict[str, Value] = {"system.cpu.cores": cores} if cores else {}
    return then(lambda text: merged(text, _parse_line), lambda values: {**values, **counted})(text)


def derive(values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """Shares of the sum of the states' increments, not of cores × elapsed time.

    The sum is the time that the kernel accounted for, so a share never exceeds 1: not when a CPU is added or removed, not
    after a suspend (which the clock of the rates includes and no CPU state does), and not where the tick of 10 ms is
    coarse. If a state has no rate (steal falls or jumps after a live migration), the sum is incomplete, and the number of
    cores is used instead.
    """
    rates = {state: values.get(f"system.cpu.{state}.pct") for state in _STATES}
    known = {state: rate for state, rate in rates.items() if isinstance(rate, float)}
    states = list(_STATES)
    kept = [state for state in states if f"system.cpu.{state}.ns" in values]
    lacking = {state for state in states[: states.index(kept[-1]) + 1] if state not in known} if kept else set()
    total = sum(known.get(state, 0.0) for state in _ALL)
    cores = values.get("system.cpu.cores")
    if lacking.intersection(_ALL):
        total = max(total, float(cores)) if isinstance(cores, int) and known else 0.0
    if total <= 0:
        return {}
    shares: dict[str, Value] = {f"system.cpu.{state}.norm.pct": min(rate / total, 1.0) for state, rate in known.items()}
    busy = sum(known.get(state, 0.0) for state in _BUSY)
    if lacking.intersection(_BUSY):
        if lacking.intersection(_IDLE):
            return shares
        busy = max(busy, total - sum(known.get(state, 0.0) for state in _IDLE))
    return {**shares, "system.cpu.total.pct": busy, "system.cpu.total.norm.pct": min(busy / total, 1.0)}


def _core(line: bytes) -> tuple[str, dict[str, Value]] | None:
    key, _, rest = line.partition(b" ")
    if not key.startswith(b"cpu") or not key[3:].isdigit():
        return None
    return then(lambda text: _times(text, "system.core"), lambda times: (key[3:].decode(), times))(rest)


def parse_cores(text: bytes) -> list[tuple[str, dict[str, Value]]]:
    """Number and times of every online logical CPU. Raises ParseError."""
    return lines(whole(text), _core)


def derive_core(values: Mapping[str, Value], _inputs: Mapping[str, int]) -> dict[str, Value]:
    """Usage of one CPU, 0 to 1; absent if a state has no rate."""
    spent = {state: values.get(f"system.core.{state}.pct") for state in _ALL if f"system.core.{state}.ns" in values}
    known = {state: rate for state, rate in spent.items() if isinstance(rate, float)}
    whole_time = sum(known.values())
    if len(known) < len(spent) or whole_time <= 0:
        return {}
    return {"system.core.total.pct": min(sum(known.get(state, 0.0) for state in _BUSY) / whole_time, 1.0)}


def start(reader: Reader, config: Config) -> Collect:
    """The host's reading, and one per CPU if the dataset ``core`` is configured."""
    with_cores = CORE in config.collect.datasets  # there may be hundreds

    def collect() -> Iterable[Reading]:
        at_ns = reader.now_ns()
        text = reader.read(_FILE)
        if text is None:
            return
        values = reader.parsed(_FILE, text, parse)
        count = (values or {}).get("system.cpu.cores")
        yield from host_reading(reader, values, {"ns": cpus(count)} if isinstance(count, int) else {})
        for core, times in (reader.parsed(_FILE, text, parse_cores) or ()) if with_cores else ():
            yield Reading(CORE, core, at_ns, {"system.core.id": core, **times}, most={"ns": cpus(1)})

    return collect


COLLECTOR = Collector("cpu", start, {HOST: Output(FIELDS, derive), CORE: Output(CORE_FIELDS, derive_core)})
