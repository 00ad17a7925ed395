"""Every parser: the documented form gives its value, anything else ParseError and never a bad number."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import HOSTS

from shipper.collect.host import cpu, disk, load, memory, network, protocols, uptime, vmstat
from shipper.kernel import mountinfo, parse
from shipper.kernel.parse import LARGEST, ParseError

PROC = HOSTS / "debian-12-hybrid" / "0" / "proc"
NAMES = {b"a": "a", b"b": "b"}

PARSERS: dict[str, Callable[[bytes], Any]] = {
    "loadavg": load.parse,
    "stat": cpu.parse,
    "meminfo": memory.parse,
    "vmstat": vmstat.parse,
    "uptime": uptime.parse,
    "diskstats": disk.parse,
    "1/mountinfo": mountinfo.parse,
    "1/net/dev": network.parse,
    "1/net/sockstat": lambda text: protocols.sockstat(text, protocols._WANTED_SOCKETS),
    "1/net/sockstat6": lambda text: protocols.sockstat(text, protocols._SOCKETS_6),
    "1/net/snmp": lambda text: protocols.paired(text, protocols._WANTED_SNMP),
    "1/net/netstat": lambda text: protocols.paired(text, protocols._WANTED_NETSTAT),
    "pressure/memory": parse.pressure,
    "../etc/os-release": uptime.os_release,
    "sys/kernel/osrelease": parse.word,
}
SAMPLES = {file: (PROC / file).read_bytes() for file in PARSERS}
# Files that people write need no newline at their end
UNCUT = [file for file in PARSERS if not file.startswith("../etc")]


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for below in value.values():
            yield from leaves(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from leaves(below)
    else:
        yield value


def check(parser: Callable[[bytes], Any], text: bytes) -> None:
    try:
        value = parser(text)
    except ParseError as error:
        value = error.partial
    for leaf in leaves(value):
        if isinstance(leaf, int | float):
            assert math.isfinite(leaf)
            assert 0 <= leaf <= LARGEST


@pytest.mark.parametrize("file", PARSERS)
def test_captured_file_is_sound(file: str) -> None:
    assert PARSERS[file](SAMPLES[file])


@pytest.mark.parametrize("file", PARSERS)
@settings(max_examples=60, deadline=None)
@given(text=st.binary(max_size=400))
def test_any_bytes(file: str, text: bytes) -> None:
    check(PARSERS[file], text)


@pytest.mark.parametrize("file", PARSERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_captured_file_with_a_part_replaced(file: str, data: st.DataObject) -> None:
    sample = SAMPLES[file]
    start = data.draw(st.integers(0, len(sample)))
    end = data.draw(st.integers(start, min(len(sample), start + 40)))
    odd = st.sampled_from(
        [b"", b"-1", b" ", b"\n", b":", b"\0", b"nan", b"1e400", b"9" * 30, b"18446744073709551615", b"\xff"]
    )
    check(PARSERS[file], sample[:start] + data.draw(odd | st.binary(max_size=20)) + sample[end:])


@pytest.mark.parametrize("file", UNCUT)
def test_cut_off_or_empty_file_is_refused(file: str) -> None:
    for cut in (0, 1, len(SAMPLES[file]) // 2, len(SAMPLES[file]) - 1):
        text = SAMPLES[file][:cut].rstrip(b"\n")
        with pytest.raises(ParseError, match=r"cut off|empty"):
            PARSERS[file](text)


@pytest.mark.parametrize(("text", "value"), [(b"0", 0), (b" 12\n", 12), (b"9223372036854775807", LARGEST)])
def test_count(text: bytes, value: int) -> None:
    assert parse.integer(text) == value


@pytest.mark.parametrize(
    "text", [b"", b"-1", b"+1", b"1_0", b"1 0", b"0x1", b"1.0", b"9223372036854775808", "٣".encode()]
)
def test_not_a_count(text: bytes) -> None:
    with pytest.raises(ParseError):
        parse.integer(text)


@pytest.mark.parametrize(("text", "value"), [(b"0.42", 0.42), (b"7", 7.0), (b" 1.50\n", 1.5)])
def test_fraction(text: bytes, value: float) -> None:
    assert parse.decimal(text) == value


@pytest.mark.parametrize("text", [b"", b".", b"-0.1", b"nan", b"inf", b"1e300", b"1_0.5", b"1.2.3", b"9" * 40])
def test_not_a_fraction(text: bytes) -> None:
    with pytest.raises(ParseError):
        parse.decimal(text)


def test_signed() -> None:
    assert [parse.signed(text) for text in (b"-1\n", b"0", b"5")] == [-1, 0, 5]


def test_word() -> None:
    assert parse.word(b"up\n") == "up"
    for text in (b"\n", b"up", b"\0\n", b"x" * 300 + b"\n"):
        with pytest.raises(ParseError):
            parse.word(text)


def test_flat_keyed_file() -> None:
    assert parse.key_values(b"a 1\nother 2\nb 3\n", NAMES) == {"a": 1, "b": 3}
    assert parse.key_values(b"", NAMES) == {}


def test_flat_keyed_file_that_is_cut_off_loses_its_last_line() -> None:
    with pytest.raises(ParseError) as caught:
        parse.key_values(b"a 1\nb 12", NAMES)
    assert caught.value.partial == {"a": 1}


def test_pressure_as_fractions_and_microseconds() -> None:
    text = b"some avg10=0.22 avg60=1.17 avg300=100.00 total=58761459\nfull avg10=0.00 avg60=0.13 avg300=0.96 total=57\n"
    assert parse.pressure(text) == {
        "some.avg10": pytest.approx(0.0022), "some.avg60": pytest.approx(0.0117), "some.avg300": 1.0,
        "some.total": 58_761_459,
        "full.avg10": 0.0, "full.avg60": pytest.approx(0.0013), "full.avg300": pytest.approx(0.0096), "full.total": 57,
    }  # fmt: skip


def test_pressure_of_a_newer_kernel_keeps_to_what_is_declared() -> None:
    assert parse.pressure(b"some avg10=0.00 avg3600=0.10 total=5\nnew avg10=0.00\n") == {
        "some.avg10": 0,
        "some.total": 5,
    }


def test_pressure_beyond_all_time_is_refused() -> None:
    with pytest.raises(ParseError):
        parse.pressure(b"some avg10=100.01 avg60=0.00 avg300=0.00 total=1\n")


def test_name_that_is_no_utf8_survives() -> None:
    assert parse.name(b"caf\xe9") == "caf\ufffd"


WORDS = st.sampled_from([b"anon", b"file", b"total", b"other", b"7", b"0", b"-1", b"9" * 19, b"x", b"1_0", b""])
PAIRS = st.tuples(st.sampled_from([b"anon", b"file", b"total", b"other"]), WORDS).map(b" ".join)
JUNK = st.lists(WORDS, min_size=0, max_size=3).map(b" ".join)
KEYED_LINES = st.lists(PAIRS, max_size=4) | st.lists(PAIRS | JUNK, max_size=6)


def outcome(call: Callable[[], dict[str, int]]) -> tuple[str, dict[str, int] | None]:
    """Error and values, which are the remainder where there is an error."""
    try:
        return "", call()
    except ParseError as error:
        return str(error), error.partial


@given(
    seen=st.lists(KEYED_LINES.map(b"\n".join), max_size=10),
    lines=KEYED_LINES,
    end=st.sampled_from([b"\n", b""]),
    scale=st.sampled_from([1, 1000]),
)
def test_learnt_patterns_change_no_value(seen: list[bytes], lines: list[bytes], end: bytes, scale: int) -> None:
    wanted = {b"anon": "a", b"file": "f", b"total": "t"}
    text = b"\n".join(lines) + end
    learnt = parse.Keyed({key: (field, scale) for key, field in wanted.items()})
    for known in (*(one + b"\n" for one in seen), b"anon 1\nfile 2\ntotal 3\n", b"file 2\nanon 1\n", text):
        outcome(lambda known=known: learnt(known))  # type: ignore[misc]
    assert outcome(lambda: learnt(text)) == outcome(lambda: parse.key_values(text, wanted, scale))


def test_lines_that_did_not_change_are_not_parsed_again() -> None:
    parsed: list[bytes] = []

    def parse_line(line: bytes) -> int:
        parsed.append(line)
        return parse.integer(line)

    same = parse.SameLines(parse_line)
    assert same(b"1\n2\n") == [1, 2]
    assert same(b"1\n3\n") == [1, 3]
    with pytest.raises(ParseError) as caught:
        same(b"1\nx\n")
    assert caught.value.partial == [1]
    assert same(b"1\n3\n") == [1, 3]
    assert parsed == [b"1", b"2", b"3", b"x", b"3"], "only the lines of the last text are kept"
