"""Kernel text → values; pure. A parser returns its value or raises ParseError, for any input.

If only a part of a file is damaged, ``ParseError.partial`` has the sound part: a bad line must not hide the others.
Numbers are parsed strictly: only digits, and not beyond the range of Elasticsearch's ``long``.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

LARGEST: Final = (1 << 63) - 1
_SHOWN: Final = 40
_MOST_LAYOUTS: Final = 8  # of a file: some controllers add keys
_PRESSURE_KEYS: Final = (b"avg10", b"avg60", b"avg300", b"total")


class ParseError(ValueError):
    """The text is not in the documented form. ``partial`` is the sound part, None if there is none."""

    def __init__(self, message: str, partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial


def shown(text: bytes) -> str:
    """``text`` for a message: a short printable line."""
    head = ascii(text[:_SHOWN].decode("latin-1"))
    return head if len(text) <= _SHOWN else head + "…"


def whole(text: bytes) -> bytes:
    """``text`` if it ends with a newline: a number that is cut off would look like another one. Raises ParseError."""
    if not text.endswith(b"\n"):
        raise ParseError(f"cut off: {shown(text[-_SHOWN:])}" if text else "empty")
    return text


def integer(text: bytes) -> int:
    """A count: only digits (``int`` would accept ``-1``, ``1_0`` and blanks). Raises ParseError."""
    if text[:-1].isdigit() and text[-1:] == b"\n" and len(text) < 20:  # noqa: PLR2004 – the usual form
        return int(text)
    stripped = text.strip()
    if not stripped.isdigit() or len(stripped) > 19 or (value := int(stripped)) > LARGEST:  # noqa: PLR2004
        raise ParseError(f"not a count: {shown(text)}")
    return value


def signed(text: bytes) -> int:
    """A whole number that may be negative. Raises ParseError."""
    stripped = text.strip()
    return -integer(stripped[1:]) if stripped.startswith(b"-") else integer(stripped)


def decimal(text: bytes) -> float:
    """A number such as ``0.42``: digits and a point, so never NaN, infinite or negative. Raises ParseError."""
    stripped = text.strip()
    if len(stripped) > 19 or not stripped.replace(b".", b"", 1).isdigit() or (value := float(stripped)) >= LARGEST:  # noqa: PLR2004
        raise ParseError(f"not a number: {shown(text)}")
    return value


def name(text: bytes) -> str:
    """A name, which the kernel does not restrict to UTF-8: each invalid byte becomes U+FFFD."""
    return text.decode("utf-8", "replace")


def first_line(text: bytes) -> str:
    """The first line without blanks around it, such as the name of a host."""
    return name(text.split(b"\n", 1)[0].strip())


def word(text: bytes) -> str:
    """The word in a file such as ``operstate``. Raises ParseError if there is none, or more than one line."""
    value = first_line(whole(text))
    if not value or not value.isprintable() or len(value) > 256:  # noqa: PLR2004
        raise ParseError(f"not a word: {shown(text)}")
    return value


def lines(text: bytes, parse_line: Callable[[bytes], T | None]) -> list[T]:
    """``parse_line`` of every non-empty line, without None. Raises ParseError with the sound values."""
    values: list[T] = []
    first_error: ParseError | None = None
    for line in text.split(b"\n"):
        if not line:
            continue
        try:
            value = parse_line(line)
        except (ParseError, IndexError, ValueError) as error:
            first_error = first_error or ParseError(f"{error}: {shown(line)}")
            value = error.partial if isinstance(error, ParseError) else None
        if value is not None:
            values.append(value)
    if first_error:
        raise ParseError(str(first_error), values)
    return values


class SameLines(Generic[T]):
    """``lines`` that remembers the values of the lines of the last text: most devices are idle most of the time."""

    def __init__(self, parse_line: Callable[[bytes], T]) -> None:
        self._parse_line = parse_line
        self._known: dict[bytes, T] = {}

    def __call__(self, text: bytes) -> list[T]:
        before, self._known = self._known, {}
        return lines(text, lambda line: self._of(line, before))

    def _of(self, line: bytes, before: Mapping[bytes, T]) -> T:
        value = before.get(line)
        if value is None:
            value = self._parse_line(line)
        self._known[line] = value
        return value


def merged(text: bytes, parse_line: Callable[[bytes], Mapping[str, V]]) -> dict[str, V]:
    """The values of all lines. Raises ParseError, also if the file is cut off or has no known value."""
    try:
        parts, error = lines(whole(text), parse_line), None
    except ParseError as damage:
        parts, error = damage.partial or [], damage
    values = {key: value for part in parts for key, value in part.items()}
    if error or not values:
        raise ParseError(str(error or f"no known value: {shown(text)}"), values or None)
    return values


def columns(
    words: Iterable[tuple[str, bytes]], convert: Callable[[bytes], int | float] = integer
) -> dict[str, int | float]:
    """Numbers by the names of their columns. Raises ParseError with the sound ones."""
    values: dict[str, int | float] = {}
    bad = ""
    for field, word in words:
        try:
            values[field] = convert(word)
        except ParseError as error:
            bad = bad or str(error)
    if bad:
        raise ParseError(bad, values)
    return values


def scaled(factor: int) -> Callable[[bytes], int]:
    """A parser of counts, multiplied by ``factor``. It raises ParseError if the result does not fit a ``long``."""

    def convert(text: bytes) -> int:
        value = integer(text) * factor
        if value > LARGEST:
            raise ParseError(f"not a count: {shown(text)}")
        return value

    return convert


def then(parse: Callable[[bytes], T], make: Callable[[T], U]) -> Callable[[bytes], U]:
    """A parser: ``make`` of the value of ``parse``, or of the sound part of a damaged text."""

    def parse_and_make(text: bytes) -> U:
        try:
            value = parse(text)
        except ParseError as error:
            raise ParseError(str(error), None if error.partial is None else make(error.partial)) from None
        return make(value)

    return parse_and_make


def pick(table: Mapping[bytes, bytes], wanted: Mapping[bytes, str], scale: int = 1) -> dict[str, int]:
    """Counts of ``table`` by the field names in ``wanted``; absent keys are skipped. Raises ParseError."""
    values: dict[str, int] = {}
    bad = ""
    for key, field in wanted.items():
        digits = table.get(key)
        if digits is None:
            continue
        if digits.isdigit() and len(digits) < 20 and (value := int(digits) * scale) <= LARGEST:  # noqa: PLR2004
            values[field] = value
        else:
            bad = bad or f"{shown(key)}: not a count: {shown(digits)}"
    if bad:
        raise ParseError(bad, values)
    return values


def key_values(text: bytes, wanted: Mapping[bytes, str], scale: int = 1) -> dict[str, int]:
    """Counts of a file with a line ``pgfault 102`` per key: vmstat, cpu.stat, memory.stat. Raises ParseError."""
    words = text.split()
    if len(words) != 2 * text.count(b"\n"):
        whole_lines = text[: text.rfind(b"\n") + 1].split(b"\n")
        words = [word for line in whole_lines if len(pair := line.split()) == 2 for word in pair]  # noqa: PLR2004
        values = pick(dict(zip(words[::2], words[1::2], strict=True)), wanted, scale)
        raise ParseError("a line that is not a key and a value", values)
    return pick(dict(zip(words[::2], words[1::2], strict=True)), wanted, scale)


class Keyed:
    """``key_values`` for a file that has the same keys at each read: one pattern for all its lines halves the cost.

    ``wanted`` has the field and the factor of each key.
    """

    def __init__(self, wanted: Mapping[bytes, tuple[str, int]]) -> None:
        self._wanted = wanted
        self._scales = [(field, scale) for field, scale in wanted.values() if scale != 1]
        self._layouts: list[tuple[re.Pattern[bytes], list[str]]] = []

    def __call__(self, text: bytes) -> dict[str, int]:
        for pattern, fields in self._layouts:
            if match := pattern.fullmatch(text):
                values = dict(zip(fields, map(int, match.groups()), strict=True))
                for field, scale in self._scales:
                    if field in values:
                        values[field] *= scale
                return values if max(values.values(), default=0) <= LARGEST else self._carefully(text)
        # It takes milliseconds to compile a pattern: beyond the layouts that kernels write, the text is damaged
        if len(self._layouts) < _MOST_LAYOUTS:
            self._learn(text)
        return self._carefully(text)

    def _learn(self, text: bytes) -> None:
        words = text.split()
        if len(words) != 2 * text.count(b"\n"):
            return
        keys = words[::2]
        places = {key: at for at, key in enumerate(keys)}
        wanted = {field: places[key] for key, (field, _) in self._wanted.items() if key in places}
        taken = {at: field for field, at in wanted.items()}
        numbers = (rb"([0-9]{1,20})" if at in taken else rb"\S+" for at in range(len(keys)))
        lines = (b"%b %b\n" % (re.escape(key), number) for key, number in zip(keys, numbers, strict=True))
        self._layouts.append((re.compile(b"".join(lines)), [taken[at] for at in sorted(taken)]))

    def _carefully(self, text: bytes) -> dict[str, int]:
        values: dict[str, int] = {}
        bad = ""
        for scale in sorted({scale for _, scale in self._wanted.values()}):
            wanted = {key: field for key, (field, factor) in self._wanted.items() if factor == scale}
            try:
                values |= key_values(text, wanted, scale)
            except ParseError as error:
                bad = bad or str(error)
                values |= error.partial or {}
        if bad:
            raise ParseError(bad, values)
        return values


def meminfo(text: bytes, wanted: Mapping[bytes, str]) -> dict[str, int]:
    """Sizes in bytes of lines ``MemTotal:       24594280 kB``. Raises ParseError.

    Lines without ``kB`` (``HugePages_Total``) are counts: use ``table`` and ``pick`` for them.
    https://docs.kernel.org/filesystems/proc.html#meminfo
    """
    sizes = {key: value[:-3] for key, value in table(whole(text)).items() if value.endswith(b" kB")}
    if not sizes:
        raise ParseError(f"no size: {shown(text)}")
    return pick(sizes, wanted, 1024)


def table(text: bytes) -> dict[bytes, bytes]:
    """Lines of ``key: value``, without blanks around keys and values."""
    pairs = (line.partition(b":") for line in text.split(b"\n"))
    return {key.strip(): value.strip() for key, _, value in pairs if value}


def _of_hundred(text: bytes) -> float:
    value = decimal(text) / 100
    if value > 1:
        raise ParseError(f"more than 100 percent: {shown(text)}")
    return value


def pressure(text: bytes) -> dict[str, float | int]:
    """Pressure stall information (Linux 4.20; irq 6.1; https://docs.kernel.org/accounting/psi.html).

        some avg10=0.22 avg60=0.17 avg300=1.11 total=58761459
        full avg10=0.00 avg60=0.13 avg300=0.96 total=57622151

    Keys are ``some.avg10`` …, from 0 to 1, and ``some.total`` in µs. Other lines and keys are ignored. Raises
    ParseError.
    """
    values: dict[str, float | int] = {}
    bad = ""
    for line in whole(text).split(b"\n"):
        kind, _, rest = line.partition(b" ")
        if kind not in (b"some", b"full"):
            continue
        for word in rest.split():
            key, _, number = word.partition(b"=")
            if key not in _PRESSURE_KEYS:
                continue
            try:
                value = integer(number) if key == b"total" else _of_hundred(number)
            except ParseError as error:
                bad = bad or str(error)
                continue
            values[f"{kind.decode()}.{key.decode()}"] = value
    if bad or not values:
        raise ParseError(bad or f"no pressure line: {shown(text)}", values or None)
    return values
