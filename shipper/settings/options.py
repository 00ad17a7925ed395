"""What an option is: one declaration gives the TOML key, the variable, the flag, the help and the sample.

Options are fields of frozen dataclasses, declared with ``option``. A ``ValueKind`` knows how a value is written in TOML
and as text (environment and flags), and describes in words what is allowed.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final

from shipper.base.text import suggestion

PREFIX: Final = "SHIPPER"
_DURATION: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZE: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_NUMBER_UNIT: Final = re.compile(r"([0-9]{1,15}) ?([A-Za-z]*)")
_TRUTH: Final = {"true": True, "false": False}


class NotAllowed(ValueError):  # noqa: N818
    """A value is not allowed for its kind."""


@dataclass(frozen=True, slots=True)
class ValueKind:
    """How values of an option are written.

    ``take`` accepts a TOML value, ``read`` text; both raise NotAllowed. ``show`` writes a value as TOML. ``allowed``
    completes the sentence "must be …".
    """

    allowed: str
    take: Callable[[object], Any]
    read: Callable[[str], Any]
    show: Callable[[Any], str]
    placeholder: str


@dataclass(frozen=True, slots=True)
class Option:
    """One option. ``attribute`` is its name in the dataclass, where durations carry their unit (``period_s``)."""

    section: str
    attribute: str
    default: Any
    help: str
    kind: ValueKind
    flag: str = ""

    @property
    def key(self) -> str:
        return self.attribute.removesuffix("_s")

    @property
    def path(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        return f"{PREFIX}_{self.section}_{self.key}".upper()

    @property
    def flags(self) -> tuple[str, ...]:
        long = f"--{self.section}-{self.key}".replace("_", "-")
        return (self.flag, long) if self.flag else (long,)


def option(default: Any, help_: str, kind: ValueKind, flag: str = "") -> Any:
    """A dataclass field that is an option. A callable ``default`` is a factory."""
    metadata = {"help": help_, "kind": kind, "flag": flag}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def options(section: str, kind: Any) -> tuple[Option, ...]:
    """The options that dataclass ``kind`` declares for the section of that name."""
    return tuple(
        Option(
            section,
            declared.name,
            declared.default if declared.default_factory is MISSING else declared.default_factory(),
            declared.metadata["help"],
            declared.metadata["kind"],
            declared.metadata["flag"],
        )
        for declared in fields(kind)
    )


def _need(*, condition: bool) -> None:
    if not condition:
        raise NotAllowed


def quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"\\u{ord(c):04X}" if ord(c) < 32 or ord(c) == 127 else c for c in escaped) + '"'  # noqa: PLR2004


def text(allowed: str, pattern: str = r"[^\x00-\x1f\x7f]*", placeholder: str = "TEXT") -> ValueKind:
    """Text that matches the regular expression ``pattern`` as a whole."""

    def take(value: object) -> str:
        _need(condition=isinstance(value, str) and re.fullmatch(pattern, value) is not None)
        return str(value)

    return ValueKind(allowed, take, take, quoted, placeholder)


def choice(*allowed: str) -> ValueKind:
    """One of a few texts."""
    return text("one of " + ", ".join(allowed), "|".join(map(re.escape, allowed)), "|".join(allowed))


def whole(low: int, high: int) -> ValueKind:
    """A whole number; unset or empty text means none."""

    def take(value: object) -> int:
        _need(condition=isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)
        return value  # type: ignore[return-value]

    def read(value: str) -> int | None:
        _need(condition=re.fullmatch(r"[0-9]{0,18}", value) is not None)
        return take(int(value)) if value else None

    return ValueKind(f"a whole number from {low} to {high}", take, read, str, "N")


def boolean() -> ValueKind:
    """True or false."""

    def take(value: object) -> bool:
        _need(condition=isinstance(value, bool))
        return bool(value)

    def read(value: str) -> bool:
        _need(condition=value in _TRUTH)
        return _TRUTH[value]

    return ValueKind("true or false", take, read, lambda value: str(value).lower(), "true|false")


def words(
    allowed: str,
    pattern: str = r"[^\x00-\x1f\x7f]+",
    *,
    least: int = 0,
    placeholder: str = "LIST",
    valid: Callable[[str], bool] = bool,
) -> ValueKind:
    """A list of texts that match ``pattern`` and are ``valid``; as text, separated by commas."""

    def take(value: object) -> tuple[str, ...]:
        _need(condition=isinstance(value, list | tuple) and len(value) >= least)
        items: tuple[Any, ...] = tuple(value)  # type: ignore[arg-type]
        _need(condition=all(isinstance(item, str) and re.fullmatch(pattern, item) and valid(item) for item in items))
        return items

    def read(value: str) -> tuple[str, ...]:
        return take([item.strip() for item in value.split(",") if item.strip()])

    def show(value: tuple[str, ...]) -> str:
        return "[" + ", ".join(map(quoted, value)) + "]"

    return ValueKind(allowed, take, read, show, placeholder)


def globs() -> ValueKind:
    """A list of shell patterns."""
    return words("a list of globs", placeholder="GLOB,…")


def absolute_paths() -> ValueKind:
    """A list of absolute paths."""
    return words("a list of absolute paths", r"/[^\x00-\x1f\x7f,]*", placeholder="DIR,…")


def table(allowed: str, pattern: str = r"[A-Za-z0-9_.-]{1,64}") -> ValueKind:
    """A table of texts whose keys match ``pattern``; as text ``key=value,key=value``."""

    def take(value: object) -> Mapping[str, str]:
        _need(condition=isinstance(value, Mapping))
        entries: dict[str, Any] = dict(value)  # type: ignore[call-overload]
        good = all(re.fullmatch(pattern, key) and isinstance(entry, str) for key, entry in entries.items())
        _need(condition=good)
        return MappingProxyType(entries)

    def read(value: str) -> Mapping[str, str]:
        pairs = [item.partition("=") for item in value.split(",") if item.strip()]
        _need(condition=all(equals for _, equals, _ in pairs))
        return take({key.strip(): entry.strip() for key, _, entry in pairs})

    def show(value: Mapping[str, str]) -> str:
        return "{" + ", ".join(f"{quoted(key)} = {quoted(entry)}" for key, entry in value.items()) + "}"

    return ValueKind(allowed, take, read, show, "K=V,…")


def _measure(units: Mapping[str, int], accept: Callable[[int], bool], allowed: str, placeholder: str) -> ValueKind:
    def read(value: str) -> int:
        match = _NUMBER_UNIT.fullmatch(value)
        _need(condition=match is not None and match[2] in units)
        number = int(match[1]) * units[match[2]]  # type: ignore[index]
        _need(condition=accept(number))
        return number

    def take(value: object) -> int:
        _need(condition=isinstance(value, str | int) and not isinstance(value, bool))
        return read(str(value))

    def show(value: int) -> str:
        return quoted(shown(value, units))

    return ValueKind(allowed, take, read, show, placeholder)


def shown(value: int, units: Mapping[str, int]) -> str:
    """``value`` in the largest of ``units`` that divides it."""
    unit = max((unit for unit in units if unit and value % units[unit] == 0), key=units.__getitem__)
    return f"{value // units[unit]}{unit}" if value else f"0{next(filter(None, units))}"


def shown_duration(seconds: int) -> str:
    """``10s``, ``2m``."""
    return shown(seconds, _DURATION)


def duration(low_s: int, high_s: int) -> ValueKind:
    """A number of seconds, written with s, m, h or d (a bare number is seconds)."""
    allowed = f"a duration from {shown(low_s, _DURATION)} to {shown(high_s, _DURATION)}, such as 10s or 5m"
    return _measure(_DURATION, lambda value: low_s <= value <= high_s, allowed, "DURATION")


def duration_of(allowed_s: tuple[int, ...]) -> ValueKind:
    """One of a few durations."""
    listed = " ".join(shown(value, _DURATION) for value in allowed_s)
    return _measure(_DURATION, lambda value: value in allowed_s, f"one of {listed}", "DURATION")


def size(low: int, high: int) -> ValueKind:
    """A number of bytes, written with KiB, MiB, GiB or TiB (a bare number is bytes)."""
    allowed = f"a size from {shown(low, _SIZE)} to {shown(high, _SIZE)}, such as 4MiB or 1GiB"
    return _measure(_SIZE, lambda value: low <= value <= high, allowed, "SIZE")


def unknown(what: str, name: str, allowed: Iterable[str], *, listed: bool = True) -> str:
    """The message for a name that is not one of ``allowed``."""
    names = list(allowed)
    rest = f" (known: {', '.join(names)})" if listed else ""
    return f"unknown {what} {name}{suggestion(name, names)}{rest}"


def brief(value: object) -> str:
    """``value`` for a message: one printable line of limited length, without the user and password of a URL."""
    shown = repr(value) if not isinstance(value, str) else '"' + repr(value)[1:-1] + '"'
    shown = re.sub(r"//[^\s'\"]*@", "//…@", shown)
    longest = 60
    return shown if len(shown) <= longest else shown[:longest] + "…"
