"""Bodies are gzip, whichever library makes them."""

import gzip
import zlib

import pytest

from shipper.deliver import compression

BODY = b"".join(b'{"create":{"_index":"i"}}\n{"n":%d,"text":"%d"}\n' % (n, n * n) for n in range(500))


@pytest.mark.parametrize("level", [1, 3, 4, 9])
@pytest.mark.parametrize("with_isal", [True, False])
def test_a_body_is_gzip_and_the_same_each_time(level: int, with_isal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_isal:
        monkeypatch.setattr(compression, "isal_zlib", None)
    made = compression.compress(BODY, level)
    assert gzip.decompress(made) == BODY
    assert compression.compress(BODY, level) == made
    assert len(made) < len(BODY) / 3


def test_isal_is_used_for_the_levels_that_ask_for_speed() -> None:
    assert [compression.compress(BODY, level) == zlib.compress(BODY, level, 31) for level in (1, 3, 4, 9)] == [
        *(False, False),
        *(True, True),
    ]
