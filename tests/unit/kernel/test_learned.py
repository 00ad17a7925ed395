"""Parsers that learn where the numbers are: what they take from there, and what they leave to the parser itself."""

import pytest

from shipper.kernel.learned import Learned
from shipper.kernel.parse import ParseError, key_values, whole

WANTED = {b"pgfault": "faults", b"pswpin": "swapped"}


class Counting:
    """A parser of lines ``pgfault 102`` that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, text: bytes) -> dict[str, int]:
        self.calls += 1
        return key_values(whole(text), WANTED)


def test_later_texts_are_not_parsed() -> None:
    parser = Counting()
    learned = Learned(parser)
    assert learned(b"nr_free 5\npgfault 102\npswpin 0\n") == {"faults": 102, "swapped": 0}
    calls = parser.calls
    assert learned(b"nr_free 7\npgfault 1020\npswpin 3\n") == {"faults": 1020, "swapped": 3}
    assert parser.calls == calls


def test_values_of_the_same_text_are_not_shared() -> None:
    learned = Learned(Counting())
    for _ in range(3):
        values = learned(b"pgfault 102\npswpin 0\n")
        assert values == {"faults": 102, "swapped": 0}
        values.clear()


@pytest.mark.parametrize(
    "text", [b"", b"pgfault 1\npswpin -1\n", b"pgfault 1\npswpin 99999999999999999999\n", b"pgfault 1\npswpin 2"]
)
def test_damage_is_left_to_the_parser(text: bytes) -> None:
    learned = Learned(Counting())
    learned(b"pgfault 102\npswpin 0\n")
    with pytest.raises(ParseError) as expected:
        key_values(whole(text), WANTED)
    with pytest.raises(ParseError) as found:
        learned(text)
    assert (str(found.value), found.value.partial) == (str(expected.value), expected.value.partial)


def test_other_lines_are_learned_anew() -> None:
    parser = Counting()
    learned = Learned(parser)
    learned(b"pgfault 102\npswpin 0\n")
    for fault in (5, 6):
        assert learned(b"pswpin 1\nnew 8\npgfault %d\n" % fault) == {"faults": fault, "swapped": 1}
    assert parser.calls == 4, "two parses and two probes"


def test_values_that_are_no_numbers_of_the_text_are_never_learned() -> None:
    learned = Learned(lambda text: {"sum": sum(map(int, text.split()[1::2])), "lines": text.count(b"\n")})
    for number in (1, 2):
        assert learned(b"a %d\nb 5\n" % number) == {"sum": number + 5, "lines": 2}
