"""``shipper render [--check]``: write the committed files that are generated from the code."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from shipper import rooms
from shipper.base.errors import EXIT_CODES, UserError
from shipper.deploy import units
from shipper.schema import pages, reference, templates
from shipper.settings.config import Config, Index

SECTIONS = ()
EXAMPLES = {"render --check": "write nothing; fail if a file differs"}
SAMPLE = "units/shipper.toml"
ALERTING = "dashboards/grafana/alerting/shipper.yaml"
ARCHITECTURE = "docs/architecture.md"  # between two marks
# Folders in which every file is rendered
OWN = ("mappings", "dashboards/grafana/boards", "dashboards/grafana/alerting", "dashboards/kibana/boards")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="store_true", help="write nothing; list the files that differ, and fail if there are any"
    )
    parser.add_argument(
        "--directory", metavar="DIR", type=Path, default=Path(), help="root of the repository (default .)"
    )


def run(args: argparse.Namespace, _config: Config) -> int:
    if not args.directory.is_dir():
        raise UserError(f"{args.directory}: no such directory")
    wanted = rendered(args.directory, args.whole_parser())
    stale = list(differing(args.directory, wanted))
    if args.check:
        for path in stale:
            print(f"shipper: {path}: differs from its source; run `shipper render`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        write(args.directory / path, wanted.get(path))
        print(path)
    return 0


def rendered(directory: Path, parser: argparse.ArgumentParser) -> dict[str, str]:
    """The contents of every generated file, by path below the repository. ``parser``: of the whole command line."""
    files = {"mappings/README.md": reference.mappings_readme(), SAMPLE: reference.sample()}
    for layout in ("datastream", "dated"):
        for template in templates.render(Index(layout=layout)):
            text = json.dumps(template.body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
            files[f"mappings/{template.kind}_template/{template.name}.json"] = text
    files |= {
        "docs/reference/options.md": pages.options(),
        "docs/reference/commands.md": pages.commands(parser, EXIT_CODES, units.STAY_DOWN),
        "docs/reference/messages.md": pages.log_messages(),
    }
    files |= {f"units/{path}": units.render(file) for path, file in units.files().items()}
    return files | _dashboards() | _architecture(directory / ARCHITECTURE)


def _architecture(document: Path) -> dict[str, str]:
    return {ARCHITECTURE: rooms.put_into(document.read_text(encoding="utf-8"))} if document.is_file() else {}


def _dashboards() -> dict[str, str]:
    try:
        from shipper.view.dashboards import grafana, kibana
    except ImportError as missing:
        raise UserError(f"rendering dashboards needs {missing.name}: make setup") from None
    from shipper.view.dashboards.boards import BOARDS, EXPLORER

    made = {f"dashboards/grafana/boards/{board.uid}.json": grafana.render(board) for board in (*BOARDS, EXPLORER)}
    made |= _alerts({board.uid: made[f"dashboards/grafana/boards/{board.uid}.json"] for board in BOARDS})
    return made | {f"dashboards/kibana/boards/{board.uid}.ndjson": kibana.render(board) for board in BOARDS}


def _alerts(boards: Mapping[str, str]) -> dict[str, str]:
    import yaml

    from shipper.view.alerts import grafana, page

    groups = grafana.groups({uid: json.loads(text) for uid, text in boards.items()})
    text = yaml.safe_dump({"apiVersion": 1, "groups": groups}, sort_keys=False, allow_unicode=True, width=120)
    return {ALERTING: f"{grafana.HEAD}{text}", page.PATH: page.render()}


def differing(directory: Path, wanted: Mapping[str, str]) -> Iterator[str]:
    """Sorted paths of files that are missing, differ, or are in a folder of OWN and no longer generated."""
    files = (path for folder in OWN for path in (directory / folder).rglob("*") if path.is_file())
    existing = {str(path.relative_to(directory)) for path in files}
    for path in sorted(existing | set(wanted)):
        file = directory / path
        if path not in wanted or not file.is_file() or file.read_bytes() != wanted[path].encode():
            yield path


def write(file: Path, text: str | None) -> None:
    """Write ``file``, or remove it if ``text`` is None."""
    if text is None:
        file.unlink()
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    if text.startswith("#!"):
        file.chmod(0o755)
