"""Reference texts generated from fields and options: mappings/README.md and the commented sample file."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from shipper.collect import OPTIONS
from shipper.fields import metricbeat
from shipper.fields.field import Alias, Field
from shipper.fields.heritage import HERITAGE
from shipper.fields.lean import leaves_out
from shipper.schema.datasets import DATASETS, ENVELOPE, Dataset
from shipper.settings import sources
from shipper.settings.config import DEFAULT_FILE, SECRET_VARIABLES, SECTIONS, all_options
from shipper.settings.options import Option, quoted

_INTRO = """\
# Indices and fields

Everything in this folder is made by `shipper render` from the fields declared beside the collectors; do not edit it.
`shipper setup` installs the templates; `shipper setup --print` shows every request. `shipper fields WORD` searches the
tables; `shipper fields NAME` also prints the lines of code that declare and read a field, and the panels that use it.

One document holds everything that is known about one entity at one tick. The dimensions of its dataset and `@timestamp` identify it.
Fields of kind `name` never change within a series. From Elasticsearch 8.13 they are dimensions too, so that PromQL, `TS` and
Discover can group by them. Keys of `index.label_fields` become such fields, `host.labels.KEY`.

| layout (`[index] layout`) | indices | templates |
|---|---|---|
| `datastream`, the default | time series data streams `metrics-shipper.<dataset>-<namespace>`; documents older than such a stream accepts go to the plain stream `metrics-shipper.<dataset>.late-<namespace>` | have the same names |
| `dated` | plain indices `shipper-<dataset>-YYYY.MM.DD`, by the day of the document's `@timestamp` in UTC | `shipper-<dataset>` |

Your own settings and fields belong in the component template `metrics-shipper@custom`, which overrides ours. `shipper setup`
creates it empty if it is absent, and never overwrites it. For example, two replicas:

<!-- test: custom -->
```sh
curl -X PUT http://127.0.0.1:9200/_component_template/metrics-shipper@custom -H 'content-type: application/json' \\
  -d '{"template": {"settings": {"index.number_of_replicas": 2}}}'
```

Run `shipper setup` again to apply it to existing data streams; changes that need a new backing index also need `--rollover`.

An absent field could not be read, which is not the same as zero. With `collect.detail = "lean"` documents leave out the fields
that are marked *absent* in the column *lean*; the agent's documents say so in `agent.detail`. `pct` is a fraction: 1 means 100 %. `cores` is CPU time per
second, in CPUs. A counter only grows until its source restarts; the next row is its rate.
"""  # noqa: E501

_OTHER_NAMES = """\
Aliases, for searches only: Kibana's own Infrastructure pages look for the fields under these names. No document
contains them.\
"""

_HERITAGE = """\
## From Diamond

Every metric of the twelve Diamond collectors of the 2014 set-up, and the field that replaces it. A name in <angle
brackets> is a dimension of the document here.

"""

_METRICBEAT = """\
## From Metricbeat

Names of Metricbeat that have the same meaning and unit as a field here under another name. With `[index] aliases =
["metricbeat"]`, searches may use them. The other names of its modules `system` and `docker` that this page has are
the same there.

"""


def mappings_readme() -> str:
    """The text of mappings/README.md: layouts, fields of every dataset, and names of other collectors for them."""
    envelope = {field.name for field in ENVELOPE}
    parts = [_INTRO, "## On every document\n\n" + _field_table(ENVELOPE)]
    for dataset in DATASETS.values():
        own = [field for field in dataset.fields if field.name not in envelope]
        parts.append(f"## {dataset.name}\n\n{_about(dataset)}\n\n{_field_table(own)}")
        if dataset.aliases:
            parts.append(f"{_OTHER_NAMES}\n\n{_alias_table(dataset.aliases)}")
    return "\n".join([*parts, _METRICBEAT + _metricbeat_table(), _HERITAGE + _heritage_table()])


def _heritage_table() -> str:
    rows = (
        (f"`{successor.metric}`", f"`{successor.field}`", successor.dataset, successor.note) for successor in HERITAGE
    )
    return markdown(("Diamond, below `servers.<host>.`", "here", "dataset", "difference"), rows)


def _metricbeat_table() -> str:
    rows = (
        (f"`{alias.name}`", f"`{alias.target}`", dataset)
        for dataset in DATASETS
        for alias in metricbeat.aliases(dataset)
    )
    return markdown(("Metricbeat", "here", "dataset"), rows)


def _about(dataset: Dataset) -> str:
    dimensions = ", ".join(f"`{name}`" for name in dataset.dimensions)
    default = "" if dataset.default else " Off by default."
    return f"{dataset.cadence} {dataset.help}. Identified by {dimensions} and `@timestamp`.{default}"


def _field_table(fields: Iterable[Field]) -> str:
    rows = (
        (
            *(f"`{field.name}`", field.type, field.kind, field.unit, "absent" if leaves_out(field) else ""),
            *(field.help, field.source, _code(field)),
        )
        for field in fields
    )
    return markdown(("field", "type", "kind", "unit", "lean", "meaning", "source", "code"), rows)


def _code(field: Field) -> str:
    """A link to the file that declares and reads the field."""
    path = field.declared.path
    return f"[{PurePath(path).stem}](../{path})"


def _alias_table(aliases: Iterable[Alias]) -> str:
    return markdown(
        ("alias", "field", "meaning"), ((f"`{alias.name}`", f"`{alias.target}`", alias.help) for alias in aliases)
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def sample() -> str:
    """The sample file: every option with its default as a comment. Remove a ``#`` without a space to set one."""
    return "\n".join(_sample_lines()) + "\n"


def _sample_lines() -> Iterator[str]:
    yield f"# Sample of {DEFAULT_FILE}, made by `shipper render`. Values shown are the defaults; uncomment to change."
    yield "# Every option can also be set as variable SHIPPER_<SECTION>_<KEY> or as flag --section-key. Flags override"
    yield "# variables, and variables override this file."
    yield "# API key, password and token come from the files named here, from the systemd credentials"
    yield "# elasticsearch-api-key and elasticsearch-password, or from the variables"
    yield f"# {', '.join(SECRET_VARIABLES)}."
    for section, kind in SECTIONS.items():
        yield f"\n# {' '.join((kind.__doc__ or '').split())}\n[{section}]"
        for option in all_options(OPTIONS):
            if option.section == section:
                yield from _sample_option(option)
    yield from _sample_sources()


def _sample_sources() -> Iterator[str]:
    """A table for each type of source; the options that all have stand in the first."""
    yield "\n# The user's own numbers: one table for each source (docs/own-metrics.md), without variables and flags."
    told: set[str] = set()
    for type_, kind in sources.TYPES.items():
        yield f"\n# {' '.join((kind.__doc__ or '').split())}\n#[[{sources.TABLE}]]\n#type = {quoted(type_)}"
        for key, option in sources.source_options(kind).items():
            if key not in told or key == "name":
                yield from _sample_option(option)
            told |= {key} if hasattr(sources.Source, option.attribute) else set()


def _sample_option(option: Option) -> Iterator[str]:
    yield f"# {option.help}. Value: {option.kind.allowed}."
    if option.default is None:
        yield f"# {option.key} ="
        return
    line = f"{option.key} = {option.kind.show(option.default)}"
    width = 118
    yield from (
        f"#{part}" for part in (textwrap.wrap(line, width, subsequent_indent="  ") if len(line) > width else [line])
    )
