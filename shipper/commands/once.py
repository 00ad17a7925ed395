"""``shipper once``: read twice and print the documents; no server, no spool."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shipper.base.errors import UserError
from shipper.base.text import suggestion
from shipper.settings.config import Config

if TYPE_CHECKING:
    from shipper.agent.tick import HostIdentity
    from shipper.collect.provenance import Provenance
    from shipper.deliver.segment import Entry
    from shipper.kernel.source import Root

SECTIONS = ("collect", "host")
EXAMPLES = {
    "once --dataset host": "the documents of the host",
    "once --explain system.memory.actual.used.pct": "the kernel file and line of a value",
    "once --period 1s | head -1": "read for one second; print the first document",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from shipper.schema.datasets import DATASETS

    parser.add_argument("--dataset", choices=list(DATASETS), help="print only documents of this dataset")
    parser.add_argument(
        "--explain",
        metavar="FIELD",
        help="print the kernel file and line that this field's value comes from, instead of documents",
    )


def run(args: argparse.Namespace, config: Config) -> int:
    from shipper.agent.loop import host
    from shipper.collect.explain import TracedRoot
    from shipper.collect.provenance import Provenance

    datasets = _datasets(args.dataset, args.explain)
    if datasets:
        config = replace(config, collect=replace(config.collect, datasets=datasets))
    root, identity = host(config)
    if not args.explain:
        for entry in _documents(config, root, identity):
            sys.stdout.buffer.write(entry.document + b"\n")
        return 0
    traced = TracedRoot(root)
    entries = _documents(config, traced, identity)
    config = replace(config, spool=replace(config.spool, directory=""))
    return _explain(args.explain, entries, Provenance(root, config, traced.reads))


def _datasets(dataset: str | None, field: str | None) -> tuple[str, ...]:
    """The datasets to read; empty for all that are configured."""
    from shipper.fields import dynamic
    from shipper.fields.dataset import METRIC
    from shipper.schema.datasets import DATASETS, every_field

    if not field:
        return (dataset,) if dataset else ()
    if dynamic.leaf(field):
        return (METRIC,)
    having = tuple(
        dataset.name for dataset in DATASETS.values() if field in {declared.name for declared in dataset.fields}
    )
    if not having:
        close = suggestion(field, {declared.name for _, declared in every_field()})
        raise UserError(f'no field "{field}"{close or "; run shipper fields to list them"}')
    return (dataset,) if dataset in having else having


def _documents(config: Config, root: "Root", identity: "HostIdentity") -> "list[Entry]":
    from shipper.agent.self_metrics import Report, SelfMetrics
    from shipper.agent.tick import Ticker

    ticker = Ticker(config, root, identity, SelfMetrics(None, None))
    ticker.prime()
    if sys.stderr.isatty():
        print(f"reading again in {config.collect.period_s} s …", file=sys.stderr)
    time.sleep(config.collect.period_s)
    report = Report(period_ms=config.collect.period_s * 1000, ticks=1)
    entries = ticker.tick(time.time_ns() // 1_000_000, report)
    for name, error in report.failed.items():
        print(f"shipper: collector {name} failed: {error}", file=sys.stderr)
    return entries


def _explain(field: str, entries: "list[Entry]", provenance: "Provenance") -> int:
    from shipper.collect.explain import Explainer
    from shipper.deliver.document import flat
    from shipper.fields import dynamic
    from shipper.schema.datasets import DATASETS

    explained = False
    for entry in entries:
        values = flat(json.loads(entry.document))
        fields = {
            declared.name: declared for declared in DATASETS[values["event.dataset"].removeprefix("shipper.")].fields
        }
        if field in values and dynamic.leaf(field):
            explained = True
            print("\n".join(_of_source(field, values)))
        elif field in values:
            explained = True
            print("\n".join(Explainer(values, fields, provenance).lines(field)))
    if not explained:
        raise UserError(f"{field} is absent here: {_source(field)}")
    return 0


def _of_source(field: str, values: dict[str, Any]) -> Iterator[str]:
    """Where a number of the user came from: its source and its labels."""
    yield f"{field} = {values[field]}"
    yield f'  from source "{values["metricset.name"]}" of [[metrics]]'
    yield from (f"  {name} = {value}" for name, value in values.items() if name.startswith(("attributes.", "cgroup.")))


def _source(field: str) -> str:
    from shipper.schema.datasets import every_field

    sources = (declared.source for _, declared in every_field() if declared.name == field)
    return next(sources, "no source of [[metrics]] gave it")
