"""Old days of the dated layout, deleted by name; nothing else is touched."""

from datetime import date

import pytest
import shipper_eslocal

from shipper.deliver import client
from shipper.server import setup
from shipper.settings.config import Config, Elasticsearch, Index

KEPT = ["shipper-host-2026.11.10", "shipper-host-2026.11.24", "shipper-other-2020.01.01", "shipper-host-2026.13.01x"]
OLD = ["shipper-host-2026.11.09", "shipper-cgroup-2020.02.29"]


def test_only_our_own_days_before_the_retention_are_deleted(es: shipper_eslocal.Cluster) -> None:
    for name in (*KEPT, *OLD):
        es.request("PUT", f"/{name}", {"settings": {"index.number_of_replicas": 0}})
    config = Config(elasticsearch=Elasticsearch(hosts=(es.url,)), index=Index(layout="dated", retention_days=14))
    said: list[str] = []
    with client.connect(config) as connection:
        setup.delete_old(connection, config, date(2026, 11, 24), said.append)
    left = {one["name"] for one in es.request("GET", "/_resolve/index/shipper-*")["indices"]}
    assert left & {*KEPT, *OLD} == {*KEPT}
    assert sorted(said) == sorted(f"deleted    {name}" for name in OLD)


@pytest.mark.parametrize("index", [Index(), Index(layout="dated", retention_days=0)])
def test_nothing_is_deleted_where_the_server_keeps_time_or_nobody_does(
    es: shipper_eslocal.Cluster, index: Index
) -> None:
    config = Config(elasticsearch=Elasticsearch(hosts=(es.url,)), index=index)
    said: list[str] = []
    with client.connect(config) as connection:
        es.request("PUT", "/shipper-host-2001.01.01", {"settings": {"index.number_of_replicas": 0}})
        setup.delete_old(connection, config, date(2026, 11, 24), said.append)
    assert es.request("GET", "/_resolve/index/shipper-host-2001*")["indices"]
    es.request("DELETE", "/shipper-host-2001.01.01")
    assert len(said) == 1
