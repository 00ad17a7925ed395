"""Real servers shared by all tests of this folder: one per major version, started when a test first asks."""

import secrets
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
    with shipper_eslocal.cluster(version="9.4.3") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def es8() -> Iterator[shipper_eslocal.Cluster]:
    with shipper_eslocal.cluster(version="8.19.21") as cluster:
        yield cluster


@pytest.fixture(params=["es9", "es8"])
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
