"""Text from untrusted sources made safe: for UTF-8, for a terminal or a log, for a name in a document."""

import difflib
import hashlib
from collections.abc import Iterable
from typing import Final

DIMENSION_BYTES: Final = 512  # Elasticsearch 8.7–8.12 reject a dimension of more than 1,024 bytes
_DIGEST: Final = 16


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


def dimension(text: str) -> str:
    """``text`` as the value of a dimension: over 512 bytes it is cut and made unique by its SHA-256."""
    raw = utf8(text).encode()
    if len(raw) <= DIMENSION_BYTES:
        return text
    head = raw[: DIMENSION_BYTES - _DIGEST - 1].decode("utf-8", "ignore")
    return f"{head}~{hashlib.sha256(raw).hexdigest()[:_DIGEST]}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` with the most similar of the ``known`` words; empty if none is similar."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""
