"""One real server for all workers; each test has a namespace of its own."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
from fault.line import Line, configured
from fault.proxy import Proxy, proxy
from namespaces import fresh
from sharing import Servers, common, held


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.es)


@pytest.fixture(scope="session")
def es(servers: Servers) -> shipper_eslocal.Cluster:
    return servers.one("es", shipper_eslocal.cluster)


@pytest.fixture(autouse=True)
def _turn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test runs beside one with the marker ``alone``."""
    alone = request.node.get_closest_marker("alone")
    with held(common(tmp_path_factory) / "es.turn", shared=not alone):
        yield


@pytest.fixture
def namespace(es: shipper_eslocal.Cluster) -> str:
    """A namespace of the test's own, in which an agent may store."""
    return fresh(es.url)


@pytest.fixture
def between(es: shipper_eslocal.Cluster) -> Iterator[Proxy]:
    """The proxy before the server."""
    with proxy(es.url) as one:
        yield one


@pytest.fixture
def make(namespace: str, tmp_path: Path) -> Iterator[Callable[..., Line]]:
    """A line to a server's address; again on the same spool when the one before is closed."""
    with ExitStack() as stack:

        def line(url: str, directory: Path = tmp_path / "spool", **changes: Any) -> Line:
            one = Line(configured(url, namespace, directory, **changes))
            stack.callback(one.link.close)
            return one

        yield line


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 1 MiB."""
    directory = tmp_path / "small"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
