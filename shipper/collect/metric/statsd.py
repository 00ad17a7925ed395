"""StatsD: programs send what happens, as datagrams to a UDP port or a unix socket; each tick publishes what came since.

    page.views:1|c
    request.duration:320|ms|@0.1|#route:/login,env:prod|c:ci-7f3d…

A counter is the sum since the source first saw it, so it has a rate as every other counter. A timer, histogram or
distribution NAME has the counters NAME.count and NAME.sum, and for the values of the tick NAME.min, .max, .p50, .p95 and
.p99. A set has the number of different values in the tick. Events and service checks of DogStatsD are skipped.
https://github.com/statsd/statsd/blob/master/docs/metric_types.md
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/
"""

import math
import os
import random
import socket
import stat
import struct
import threading
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from shipper.collect.metric.samples import Batch, Labels, Sample
from shipper.kernel.source import Root
from shipper.settings.sources import Statsd

_LARGEST: Final = 1 << 16  # a datagram
_LONGEST: Final = 1024  # a line
_KEPT: Final = 256  # values of a timer in one tick, chosen at random if there are more
_MOST_MEMBERS: Final = 1000  # of a set in one tick
_BUFFER: Final = 4 << 20
_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_NS_PER_S: Final = 1_000_000_000
_SO_MEMINFO: Final = 55  # since Linux 4.12: nine numbers, the last is what the socket dropped
_MEMINFO: Final = struct.Struct("=9I")


class _Counter:
    """What one metric of one label set is; further kinds below. ``at_ns``: when it last changed."""

    __slots__ = ("at_ns", "labels", "name", "total", "unit")

    def __init__(self, name: str, labels: Labels, unit: str) -> None:
        self.name, self.labels, self.unit = name, labels, unit
        self.at_ns = 0
        self.total = 0.0

    def add(self, value: bytes, rate: float) -> None:
        """Count a value of which one in 1 / ``rate`` was sent. Raises ValueError."""
        self.total += _finite(value) / rate

    def samples(self) -> Iterator[Sample]:
        """Its numbers of the tick, which ends with this call."""
        yield Sample(self.name, self.labels, self.total, counter=True, unit=self.unit)


class _Gauge(_Counter):
    __slots__ = ()

    def add(self, value: bytes, rate: float) -> None:  # noqa: ARG002
        number = _finite(value)
        self.total = self.total + number if value[:1] in b"+-" else number

    def samples(self) -> Iterator[Sample]:
        yield Sample(self.name, self.labels, self.total, unit=self.unit)


class _Timer(_Counter):
    __slots__ = ("_count", "_kept", "_seen")

    def __init__(self, name: str, labels: Labels, unit: str) -> None:
        super().__init__(name, labels, unit)
        self._count, self._seen = 0.0, 0
        self._kept = array("d")

    def add(self, value: bytes, rate: float) -> None:
        number = _finite(value)
        self.total += number / rate
        self._count += 1 / rate
        self._seen += 1
        if len(self._kept) < _KEPT:
            self._kept.append(number)
        elif (place := int(random.random() * self._seen)) < _KEPT:  # noqa: S311 – no secret
            self._kept[place] = number

    def samples(self) -> Iterator[Sample]:
        numbers = {"count": self._count, "sum": self.total}
        for name, number in numbers.items():
            yield Sample(f"{self.name}.{name}", self.labels, number, counter=True, unit=self.unit)
        values = sorted(self._kept)
        self._kept, self._seen = array("d"), 0
        if values:
            tick = {"min": values[0], "max": values[-1]}
            tick |= {name: values[math.ceil(part * len(values)) - 1] for name, part in _QUANTILES.items()}
            for name, number in tick.items():
                yield Sample(f"{self.name}.{name}", self.labels, number, unit=self.unit)


class _Set(_Counter):
    __slots__ = ("_members",)

    def __init__(self, name: str, labels: Labels, unit: str) -> None:
        super().__init__(name, labels, unit)
        self._members: set[bytes] = set()

    def add(self, value: bytes, rate: float) -> None:  # noqa: ARG002
        if len(self._members) < _MOST_MEMBERS:
            self._members.add(value)

    def samples(self) -> Iterator[Sample]:
        yield Sample(self.name, self.labels, len(self._members), unit=self.unit)
        self._members = set()


_KINDS: Final = {b"c": _Counter, b"g": _Gauge, b"ms": _Timer, b"h": _Timer, b"d": _Timer, b"s": _Set}


def _finite(value: bytes) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


class Aggregator:
    """What the lines of all senders add up to, within bounds."""

    def __init__(self, most: int, expiry_s: int) -> None:
        """``most``: metrics of label sets at one time. What does not change for ``expiry_s`` is forgotten."""
        self._most, self._expiry_ns = most, expiry_s * _NS_PER_S
        self._metrics: dict[tuple[bytes, str, Labels, str], _Counter] = {}
        self._known: dict[tuple[bytes, bytes], tuple[_Counter, float]] = {}  # name and rest of a line
        self.received = self.damaged = self.dropped = 0
        self._now_ns = 0

    def take(self, datagram: bytes) -> None:
        """Count the lines of a datagram."""
        self.received += 1
        for line in datagram.split(b"\n"):
            if not line or line.startswith((b"_e{", b"_sc|")):
                continue
            name, _, rest = line.partition(b":")
            value, _, rest = rest.partition(b"|")
            metric = self._known.get((name, rest)) or self._find(name, rest, len(line))
            try:
                if metric:
                    for number in value.split(b":") if b":" in value else (value,):
                        metric[0].add(number, metric[1])
                    metric[0].at_ns = self._now_ns
            except ValueError:
                self.damaged += 1

    def samples(self, now_ns: int) -> list[Sample]:
        """The numbers of the tick that ends now."""
        ended_ns, self._now_ns = self._now_ns, now_ns
        found = [sample for metric in self._metrics.values() for sample in metric.samples()]
        if ended_ns:
            oldest_ns = ended_ns - self._expiry_ns
            old = [key for key, metric in self._metrics.items() if metric.at_ns < oldest_ns]
            for key in old:
                del self._metrics[key]
            if old:
                self._known.clear()
        return found

    def _find(self, name: bytes, rest: bytes, length: int) -> tuple[_Counter, float] | None:
        """The metric that a line is of, and its rate; None if the line is damaged or the metric one too many."""
        type_, *fields = rest.split(b"|")
        kind = _KINDS.get(type_)
        rate = _rate(fields)
        if not name or kind is None or rate is None or length > _LONGEST:
            self.damaged += 1
            return None
        text, labels, unit = name.decode("utf-8", "replace"), _labels(fields), _origin(fields)
        key = type_, text, labels, unit
        metric = self._metrics.get(key)
        if metric is None:
            if len(self._metrics) >= self._most:
                self.dropped += 1
                return None
            metric = self._metrics[key] = kind(text, labels, unit)
        if len(self._known) >= self._most:
            self._known.clear()
        found = self._known[name, rest] = metric, rate
        return found


def _rate(fields: list[bytes]) -> float | None:
    """The part of the values that was sent; None if it is none."""
    for field in fields:
        if field.startswith(b"@"):
            try:
                rate = float(field[1:])
            except ValueError:
                return None
            return rate if 0 < rate <= 1 else None
    return 1.0


def _labels(fields: list[bytes]) -> Labels:
    for field in fields:
        if field.startswith(b"#"):
            pairs = (tag.partition(":") for tag in field[1:].decode("utf-8", "replace").split(",") if tag)
            return tuple(sorted({name: value if colon else "true" for name, colon, value in pairs}.items()))
    return ()


def _origin(fields: list[bytes]) -> str:
    """The id of the sender's container, or what else it sends."""
    for field in fields:
        if field.startswith(b"c:"):
            return field[2:].removeprefix(b"ci-").decode("utf-8", "replace")  # or in-NUMBER: the inode of its cgroup
    return ""


class Server:
    """The sockets of one source, each read by a thread of its own."""

    def __init__(self, source: Statsd, root: Root) -> None:
        self._source, self._root = source, root
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._aggregator = Aggregator(2 * source.max_series, source.expiry_s)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the UDP socket."""
        host, port, *_ = self._sockets[0].getsockname()
        return host, port

    def read(self) -> Batch:
        """What came since the last call; the first call opens the sockets. Raises OSError."""
        if not self._sockets:
            self._open()
        now_ns = self._root.now_ns()
        with self._lock:
            samples = self._aggregator.samples(now_ns)
            state = self._aggregator
            counts = {
                "metricset.received.count": state.received,
                "metricset.damaged.count": state.damaged,
                "metricset.lost.count": sum(map(lost, self._sockets)),
            }
            return Batch(samples, now_ns, counts, dropped=state.dropped)

    def close(self) -> None:
        """Close the sockets; the threads end."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets = []

    def _open(self) -> None:
        opened: list[socket.socket] = []
        try:
            if self._source.listen:
                opened.append(_udp(self._source.listen))
            if self._source.socket:
                opened.append(_unix(self._root.absolute(self._source.socket)))
        except OSError:
            for one in opened:
                one.close()
            raise
        self._sockets = opened
        for one in opened:
            threading.Thread(target=self._receive, args=(one,), name="statsd", daemon=True).start()

    def _receive(self, one: socket.socket) -> None:
        receive, take, lock = one.recv, self._aggregator.take, self._lock
        with suppress(OSError):  # closed
            while datagram := receive(_LARGEST):
                with lock:
                    take(datagram)


def lost(one: socket.socket) -> int:
    """Datagrams that the kernel dropped because the buffer of the socket was full, as in proc/net/udp; modulo 2**32."""
    drops: int = _MEMINFO.unpack(one.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1]
    return drops


def _udp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, place = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    return _bound(socket.socket(family, kind, protocol), place)


def _unix(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)  # of a run before
    one = _bound(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), path)
    os.chmod(path, 0o666)  # noqa: S103 – who may send is decided by the rights on the directory
    return one


def _bound(one: socket.socket, place: object) -> socket.socket:
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)  # as far as net.core.rmem_max allows
        one.bind(place)  # type: ignore[arg-type]
    except OSError:
        one.close()
        raise
    return one
