"""Installing the alert rules in Grafana or Kibana over the HTTP API; rules that do not differ are left alone.

Grafana: https://grafana.com/docs/grafana/latest/developers/http_api/alerting_provisioning/
Kibana: https://www.elastic.co/docs/api/doc/kibana/group/endpoint-alerting
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from shipper.base.errors import UserError
from shipper.view.alerts import grafana, kibana
from shipper.view.alerts.adjust import Adjustments
from shipper.view.alerts.model import Rule
from shipper.view.alerts.rules import RULES, SUBJECTS
from shipper.view.dashboards.publish import Site, boards

_FOLDER: Final = "shipper-alerts"
_MISSING: Final = 404
_EDITABLE: Final = {"X-Disable-Provenance": "true"}  # so that people may pause and change the rules
_XSRF: Final = {"kbn-xsrf": "shipper"}
_FIXED: Final = ("rule_type_id", "consumer", "enabled")  # not part of an update


def adjusted(rules: tuple[Rule, ...], adjustments: Adjustments) -> tuple[Rule, ...]:
    """``rules`` with the thresholds that apply to all entities, without those that are always muted for all entities.

    For the rest, Grafana and Kibana have their own silences and notification policies.
    """
    return tuple(
        replace(rule, own_steps=adjustments.steps(rule, {}))
        for rule in rules
        if not any(one.until_ms is None and one.scope.holds(rule, {}) for one in adjustments.mute)
    )


def into_grafana(site: Site, adjustments: Adjustments) -> Iterator[str]:
    """Create or update the rule groups in their own folder; yields what was done to each."""
    if site.send("GET", f"/api/folders/{_FOLDER}", unless=_MISSING) is None:
        site.send("POST", "/api/folders", json={"uid": _FOLDER, "title": grafana.FOLDER})
    drawn = {uid: json.loads(text) for uid, text in boards("grafana")}
    subjects = {subject: adjusted(rules, adjustments) for subject, rules in SUBJECTS.items()}
    for group in grafana.groups(drawn, _source(site), subjects):
        path = f"/api/v1/provisioning/folder/{_FOLDER}/rule-groups/{_quoted(group['name'])}"
        wanted = _as_sent(group)
        found = site.send("GET", path, unless=_MISSING)
        if found is not None and _includes(found, wanted):
            yield f"unchanged  {group['name']}"
            continue
        site.send("PUT", path, json=wanted, headers=_EDITABLE)
        yield f"{'created' if found is None else 'updated'}    {group['name']}: {len(group['rules'])} rules"


def _source(site: Site) -> str:
    """Uid of the data source: ours, else the only one for Elasticsearch."""
    found = [one for one in site.send("GET", "/api/datasources") if one.get("type") == "elasticsearch"]
    uids = [one["uid"] for one in found]
    if grafana.SOURCE in uids:
        return grafana.SOURCE
    if len(uids) == 1:
        return str(uids[0])
    raise UserError(
        f"{site.url}: {len(uids)} Elasticsearch data sources, none with the uid {grafana.SOURCE}; "
        "see dashboards/grafana/provisioning/datasources"
    )


def _quoted(name: str) -> str:
    return name.replace(",", "%2C").replace(" ", "%20")


def _as_sent(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group as the API has it: seconds, and the panel among the annotations."""
    rules = []
    for rule in group["rules"]:
        panel = {"__dashboardUid__": rule["dashboardUid"], "__panelId__": str(rule["panelId"])}
        kept = {name: value for name, value in rule.items() if name not in ("dashboardUid", "panelId")}
        place = {"folderUID": _FOLDER, "ruleGroup": group["name"], "orgID": group["orgId"]}
        rules.append({**kept, **place, "annotations": {**rule["annotations"], **panel}})
    return {"title": group["name"], "folderUid": _FOLDER, "interval": grafana.INTERVAL_S, "rules": rules}


def into_kibana(site: Site, adjustments: Adjustments, space: str = "", namespace: str = "*") -> Iterator[str]:
    """Create or update the rules in ``space``; yields how many, and which cannot be made for this version."""
    base = f"/s/{space}" if space else ""
    version = _version(site, base)
    done = {"created": 0, "updated": 0, "unchanged": 0}
    named = set()
    for id_, body in kibana.rules(adjusted(RULES, adjustments), version, namespace):
        path = f"{base}/api/alerting/rule/{id_}"
        named.add(body["tags"][2])
        found = site.send("GET", path, unless=_MISSING)
        update = {name: value for name, value in body.items() if name not in _FIXED}
        if found is None:
            site.send("POST", path, json=body, headers=_XSRF)
            done["created"] += 1
        elif _includes(found, {name: value for name, value in update.items() if name != "actions"}):
            done["unchanged"] += 1
        else:  # the actions are the operator's
            site.send("PUT", path, json={**update, "actions": found.get("actions", [])}, headers=_XSRF)
            done["updated"] += 1
    yield f"{site.url.rstrip('/')}{base}: " + ", ".join(f"{number} {what}" for what, number in done.items() if number)
    if left_out := [rule.name for rule in RULES if grafana.suits(rule) and rule.name not in named]:
        yield f"left out, because Kibana {'.'.join(map(str, version))} cannot judge them: {', '.join(left_out)}"


def _version(site: Site, base: str) -> tuple[int, ...]:
    number = (site.send("GET", f"{base}/api/status") or {}).get("version", {}).get("number", "")
    try:
        return tuple(int(part) for part in number.partition("-")[0].split("."))
    except ValueError:
        raise UserError(f"{site.url}: gave no version; check that this is a Kibana") from None


def _includes(found: Any, wanted: Any) -> bool:
    """Whether ``found`` has everything of ``wanted``; servers add fields of their own."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            name in found and _includes(found[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(_includes, found, wanted))
    return bool(found == wanted)
