"""A parser that learns the places of the numbers in a file, so that later texts are not searched for them.

Most files of /proc have the same words at the same places at each read, except the numbers. A parser of counts by their
keys is asked once for a probe, the text with another number at each place: the values of its answer tell the places.
Later texts with the same other words are split and their numbers taken from these places, in a quarter of the time. Any
other text goes to the parser itself: each damage, and each number that is not a count.
"""

from collections.abc import Callable
from operator import itemgetter, mul
from typing import Any, Final

from shipper.kernel.parse import LARGEST, ParseError

_FIRST: Final = 10_000_000  # in probes: numbers from here on stand for places
_LONGEST: Final = 19  # digits
_MOST_LEARNED: Final = 8  # a file whose words keep changing is not learned again


class Learned:
    """``parse``, for values that are each a number of the text or one of ``scales`` times it.

    Values and errors are the same as of ``parse``.
    """

    def __init__(self, parse: Callable[[bytes], dict[str, int]], scales: tuple[int, ...] = (1,)) -> None:
        self._parse = parse
        self._scales = scales
        self._learned = 0
        self._text: bytes | None = None
        self._values: dict[str, int] = {}
        self._shape: tuple[int, int] = (0, 0)
        self._pick: Callable[[list[bytes]], tuple[bytes, ...]] | None = None

    def __call__(self, text: bytes) -> dict[str, int]:
        if text == self._text:
            return self._values.copy()
        words = text.split()
        if self._pick and (len(words), text.count(b"\n")) == self._shape and self._others(words) == self._expected:
            numbers = self._pick(words)
            if b"".join(numbers).isdigit() and max(map(len, numbers)) <= _LONGEST:
                values = dict(zip(self._fields, map(mul, map(int, numbers), self._factors), strict=True))
                if max(values.values()) <= LARGEST:
                    self._text, self._values = text, values
                    return values.copy()
        values = self._parse(text)
        if self._learned < _MOST_LEARNED:
            self._learned += 1
            self._learn(text, words)
        return values

    def _learn(self, text: bytes, words: list[bytes]) -> None:
        self._pick = None
        probe, at = bytearray(), 0
        for place, word in enumerate(words):
            end = text.index(word, at)
            probe += text[at:end] + (b"%d" % (_FIRST + place) if word.isdigit() else word)
            at = end + len(word)
        try:
            answer = self._parse(bytes(probe + text[at:]))
        except ParseError:
            return
        found = {field: self._place(value, len(words)) for field, value in answer.items()}
        others = [place for place, word in enumerate(words) if not word.isdigit()]
        if len(found) < 2 or len(others) < 2 or None in found.values():  # noqa: PLR2004 – itemgetter gives tuples from two on
            return
        places, self._factors = zip(*filter(None, found.values()), strict=True)
        self._fields = tuple(found)
        self._pick, self._others = itemgetter(*places), itemgetter(*others)
        self._shape, self._expected = (len(words), text.count(b"\n")), self._others(words)

    def _place(self, value: int, words: int) -> tuple[int, int] | None:
        """Place and factor of the number that became ``value``; None if it is not one of the probe's."""
        for scale in self._scales:
            number, rest = divmod(value, scale)
            if not rest and _FIRST <= number < _FIRST + words:
                return number - _FIRST, scale
        return None

    _fields: tuple[str, ...]
    _factors: tuple[int, ...]
    _others: Callable[[list[bytes]], tuple[Any, ...]]
    _expected: tuple[Any, ...]
