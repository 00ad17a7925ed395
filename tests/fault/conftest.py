"""One real server for all fault tests; each test has a namespace of its own, with its templates."""

import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
from fault.line import DATASETS, Line, configured
from fault.proxy import Proxy, proxy

from shipper.deliver import client
from shipper.server import setup
from shipper.settings.config import Config, Elasticsearch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.es)


# Of a template as the server returns it; the others are the server's, such as its date
_OWN = ("composed_of", "data_stream", "priority", "template", "_meta")


@pytest.fixture(scope="session")
def es() -> Iterator[shipper_eslocal.Cluster]:
    """Set up by the product for the namespace ``default``."""
    with shipper_eslocal.cluster() as cluster:
        config = Config(elasticsearch=Elasticsearch(hosts=(cluster.url,)))
        with client.connect(config) as connection:
            setup.install(connection, config, lambda _line: None)
        yield cluster


@pytest.fixture
def namespace(es: shipper_eslocal.Cluster) -> str:
    """A namespace of the test's own, with copies of the templates that its datasets need."""
    name = f"t{secrets.token_hex(4)}"
    for dataset in DATASETS:
        for kind in ("", ".late"):
            template = f"metrics-shipper.{dataset}{kind}-{{}}"
            (found,) = es.request("GET", f"/_index_template/{template.format('default')}")["index_templates"]
            body = {key: value for key, value in found["index_template"].items() if key in _OWN}
            body["index_patterns"] = [template.format(name)]
            es.request("PUT", f"/_index_template/{template.format(name)}", body)
    return name


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
