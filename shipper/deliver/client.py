"""Requests to Elasticsearch through the transport of its official client, with one clear line for each failure.

Importing the whole client takes 7 MiB more and twice the time, for hundreds of calls of which the agent needs none.
Retries, batches and back-off are the job of ``bulk``: a bulk request is sent once, to the next server that is not known
to be down, and takes at most ``timeout_s``. Other requests try the next server if one is down.
"""

import logging
import os
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from time import monotonic, time
from types import MappingProxyType
from typing import Any, Final, Self

from elastic_transport import (
    BaseNode,
    ConnectionError,  # noqa: A004
    ConnectionTimeout,
    HttpHeaders,
    Transport,
    TransportApiResponse,
    TransportError,
)
from elastic_transport.client_utils import url_to_node_config

from shipper import __version__
from shipper.base.errors import BadRequest, ConfigError, ServerError, TooLarge, Unavailable
from shipper.deliver import credentials, proxy
from shipper.deliver.bounds import asked, at_most
from shipper.deliver.connection import node_class
from shipper.deliver.connection_errors import NotElasticsearch, Refused, explain
from shipper.settings import config as configuration

_LOG: Final = logging.getLogger(__name__)
_AGENT: Final = HttpHeaders({"user-agent": f"shipper/{__version__}"}).freeze()
_PRODUCT: Final = "x-elastic-product"
_NDJSON: Final = {"accept": "application/json", "content-type": "application/x-ndjson"}
_JSON: Final = {"accept": "application/json", "content-type": "application/json"}
_TOO_LARGE: Final = 413
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_NOT_OF_THE_NODE: Final = frozenset({400, 401, 402, 403, 404, 409})  # statuses of a server that works
_HALF_S: Final = 0.5
_CLOCK_S: Final = 3600.0  # seconds between requests for the server's clock
_ANSWER: Final = (64 << 10, 4 << 10)  # size limit of a bulk response in bytes: fixed, and per document


class Connection:
    """Sends requests to Elasticsearch; it connects with the first request. Close it, or use it in a ``with`` block."""

    def __init__(self, transport: Transport, headers: Mapping[str, str]) -> None:
        self.transport = transport
        self._headers = headers
        self._known = False
        self._failed: set[BaseNode] = set()

    def perform_request(
        self, method: str, path: str, *, headers: Mapping[str, str] = MappingProxyType({}), body: Any = None
    ) -> TransportApiResponse:
        """Send one request, once. Raises TransportError, Refused (not 2xx), NotElasticsearch."""
        answer = self._ask(method, path, HttpHeaders({**self._headers, **headers}), body)
        if not 200 <= answer.meta.status < 300:  # noqa: PLR2004
            raise Refused(answer.meta.status, answer.meta.headers, answer.body)
        self._known = self._known or answer.meta.headers.get(_PRODUCT) == "Elasticsearch"
        if not self._known:
            raise NotElasticsearch
        return answer

    def _ask(self, method: str, path: str, headers: HttpHeaders, body: Any) -> TransportApiResponse:
        """``Transport.perform_request`` without what this client does not use: retries, sniffing, spans."""
        nodes, serializers = self.transport.node_pool, self.transport.serializers
        sent = body if body is None or isinstance(body, bytes) else serializers.dumps(body, headers["content-type"])
        node = nodes.get()
        try:
            meta, data = node.perform_request(method, path, body=sent, headers=headers)
        except (ConnectionError, ConnectionTimeout):
            self._failed.add(node)
            nodes.mark_dead(node)
            raise
        if meta.status in _NOT_OF_THE_NODE or 200 <= meta.status < 300:  # noqa: PLR2004
            if node in self._failed:
                self._failed.remove(node)
                nodes.mark_live(node)
        else:
            self._failed.add(node)
            nodes.mark_dead(node)
        return TransportApiResponse(meta, None if method == "HEAD" else serializers.loads(data, meta.mimetype))

    @property
    def addresses(self) -> list[str]:
        return [node.base_url for node in self.transport.node_pool.all()]

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(config: configuration.Config, environ: Mapping[str, str] = os.environ) -> Connection:
    """A connection for ``config``. Raises ConfigError for secrets or certificates that cannot be read."""
    wanted = config.elasticsearch
    logging.getLogger("elastic_transport").setLevel(
        logging.ERROR
    )  # the transport warns at every failure; we log it once
    headers = credentials.authorization(wanted, environ)
    tls = credentials.tls(wanted)
    nodes = [
        url_to_node_config(host, use_default_ports_for_scheme=True).replace(
            headers=_AGENT,
            request_timeout=wanted.timeout_s,
            connections_per_node=2,
            **(tls if host.startswith("https:") else {}),
        )
        for host in wanted.hosts
    ]
    transport = Transport(
        nodes,
        node_class=node_class(config.bulk.compression, partial(proxy.of, configured=wanted.proxy, environ=environ)),
        max_retries=0,
        retry_on_timeout=False,
        retry_on_status=(),
        meta_header=False,
    )
    return Connection(transport, headers)


def call(client: Connection, method: str, path: str, body: Mapping[str, Any] | bytes | None = None) -> Any:
    """The decoded JSON answer to one request; None for 404. Other failures raise ServerError with one line.

    ``body``: JSON, or NDJSON as bytes.
    """
    headers = _NDJSON if isinstance(body, bytes) else _JSON
    try:
        answer = _from_any(client, method, path, headers, body)
    except (TransportError, NotElasticsearch) as error:
        raise ServerError(f"{_servers(client)}: {explain(error)}") from error
    except Refused as error:
        if error.status == 404 and method == "GET":  # noqa: PLR2004
            return None
        raise ServerError(f"{method} {path.partition('?')[0]}: {explain(error)}", error.status) from error
    return answer.body


def _from_any(client: Connection, method: str, path: str, headers: Mapping[str, str], body: Any) -> Any:
    """The answer of the first server that gives one. Raises the error of the last server."""
    for left in reversed(range(len(client.addresses))):
        try:
            return client.perform_request(method, path, headers=headers, body=body)
        except TransportError as error:
            # A request that may have been executed is not repeated: a key would be created twice
            if not left or (isinstance(error, ConnectionTimeout) and method == "POST"):
                raise
            _LOG.warning("%s: %s; trying the next server", asked(), explain(error))
    raise AssertionError


def bulk(client: Connection, body: bytes, shard_s: float = 3.0, *, filter_path: str) -> Any:
    """Send a bulk body of NDJSON lines and return the decoded answer.

    ``skew_ms`` in the answer is how far this host's clock is ahead of the ``Date`` header. ``shard_s``: how long the
    server may wait for an inactive shard. Raises TooLarge (413), BadRequest (Elasticsearch cannot parse the body),
    Unavailable for all other failures.
    """
    nodes = len(client.addresses)
    path = f"/_bulk?timeout={round(shard_s * 1000)}ms&filter_path={filter_path}"
    in_all, each = _ANSWER
    try:
        with at_most(in_all + each * (body.count(b"\n") // 2)):
            answer = client.perform_request("POST", path, headers=_NDJSON, body=body)
    except Refused as error:
        if error.status == _TOO_LARGE:
            raise TooLarge from error
        kind = BadRequest if _is_bad_request(error) else Unavailable
        wait_s = _retry_after(error.headers.get("retry-after"))
        raise kind(f"{asked()}: {explain(error)}", retry_after_s=wait_s, nodes=nodes) from error
    except (TransportError, NotElasticsearch) as error:
        raise Unavailable(f"{asked()}: {explain(error)}", nodes=nodes) from error
    if not isinstance(answer.body, dict):
        raise Unavailable(f"{asked()}: the response is not a valid bulk response", nodes=nodes)
    return {**answer.body, "skew_ms": _skew_ms(answer.meta.headers.get("date"))}


def _skew_ms(date: str | None) -> int | None:
    """From the ``Date`` header, which has whole seconds. Elasticsearch itself sends none (then None); proxies do."""
    try:
        return round((time() - parsedate_to_datetime(date or "").timestamp() - _HALF_S) * 1000)
    except (ValueError, OverflowError):
        return None


def _is_bad_request(error: Refused) -> bool:
    """Whether Elasticsearch itself answered 400, not a proxy, which may answer 400 to anything."""
    told = isinstance(error.body, dict) and isinstance(error.body.get("error"), dict)
    return error.status == _BAD_REQUEST and told and _PRODUCT in error.headers


def _retry_after(value: str | None) -> float:
    """Seconds to wait, from a number of seconds or a date; 0 for anything else."""
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):
        return 0.0


class Link:
    """The agent's connection. It is replaced when a file with a secret or certificate changes.

    Called with a bulk body; see ``bulk``. If such a file is unusable, the constructor raises ConfigError, later calls
    Unavailable.
    """

    def __init__(self, config: configuration.Config, filter_path: str, environ: Mapping[str, str] = os.environ) -> None:
        self._config = config
        self._filter_path = filter_path
        self._environ = environ
        self._asked_s = -_CLOCK_S
        self._files = credentials.files(config.elasticsearch, environ)
        self._seen = credentials.stamps(self._files)
        self._client = connect(config, environ)

    def __call__(self, body: bytes, shard_s: float) -> Any:
        client = self._fresh()
        answer = bulk(client, body, shard_s, filter_path=self._filter_path)
        if answer["skew_ms"] is None and monotonic() - self._asked_s >= _CLOCK_S:
            self._asked_s = monotonic()
            answer["skew_ms"] = skew_ms(client)
        return answer

    def ready(self) -> str:
        """Why nothing may be sent yet: without its template, a stream would be created with guessed mappings.

        Credentials that may not read templates pass. Raises Unavailable.
        """
        index = self._config.index
        name = "shipper-host" if index.layout == "dated" else f"metrics-shipper.host-{index.namespace}"
        client = self._fresh()
        try:
            template = call(client, "GET", f"/_index_template/{name}?filter_path=index_templates.name")
        except ServerError as error:
            if error.status == _FORBIDDEN:
                return ""
            raise Unavailable(str(error), nodes=len(client.addresses)) from error
        return (
            ""
            if template is not None
            else f"{_servers(client)}: the index templates are missing; run `shipper setup` first"
        )

    def close(self) -> None:
        self._client.close()

    def _fresh(self) -> Connection:
        stamps = credentials.stamps(self._files)
        if stamps != self._seen:
            try:
                client = connect(self._config, self._environ)
            except ConfigError as error:
                raise Unavailable(str(error)) from error
            self._client.close()
            self._client, self._seen = client, stamps
        return self._client


def skew_ms(client: Connection) -> int | None:
    """How far this host's clock is ahead of the server's; None if the credentials may not ask for it.

    Of all requests that return the time, this one needs the smallest privilege, ``cluster:monitor/health``.
    """
    try:
        epoch_s = int(call(client, "GET", "/_cat/health?format=json&h=epoch")[0]["epoch"])
    except (ServerError, LookupError, TypeError, ValueError):
        return None
    return round((time() - epoch_s - _HALF_S) * 1000)


def _servers(client: Connection) -> str:
    return ", ".join(client.addresses)
