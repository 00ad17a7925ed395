"""`index.aliases`: searches by Metricbeat's names find the numbers of our fields."""

import pytest
import shipper_eslocal
from fleetdocs import Fleet
from fleetload import load, set_up

from shipper import cli
from shipper.fields import metricbeat
from shipper.schema.datasets import DATASETS

# As Metricbeat's dashboards ask: a mean per host, a maximum per device, the containers that use most
ASKED = {
    "host": ("host.name", "avg", "host.cpu.usage"),
    "disk": ("system.diskio.name", "max", "system.diskio.iostat.read.per_sec.bytes"),
    "cgroup": ("container.name", "max", "docker.memory.rss.total"),
}


def test_each_alias_leads_to_a_field_of_its_dataset() -> None:
    for dataset in DATASETS.values():
        fields = {field.name for field in dataset.fields}
        theirs = list(metricbeat.aliases(dataset.name))
        assert {alias.target for alias in theirs} <= fields
        names = [alias.name for alias in (*theirs, *dataset.aliases)]
        assert len(set(names)) == len(names)
        assert not fields & set(names)


def mapping(es: shipper_eslocal.Cluster, namespace: str) -> str:
    return str(es.request("GET", f"/_index_template/metrics-shipper.host-{namespace}"))


def test_metricbeats_names_find_our_numbers(es: shipper_eslocal.Cluster, namespace: str) -> None:
    set_up([es.url], namespace)
    load([es.url], Fleet(hosts=2, containers=2, ticks=4, period_s=10, namespace=namespace), workers=1)
    words = ["setup", "--elasticsearch-hosts", es.url, "--index-namespace", namespace, "--index-replicas", "0"]
    assert cli.main([*words, "--aliases", "metricbeat"]) == 0
    targets = {alias.name: alias.target for name in ASKED for alias in metricbeat.aliases(name)}
    for dataset, (by, measure, name) in ASKED.items():
        metrics = {one: {measure: {"field": one}} for one in (name, targets[name])}
        body = {"size": 0, "aggs": {"by": {"terms": {"field": by}, "aggs": metrics}}}
        answer = es.request("POST", f"/metrics-shipper.{dataset}-{namespace}/_search", body)
        found = [(one[name]["value"], one[targets[name]]["value"]) for one in answer["aggregations"]["by"]["buckets"]]
        assert found and all(theirs == ours is not None for theirs, ours in found), dataset
    assert "'usage'" in mapping(es, namespace)
    assert cli.main([*words, "--yes"]) == 0
    assert "'usage'" not in mapping(es, namespace)


@pytest.mark.parametrize("layout", ["datastream", "dated"])
def test_an_unknown_collector_is_refused(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["setup", "--index-layout", layout, "--aliases", "telegraf"]) == 2
    assert "metricbeat" in capsys.readouterr().err
