"""The page of the docs that describes every rule."""

import json
from collections.abc import Iterator
from typing import Any, Final

from shipper.settings.options import shown_duration
from shipper.view.alerts.grafana import suits
from shipper.view.alerts.judge import suspects
from shipper.view.alerts.model import OWN, Measure, Rule
from shipper.view.alerts.rules import RULES, SUBJECTS
from shipper.view.dashboards.model import TIME

PATH: Final = "docs/alerts.md"
_NOW: Final = 1_000_000_000_000_000  # replaced by "now"
_ANY: Final = 1e-6  # a rate of any event
_HOW: Final = {
    Measure.AVG: "The mean of `{field}` over {window}",
    Measure.MIN: "The lowest `{field}` of {window}",
    Measure.MAX: "The highest `{field}` of {window}",
    Measure.COUNT: "Documents of the last {window} that match `{where}`",
    Measure.GROWTH: "The growth of `{field}` in {window}",
    Measure.UNIQUE: "Different values of `{field}` in {window}",
    Measure.SILENCE: "Time since the newest document of a host that sent any in the last {window}",
    Measure.GONE: "Time from a container's newest document, within the last {window}, to that of its host",
    Measure.FULL_IN: "Time until the filesystem is full, at its growth in the last {window}",
    Measure.TREND: "Time until `{field}` is 1, by its steady growth in the last {window}",
}
_HEAD: Final = """# Alert rules

<!-- made by shipper render from shipper/view/alerts/rules; do not edit -->

`shipper alerts check` judges these {number} rules against Elasticsearch, from any machine that can reach the
server. The command needs only the privilege `read`. The exit status is that of a monitoring plugin: 0 OK, 1 warning,
2 critical, 3 unknown. `--json` prints everything for programs; `--at 2026-11-23T02:00` judges the past; `--watch`
repeats the check and sends what changes to a Prometheus Alertmanager (`--alertmanager`), or to people
(`--notify-file`, with the extra `notify`, by [apprise](https://github.com/caronc/apprise)). Each number is judged over
a window of time, so that a check does not depend on earlier checks.

Your thresholds and exceptions are in `/etc/shipper/alerts.toml`, or in the file that `--rules` names:

```toml
[[adjust]]                                # of the tables that apply to an alert, the last one decides
rules = ["host-cpu", "container-*"]       # names or globs
where = {{"labels.role" = "batch"}}         # fields of the entity's documents; all must match; values are globs
warning = 0.98
critical = 1.0

[[mute]]
rules = ["*"]
where = {{"host.name" = "ci-*"}}
until = 2027-01-01T00:00:00Z              # optional

[[rule]]                                  # a rule of yours about metrics of your own: docs/own-metrics.md
name = "queue-long"
field = "metric.queue_length"
measure = "max"                           # avg (default), min or max over the window
window = "10m"
warning = 100                             # from this value on; with falling = true, from this value down
critical = 1000                           # optional, as warning is
per = ["host.name", "attributes.queue"]   # one alert for each; default: host and source
where = {{"metricset.name" = "queue"}}      # optional
```

For Grafana the same rules are in `dashboards/grafana/alerting`, and `shipper alerts install --grafana URL` installs
them; for Kibana: `shipper alerts install --kibana URL`. Grafana and Kibana do not judge notices, `container-gone` and
rules about steady growth, do not classify a silence, and name no containers and processes; their alerts link to a panel
that shows them. Each alert has the command that explains it, such as `shipper why node-3 --at 2026-11-23T02:10:00`:
with the time in the JSON and in an Alertmanager, without it in Grafana's annotation `explain`. Kibana from 9.2 has the
command in the rule's investigation guide.

Growth is steady if the median slope of the hourly means (Theil–Sen, as in `shipper forecast`) exceeds 0.2 % a day, and
the means scatter little around it; what does not grow, or too irregularly, has no alert.

A rule fires when its value reaches the threshold. If the value is a mean, or the lowest value of the window, entities
that are younger than half of the window are not judged. Sources: NM is the mixin of node_exporter, KM the mixin of
Kubernetes, APA awesome-prometheus-alerts, Elastic the rule templates of Elastic's system package.
"""
_TAIL: Final = """## Proven by real faults

The tests cause each of these faults on a real machine. The real collectors read the machine, and a real Elasticsearch
stores the documents. The rule fires for the entity within its window, and clears when the fault is gone.

| fault | rules |
|---|---|
| filesystem on a loop device filled | `filesystem-full` |
| its inodes used up | `filesystem-inodes` |
| remounted read-only | `filesystem-read-only` |
| docker container holds 58 of 64 MiB | `container-memory` |
| docker container allocates more than its limit | `container-oom`, `host-oom` |
| docker container needs more CPU than its quota, a tenth of a CPU | `container-throttled` |
| docker container runs 15 of 16 tasks | `container-tasks` |
| docker container restarted repeatedly | `service-crash-loop` |
| health check of a docker container fails | `container-unhealthy` |
| docker container recreated from another image | `container-image-changed` |
| docker container stopped | `container-gone` |
| agent killed; agent stopped | `host-silent`: down; `host-silent`: stopped |
| two of three hosts lose the server, and come back | `host-silent`: cut off; afterwards nothing is missing |
| spool full | `shipper-dropped` |
| two agents with one name | `shipper-twins` |
| unit failed on a booted node | `host-units-failed` |
| RAID array with a failed disk (the files of the array are simulated) | `raid-failed`, `raid-missing` |
| clock 80 ms off (the answer of adjtimex(2) is simulated) | `host-clock-offset` |

All other rules fire for documents that reach their threshold, in `shipper alerts check` and in the queries of Grafana
and Kibana, on a real Elasticsearch.

On a quiet day – 24 hours of 50 hosts with short bursts of CPU, memory and I/O, a deployment, a reboot, a short-lived
task, a host that skips two ticks, and a full read-only image – no rule fires: 0 alerts, judged at three moments.
"""


def render() -> str:
    """The page as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD.format(number=len(RULES))
    for subject, rules in SUBJECTS.items():
        yield f"## {subject}\n"
        yield "| rule | warning | critical | window | source |"
        yield "|---|---|---|---|---|"
        for rule in rules:
            warning, critical = bounds(rule)
            window = shown_duration(rule.window_s)
            yield f"| [{rule.name}](#{rule.name}) | {warning} | {critical} | {window} | {rule.source} |"
        yield ""
        for rule in rules:
            yield from _rule(rule)
    yield _TAIL.rstrip()


def bounds(rule: Rule) -> tuple[str, str]:
    """The thresholds for warning and critical, for people; a dash if there is none."""
    steps, dash = rule.steps, "–"
    if rule.notice:
        return "notice", dash
    if rule.flag:
        return ("yes", dash) if rule.mild else (dash, "yes")
    warning, critical = _bound(rule, steps.warning), _bound(rule, steps.bad)
    if rule.mild:
        return warning, dash
    return dash if warning == critical else warning, critical


def _bound(rule: Rule, bound: float) -> str:
    if bound < _ANY:
        return "any"
    return f"{'≤' if rule.steps.falling else '≥'} {rule.shown(bound)}"


def _rule(rule: Rule) -> Iterator[str]:
    warning, critical = bounds(rule)
    where = " and ".join(test.field for test in rule.where)
    how = _HOW[rule.measure].format(field=rule.field, window=shown_duration(rule.window_s), where=where)
    yield f"### {rule.name}\n"
    yield f"**{rule.title}.** {rule.means}\n"
    yield f"- What to do first: {rule.first}"
    per = ", ".join(f"`{name}`" for name in rule.per)
    yield f"- Judged: {how}, per {per}; warning: {warning}, critical: {critical}."
    yield f"- Board: `{rule.board}`{'' if suits(rule) else '; not in Grafana and Kibana'}\n"
    if rule.measure not in OWN:
        yield f"```text\nGET metrics-shipper.{rule.dataset}*/_search\n{_query(rule)}\n```\n"


def _query(rule: Rule) -> str:
    """The search for entities with any document that reaches the threshold, up to now."""
    body: dict[str, Any] = suspects(rule, _NOW, rule.steps.warning)
    first, *filters = body["query"]["bool"]["filter"]
    assert TIME in first["range"]
    since = {"range": {TIME: {"gte": f"now-{shown_duration(rule.window_s)}"}}}
    query = {"query": {"bool": {"filter": [since, *filters]}}}
    return json.dumps(query | {"sort": [{TIME: "desc"}]}, ensure_ascii=False)
