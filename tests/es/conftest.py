"""Real servers shared by all tests of this folder, started when a test first asks: one per version, one secured.

A start costs as much as a hundred searches: only a test that ends, damages or configures a server takes its own.
"""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import shipper_eslocal


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.es)


@pytest.fixture(scope="session")
def es9() -> Iterator[shipper_eslocal.Cluster]:
    with shipper_eslocal.cluster(version="9.4.3", heap="1g") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def es8() -> Iterator[shipper_eslocal.Cluster]:
    with shipper_eslocal.cluster(version="8.19.21", heap="1g") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def secure() -> Iterator[shipper_eslocal.Cluster]:
    """With TLS, passwords and API keys."""
    with shipper_eslocal.cluster(version="9.4.3", security=True) as cluster:
        _await_roles(cluster)
        yield cluster


def _await_roles(cluster: shipper_eslocal.Cluster) -> None:
    """The first role makes the index of roles and keys, which the server refuses to read until its shard is there."""
    deadline = time.monotonic() + 120
    while True:
        try:
            cluster.request("PUT", "/_security/role/first", {"cluster": ["monitor"]})
            cluster.request("GET", "/_security/role/first")
        except shipper_eslocal.Error:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return


@pytest.fixture(scope="module", params=["es9", "es8"])
def es(request: pytest.FixtureRequest) -> shipper_eslocal.Cluster:
    """Each test that takes this runs against both versions."""
    cluster: shipper_eslocal.Cluster = request.getfixturevalue(request.param)
    return cluster


@pytest.fixture
def namespace() -> str:
    """A name of the test's own: these servers have no way to delete a data stream or the template it uses."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture
def clean_es(es: shipper_eslocal.Cluster) -> shipper_eslocal.Cluster:
    """The server without any plain index. Data streams stay: keep them apart by `namespace`."""
    es.request("DELETE", "/*?expand_wildcards=open,closed")
    return es
