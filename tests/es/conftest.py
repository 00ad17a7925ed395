"""Real servers for all workers, started when a test first asks: one per version, and a secured one.

A start costs as much as a hundred searches: only a test that ends, damages or configures a server takes its own.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import shipper_eslocal
from namespaces import prepare
from sharing import Servers, common, held

from shipper.deliver import client
from shipper.settings.config import Config, Elasticsearch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.es)


@contextmanager
def _prepared(version: str) -> Iterator[shipper_eslocal.Cluster]:
    with shipper_eslocal.cluster(version=version, heap="1g") as cluster:
        config = Config(elasticsearch=Elasticsearch(hosts=(cluster.url,)))
        with client.connect(config) as connection:
            prepare(connection)
        yield cluster


@pytest.fixture(scope="session")
def es9(servers: Servers) -> shipper_eslocal.Cluster:
    return servers.one("es9", partial(_prepared, "9.4.3"))


@pytest.fixture(scope="session")
def es8(servers: Servers) -> shipper_eslocal.Cluster:
    return servers.one("es8", partial(_prepared, "8.19.21"))


@contextmanager
def _secured() -> Iterator[shipper_eslocal.Cluster]:
    with shipper_eslocal.cluster(version="9.4.3", security=True) as cluster:
        _await_roles(cluster)
        yield cluster


@pytest.fixture
def secure(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[shipper_eslocal.Cluster]:
    """With TLS, passwords and API keys. One test at a time: its roles are those of the whole server."""
    with held(common(tmp_path_factory) / "secure.turn"):
        yield servers.one("secure", _secured)


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
    """A name of the test's own: other tests use the server at the same time."""
    return f"t{secrets.token_hex(4)}"
