"""Templates for the namespaces of tests: installed once for all of a server, as each set-up costs it a second or two.

Those that a test sets up itself, or puts in their place, have a higher priority. A server would let them be removed,
though a stream has documents: tests of the removal need a server without templates for all namespaces.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import shipper_eslocal

from shipper.deliver.client import Connection, call, connect
from shipper.schema.templates import PRIORITY
from shipper.server import setup
from shipper.settings.config import Config, Elasticsearch, Index

_MODEL: Final = "model"
_BELOW: Final = 10
# Of a template as the server returns it; the others are the server's, such as its date
_OWN: Final = ("composed_of", "data_stream", "template", "_meta")


def prepare(connection: Connection, layout: str = "datastream") -> None:
    """Have documents of every namespace stored in streams or indices as ``shipper setup`` has them made."""
    prepared = f"/_index_template/prepared-{layout}"  # last: with it all others are there
    if call(connection, "GET", prepared) is None:
        index = Index(layout=layout, namespace=_MODEL, replicas=0)
        setup.install(connection, Config(index=index), lambda _line: None)
        if layout == "datastream":
            _widen(connection)
        call(connection, "PUT", prepared, {"index_patterns": [f"prepared-{layout}"]})


def _widen(connection: Connection) -> None:
    for found in call(connection, "GET", f"/_index_template/metrics-shipper.*-{_MODEL}")["index_templates"]:
        kind = found["name"].removesuffix(f"-{_MODEL}")
        _put(connection, _shared(kind), found, f"{kind}-*")


def _shared(kind: str) -> str:
    """The name of the template for streams of ``kind``, such as ``metrics-shipper.host``, in every namespace."""
    return f"any-{kind}"


def fresh(url: str) -> str:
    """A new namespace for an agent, which asks for one of the templates by its name before it sends."""
    namespace = f"t{secrets.token_hex(4)}"
    kind, name = "metrics-shipper.host", f"metrics-shipper.host-{namespace}"
    with connect(Config(elasticsearch=Elasticsearch(hosts=(url,)))) as connection:
        prepare(connection)
        (found,) = call(connection, "GET", f"/_index_template/{_shared(kind)}")["index_templates"]
        _put(connection, name, found, name, priority=PRIORITY)
    return namespace


def _put(connection: Connection, name: str, found: Any, pattern: str, priority: int = _BELOW) -> None:
    body = {key: value for key, value in found["index_template"].items() if key in _OWN}
    body |= {"index_patterns": [pattern], "priority": priority}
    call(connection, "PUT", f"/_index_template/{name}", body)


def own_template(es: shipper_eslocal.Cluster, dataset: str, namespace: str, settings: Mapping[str, Any]) -> None:
    """Have the stream of ``namespace`` made with ``settings`` beside those of the common template."""
    kind = f"metrics-shipper.{dataset}"
    body = es.request("GET", f"/_index_template/{_shared(kind)}")["index_templates"][0]["index_template"]
    template = body.get("template", {})
    own = {
        **{key: body[key] for key in ("composed_of", "data_stream")},
        "index_patterns": [f"{kind}-{namespace}"],
        "priority": 900,
        "template": {**template, "settings": {**template.get("settings", {}), **settings}},
    }
    es.request("PUT", f"/_index_template/own-{dataset}-{namespace}", own)
