"""How captured hosts are stored: one text per host and moment, the second with only what differs from the first.

    -- proc/loadavg --
    0.08 0.03 0.01 1/62 4711
    -- proc/1/ns/net -> net:[4026531840] --
    -- sys/fs/cgroup/gone.service/cgroup.procs gone --
    -- "sys/fs/cgroup/with space.service/cgroup.procs" --

A path with other characters than usual is a string of JSON.
``python tests/support/moments.py NAME`` unpacks a host into build/ and prints where; the tests find it in ``HOSTS``.
"""

import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from readme import REPOSITORY

STORED = REPOSITORY / "tests" / "hosts"
_UNPACKED = REPOSITORY / "build"
_HEAD = re.compile(r"""^-- (?P<path>[^\s"]+|".+?")(?: -> (?P<link>\S+)|(?P<gone> gone))? --\n""", re.MULTILINE)
_PLAIN = re.compile(r"[\w./@:,=+-]+", re.ASCII)
Files = dict[str, str | Path]  # by path below the root: the text, or where the link leads


def read(directory: Path) -> Files:
    found: Files = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = path.readlink()
        elif path.is_file():
            found[name] = path.read_text(encoding="utf-8", errors="surrogateescape")
    return found


def pack(first: Files, second: Files) -> tuple[str, str]:
    changed = {name: content for name, content in second.items() if first.get(name) != content}
    gone = "".join(f"-- {_shown(name)} gone --\n" for name in sorted(first.keys() - second.keys()))
    return "".join(_packed(first)), "".join(_packed(changed)) + gone


def _packed(files: Files) -> Iterator[str]:
    for name, content in sorted(files.items()):
        if isinstance(content, Path):
            yield f"-- {_shown(name)} -> {content} --\n"
            continue
        if (content and not content.endswith("\n")) or _HEAD.search(content):
            raise ValueError(f"{name} cannot be stored: it has no newline at its end, or a line like a heading")
        yield f"-- {_shown(name)} --\n{content}"


def _shown(path: str) -> str:
    return path if _PLAIN.fullmatch(path) else json.dumps(path)


def unpack(text: str, before: Files | None = None) -> Files:
    files = dict(before or {})
    heads = list(_HEAD.finditer(text))
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        path, link = head["path"], head["link"]
        name = json.loads(path) if path.startswith('"') else path
        if head["gone"]:
            del files[name]
        else:
            files[name] = Path(link) if link else text[head.end() : following.start() if following else None]
    return files


def write(files: Files, directory: Path) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            path.symlink_to(content)
        else:
            path.write_text(content, encoding="utf-8", errors="surrogateescape")


def store(name: str, first: Path, second: Path) -> None:
    """Two moments of a host, captured into directories."""
    (STORED / name).mkdir(exist_ok=True)
    for moment, text in enumerate(pack(read(first), read(second))):
        (STORED / name / f"{moment}.txt").write_text(text, encoding="utf-8", errors="surrogateescape")


def _text(name: str, moment: int) -> str:
    return (STORED / name / f"{moment}.txt").read_text(encoding="utf-8", errors="surrogateescape")


def unpacked() -> Path:
    """All hosts as NAME/0 and NAME/1, with a link to golden.json; made once, and again when a stored text changes."""
    names = sorted(path.parent.name for path in STORED.glob("*/0.txt"))
    texts = {name: [_text(name, moment) for moment in (0, 1)] for name in names}
    digest = hashlib.sha256(repr(texts).encode()).hexdigest()[:16]
    target = _UNPACKED / f"hosts-{digest}"
    if target.is_dir():
        return target
    _UNPACKED.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="hosts-", dir=_UNPACKED))
    for name, (first, second) in texts.items():
        before = unpack(first)
        write(before, made / name / "0")
        write(unpack(second, before), made / name / "1")
        (made / name / "golden.json").symlink_to(STORED / name / "golden.json")
    with suppress(OSError):  # another process was first
        made.rename(target)
    shutil.rmtree(made, ignore_errors=True)
    return target


HOSTS = unpacked()

if __name__ == "__main__":
    print(HOSTS / sys.argv[1])
