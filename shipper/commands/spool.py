"""``shipper spool ls|show|export|replay|discard``: the documents that wait, and those that the server rejected."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from shipper.base.errors import UserError
from shipper.base.text import escaped
from shipper.settings.config import Config

if TYPE_CHECKING:
    from shipper.deliver.segment import Entry

SECTIONS = ("spool",)
EXAMPLES = {
    "spool ls": "what waits, what was rejected and why",
    "spool show rejected": "rejected documents with the server's reason",
    "spool replay document_parsing_exception": "resend the rejected documents that have this reason",
}
_REJECTED: Final = "rejected"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    action = {
        "ls": "list segments, rejected documents by kind of reason, and files set aside",
        "show": "print documents, one a line, rejected ones with the server's reason",
        "export": "print documents as the body of a bulk request",
        "replay": "make the agent resend rejected documents",
        "discard": "make the agent delete rejected documents",
    }
    help_ = "; ".join(f"{name}: {text}" for name, text in action.items())
    parser.add_argument("action", choices=list(action), help=help_)
    what = (
        f"show, export: the number of a segment, or {_REJECTED} (default: all segments). replay, discard: text in the "
        "reason or index of the documents to select, such as 'document_parsing_exception' (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="ls: print JSON; the other actions do so anyway")
    parser.add_argument("what", nargs="?", default="", metavar="WHAT", help=what)


def run(args: argparse.Namespace, config: Config) -> int:
    actions: Mapping[str, Callable[[str, str], int]] = {
        "ls": ls,
        "show": show,
        "export": export,
        "replay": replay,
        "discard": discard,
    }
    if args.json and args.action == "ls":
        actions = {"ls": ls_json}
    try:
        return actions[args.action](config.spool.directory, args.what)
    except FileNotFoundError:
        raise UserError(f"spool {config.spool.directory}: no such directory") from None


def ls(directory: str, _what: str) -> int:
    """List segments, rejected documents and damaged files."""
    from shipper.base.tick_times import timestamp
    from shipper.deliver import spool

    for path, content in spool.look(directory):
        if isinstance(content, str):
            print(f"{path}: {content}")
        else:
            print(
                f"{content.sequence}  {timestamp(content.tick_ms)}  {content.documents} documents  {content.size} bytes"
            )
    for kind, index, count, example in _kinds(directory):
        text = f"{_REJECTED}  {count} × {kind} {index}, such as: {example}"
        print(escaped(text if kind else f"{count} lines cannot be read"))
    for name in spool.damaged(directory):
        print(escaped(f"set aside  {name}"))
    return 0


def ls_json(directory: str, _what: str) -> int:
    """The same as one JSON object."""
    from dataclasses import asdict

    from shipper.deliver import spool

    found = list(spool.look(directory))
    segments = [asdict(content) for _, content in found if not isinstance(content, str)]
    keys = ("kind", "index", "count", "example")
    groups = [dict(zip(keys, group, strict=True)) for group in _kinds(directory)]
    unread = {path: content for path, content in found if isinstance(content, str)}
    aside = list(spool.damaged(directory))
    _line({"segments": segments, "rejected": groups, "unreadable": unread, "damaged": aside})
    return 0


def _kinds(directory: str) -> "Iterator[tuple[str, str, int, str]]":
    """Rejected documents by kind and index: how many, and the reason of one. Lines without a kind cannot be read."""
    from collections import Counter

    from shipper.deliver.replay import rejected

    kinds: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for document in rejected(directory):
        group = (document.kind, document.index) if document else ("", "")
        kinds[group] += 1
        example.setdefault(group, document.reason if document else "")
    for (kind, index), count in kinds.most_common():
        yield kind, index, count, example[kind, index]


def show(directory: str, what: str) -> int:
    """Print documents, one per line. Returns 1 if a segment is damaged."""
    from shipper.deliver.replay import rejected

    if what == _REJECTED:
        for document in rejected(directory):
            if document:
                _line(
                    {
                        "status": document.status,
                        "reason": document.reason,
                        "index": document.index,
                        "document": document.document,
                    }
                )
        return 0
    for entry in entries(directory, what):
        _line({"index": json.loads(entry.action)["create"]["_index"], "document": json.loads(entry.document)})
    return 0


def export(directory: str, what: str) -> int:
    """Print documents as a bulk body. Returns 1 if a segment is damaged."""
    from shipper.deliver.replay import rejected

    documents = (
        (document.entry() for document in rejected(directory) if document)
        if what == _REJECTED
        else entries(directory, what)
    )
    for entry in documents:
        sys.stdout.buffer.write(b"%b\n%b\n" % (entry.action, entry.document))
    return 0


def replay(directory: str, what: str) -> int:
    """Ask the agent to resend rejected documents that match ``what``."""
    from shipper.deliver.replay import give_back

    return _hand_over(directory, give_back(directory, what), "sends")


def discard(directory: str, what: str) -> int:
    """Ask the agent to delete rejected documents that match ``what``."""
    from shipper.deliver.replay import discard

    return _hand_over(directory, discard(directory, what), "deletes")


def _hand_over(directory: str, count: int, does: str) -> int:
    from shipper.deliver import spool

    running = spool.in_use(directory)
    when = f"the running agent {does} them" if running else f"the agent {does} them when it is started"
    print(f"{count} documents selected; {when}" if count else "no rejected document matches")
    return 0


def entries(directory: str, what: str) -> "Iterator[Entry]":
    """Documents of segment ``what``, or of all segments, including settled documents whose segment still exists."""
    from shipper.deliver import segment, spool

    if what and not what.isdecimal():
        raise UserError(f"{what}: neither the number of a segment nor {_REJECTED}")
    known = False
    for path, content in spool.look(directory):
        if isinstance(content, str) or (what and content.sequence != int(what)):
            continue
        known = True
        try:
            yield from segment.read(path, content)
        except FileNotFoundError:
            continue  # delivered meanwhile
        except segment.Damaged as error:
            print(f"shipper: {error} is damaged", file=sys.stderr)
    if what and not known:
        raise UserError(f"no segment {what}")


def _line(content: Mapping[str, object]) -> None:
    print(json.dumps(content))  # ASCII: contains no terminal control sequences
