"""Text from untrusted sources made safe: for UTF-8, for a terminal or a log, for a name in a document."""

import difflib
from collections.abc import Iterable


def utf8(text: str) -> str:
    r"""``text`` as UTF-8 can hold it: bytes of a file name that are not UTF-8 (Python's surrogates) become ``\xff``."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()


def escaped(text: str) -> str:
    r"""``text`` with unprintable characters as escapes such as ``\x1b``: nothing in it controls a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def visible(text: str) -> str:
    """``text`` with unprintable characters replaced by U+FFFD."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` with the most similar of the ``known`` words; empty if none is similar."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
