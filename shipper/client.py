"""The connection to Elasticsearch, and its errors in words. The only module that imports ``elasticsearch``.

Retries, batches and back-off are ``bulk``'s: the client sends each request once, to the next node that is not known to
be down, and gives it ``timeout_s`` in all: a server that answers at one byte per second holds nobody up.
"""

import gzip
import logging
import os
import socket
import ssl
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic, time
from typing import Any, Final, Self

import elastic_transport
from elastic_transport import HttpHeaders, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elastic_transport.client_utils import DEFAULT, DefaultType
from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError
from urllib3.exceptions import NameResolutionError, ProtocolError

from shipper import config as configuration
from shipper.errors import BadRequest, ConfigError, ServerError, TooLarge, Unavailable

_LOG: Final = logging.getLogger(__name__)
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"  # systemd: LoadCredential=elasticsearch-api-key:…
_SMALLEST_COMPRESSED: Final = 512
_NDJSON: Final = {"accept": "application/json", "content-type": "application/x-ndjson"}
_TOO_LARGE: Final = 413
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_HALF_S: Final = 0.5
_CLOCK_S: Final = 3600.0  # from one question for the server's clock to the next
_MOST_WORDS: Final = 1000  # characters of a server's text that are passed on
_JSON: Final = {"accept": "application/json", "content-type": "application/json"}
_STATUS: Final = {
    401: "401: no or wrong credentials",
    403: "403: these credentials do not have the right",
    404: "404: not found",
    413: "413: request too large",
    429: "429: too many requests",
}


class _Clockwork(threading.local):
    """The connections that the request of this thread goes through."""

    def __init__(self) -> None:
        self.used: list[Any] = []


def _cuttable(kind: type[Any], clockwork: _Clockwork) -> type[Any]:
    """A connection class of urllib3 whose connection another thread can cut, also amid the TLS handshake."""

    class Connection(kind):  # type: ignore[misc]
        handle: socket.socket | None = None

        def _new_conn(self) -> socket.socket:
            sock: socket.socket = super()._new_conn()
            self.handle = sock.dup()
            clockwork.used.append(self)
            return sock

        def request(self, *args: Any, **named: Any) -> None:
            clockwork.used.append(self)
            super().request(*args, **named)

        def cut(self) -> None:
            with suppress(OSError):
                if self.handle:
                    self.handle.shutdown(socket.SHUT_RDWR)

        def close(self) -> None:
            if self.handle:
                self.handle.close()
                self.handle = None
            super().close()

    return Connection


class _Deadline:
    """Cuts the connections of the request made within the block when ``seconds`` have passed."""

    def __init__(self, seconds: float, clockwork: _Clockwork) -> None:
        self._used: list[Any] = []
        clockwork.used = self._used
        self.passed = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def _cut(self) -> None:
        self.passed = True
        for connection in self._used:
            connection.cut()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def node_class(level: int) -> type[Urllib3HttpNode]:
    """A node that compresses at gzip ``level`` (0: not at all); the client's own ``http_compress`` is always 9."""

    class Node(Urllib3HttpNode):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self._clockwork = _Clockwork()
            self.pool.ConnectionCls = _cuttable(self.pool.ConnectionCls, self._clockwork)
            if config.client_cert:  # the base class forgets it where it does not verify by authority
                pool: Any = self.pool
                pool.cert_file, pool.key_file = config.client_cert, config.client_key

        def perform_request(
            self,
            method: str,
            target: str,
            body: bytes | None = None,
            headers: HttpHeaders | None = None,
            request_timeout: DefaultType | float | None = DEFAULT,
        ) -> NodeApiResponse:
            sent = HttpHeaders(headers or {})
            if body and level and len(body) >= _SMALLEST_COMPRESSED and "content-encoding" not in sent:
                body = gzip.compress(body, level, mtime=0)
                sent["content-encoding"] = "gzip"
            with _Deadline(self.config.request_timeout or 60.0, self._clockwork) as deadline:
                try:
                    return super().perform_request(method, target, body, sent, request_timeout)
                except elastic_transport.TransportError as error:
                    if deadline.passed:
                        raise elastic_transport.ConnectionTimeout("no answer in time", errors=(error,)) from error
                    raise

        def _log_request(self, *_args: Any, **_kwargs: Any) -> None:
            """Not logged: the base class makes text of each body as soon as any log handler is set up."""

    return Node


def connect(config: configuration.Config, environ: Mapping[str, str] = os.environ) -> Elasticsearch:
    """A client for ``config``; nothing is sent yet. Raises ConfigError for secrets or CA that cannot be read."""
    wanted = config.elasticsearch
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)  # it warns at every failure; we say it once
    return Elasticsearch(
        list(wanted.hosts),
        node_class=node_class(config.bulk.compression),
        request_timeout=wanted.timeout_s,
        max_retries=0,
        retry_on_timeout=False,
        retry_on_status=(),
        meta_header=False,
        connections_per_node=2,
        **_credentials(wanted, environ),
        **_tls(wanted),
    )


def _tls(wanted: configuration.Elasticsearch) -> dict[str, Any]:
    if not any(host.startswith("https:") for host in wanted.hosts):
        return {}
    shown = _client_certificate(wanted)
    if not wanted.verify:
        _LOG.warning("elasticsearch.verify is false: anyone on the way can read and change what is sent")
        return {"verify_certs": False, "ssl_show_warn": False, **shown}
    if wanted.ca_fingerprint:
        return {"ssl_assert_fingerprint": wanted.ca_fingerprint.replace(":", "").lower(), **shown}
    if not wanted.ca_file:
        return shown
    try:
        ssl.create_default_context(cafile=wanted.ca_file)
    except OSError as error:
        reason = "not a PEM file" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"elasticsearch.ca_file {wanted.ca_file}: {reason}") from None
    return {"ca_certs": wanted.ca_file, **shown}


def _client_certificate(wanted: configuration.Elasticsearch) -> dict[str, Any]:
    """What is shown to a server that asks for it. Raises ConfigError."""
    if not wanted.client_cert_file:
        return {}
    try:
        ssl.create_default_context().load_cert_chain(wanted.client_cert_file, wanted.client_key_file or None, _no_pass)
    except OSError as error:
        reason = "no PEM file with a certificate and its key" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"elasticsearch.client_cert_file {wanted.client_cert_file}: {reason}") from None
    return {"client_cert": wanted.client_cert_file, "client_key": wanted.client_key_file or wanted.client_cert_file}


def _no_pass() -> str:
    """The password of a key: without this OpenSSL would ask for it at the terminal."""
    return ""


def _credentials(wanted: configuration.Elasticsearch, environ: Mapping[str, str]) -> dict[str, Any]:
    api_key_variable, password_variable, bearer_variable = configuration.SECRET_VARIABLES
    key = _secret("api_key_file", wanted.api_key_file, api_key_variable, environ)
    if key:
        identifier, colon, secret = key.partition(":")
        return {"api_key": (identifier, secret) if colon else key}
    token = _secret("bearer_token_file", wanted.bearer_token_file, bearer_variable, environ)
    if token:
        return {"bearer_auth": token}
    if not wanted.username:
        return {}
    password = _secret("password_file", wanted.password_file, password_variable, environ)
    if not password:
        raise ConfigError(
            f"elasticsearch.username is set, but neither elasticsearch.password_file nor {password_variable}"
        )
    return {"basic_auth": (wanted.username, password)}


def _secret(option: str, path: str, variable: str, environ: Mapping[str, str]) -> str:
    """From the file named, the variable, or the systemd credential; empty if none of them is there."""
    if not path and environ.get(variable):
        return environ[variable].strip()
    file = Path(path) if path else _credential(option, environ)
    if file is None:
        return ""
    try:
        text = file.read_text(encoding="utf-8").strip()
        mode = file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"elasticsearch.{option} {file}: {getattr(error, 'strerror', None) or 'not text'}") from None
    if not text or not text.isprintable():
        raise ConfigError(f"elasticsearch.{option} {file}: must be one line of text")
    if mode & stat.S_IROTH:
        _LOG.warning("%s can be read by everyone on this host: chmod 600", file)
    return text


def _credential(option: str, environ: Mapping[str, str]) -> Path | None:
    file = Path(environ.get(_CREDENTIALS, "/nonexistent")) / f"elasticsearch-{option.removesuffix('_file')}".replace(
        "_", "-"
    )
    return file if file.exists() else None


def call(client: Elasticsearch, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The decoded JSON answer of one request; None for 404. Raises ServerError with one line otherwise."""
    try:
        answer = client.perform_request(method, path, headers=_JSON, body=body)
    except (elastic_transport.TransportError, UnsupportedProductError) as error:
        raise ServerError(f"{_servers(client)}: {explain(error)}") from error
    except ApiError as error:
        if error.status_code == 404 and method == "GET":  # noqa: PLR2004
            return None
        raise ServerError(f"{method} {path.partition('?')[0]}: {explain(error)}", error.status_code) from error
    return answer.body


def bulk(client: Elasticsearch, body: bytes, filter_path: str) -> Any:
    """The decoded answer to a bulk body of NDJSON lines; ``skew_ms``: how far this clock is ahead of its ``Date``.

    Raises TooLarge (413), BadRequest (Elasticsearch cannot read the body), Unavailable for all other failures.
    """
    nodes = len(client.transport.node_pool)
    try:
        answer = client.perform_request("POST", f"/_bulk?filter_path={filter_path}", headers=_NDJSON, body=body)
    except ApiError as error:
        if error.status_code == _TOO_LARGE:
            raise TooLarge from error
        kind = BadRequest if _is_bad_request(error) else Unavailable
        wait_s = _retry_after(error.meta.headers.get("retry-after"))
        raise kind(f"{_servers(client)}: {explain(error)}", retry_after_s=wait_s, nodes=nodes) from error
    except (elastic_transport.TransportError, UnsupportedProductError) as error:
        raise Unavailable(f"{_servers(client)}: {explain(error)}", nodes=nodes) from error
    if not isinstance(answer.body, dict):
        raise Unavailable(f"{_servers(client)}: the answer is not that of a bulk request", nodes=nodes)
    return {**answer.body, "skew_ms": _skew_ms(answer.meta.headers.get("date"))}


def _skew_ms(date: str | None) -> int | None:
    """A ``Date`` is cut to whole seconds; None where Elasticsearch sends none: those in front of it do."""
    try:
        return round((time() - parsedate_to_datetime(date or "").timestamp() - _HALF_S) * 1000)
    except (ValueError, OverflowError):
        return None


def _is_bad_request(error: ApiError) -> bool:
    """Said by Elasticsearch, not by a proxy on the way, which may answer 400 to anything."""
    told = isinstance(error.body, dict) and isinstance(error.body.get("error"), dict)
    return error.status_code == _BAD_REQUEST and told and "x-elastic-product" in error.meta.headers


def _retry_after(value: str | None) -> float:
    """Seconds from now, of a number of seconds or a date; 0 for anything else."""
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):
        return 0.0


class Link:
    """The agent's own connection. It is made anew as soon as a file with a secret or certificate has changed.

    Called with a bulk body; see ``bulk``. Raises ConfigError when it is made, Unavailable later, for files that cannot
    be used.
    """

    def __init__(self, config: configuration.Config, filter_path: str, environ: Mapping[str, str] = os.environ) -> None:
        self._config = config
        self._filter_path = filter_path
        self._environ = environ
        self._asked_s = -_CLOCK_S
        self._seen = self._stamps()
        self._client = connect(config, environ)

    def __call__(self, body: bytes) -> Any:
        client = self._fresh()
        answer = bulk(client, body, self._filter_path)
        if answer["skew_ms"] is None and monotonic() - self._asked_s >= _CLOCK_S:
            self._asked_s = monotonic()
            answer["skew_ms"] = skew_ms(client)
        return answer

    def ready(self) -> str:
        """Why nothing may be sent yet: without its template a stream would be made with guessed mappings.

        Credentials that may not read templates go on. Raises Unavailable.
        """
        name = "shipper-host" if self._config.index.layout == "dated" else "metrics-shipper.host"
        client = self._fresh()
        try:
            there = call(client, "GET", f"/_index_template/{name}?filter_path=index_templates.name")
        except ServerError as error:
            if error.status == _FORBIDDEN:
                return ""
            raise Unavailable(str(error), nodes=len(client.transport.node_pool)) from error
        return "" if there is not None else f"{_servers(client)}: its templates are absent: run shipper setup first"

    def close(self) -> None:
        self._client.close()

    def _fresh(self) -> Elasticsearch:
        stamps = self._stamps()
        if stamps != self._seen:
            try:
                client = connect(self._config, self._environ)
            except ConfigError as error:
                raise Unavailable(str(error)) from error
            self._client.close()
            self._client, self._seen = client, stamps
        return self._client

    def _stamps(self) -> list[tuple[int, ...]]:
        return [_stamp(path) for path in _files(self._config.elasticsearch, self._environ)]


def _stamp(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ino, status.st_size


def _files(wanted: configuration.Elasticsearch, environ: Mapping[str, str]) -> Iterator[str]:
    for option in ("api_key_file", "password_file", "bearer_token_file"):
        path = getattr(wanted, option) or _credential(option, environ)
        if path:
            yield str(path)
    yield from filter(None, (wanted.ca_file, wanted.client_cert_file, wanted.client_key_file))


def skew_ms(client: Elasticsearch) -> int | None:
    """How far this host's clock is ahead of the server's; None where the server does not tell these credentials."""
    try:
        nodes = call(client, "GET", "/_nodes/_local/stats/indices?filter_path=nodes.*.timestamp")["nodes"]
        return round(time() * 1000) - max(int(node["timestamp"]) for node in nodes.values())
    except (ServerError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _servers(client: Elasticsearch) -> str:
    return ", ".join(node.base_url for node in client.transport.node_pool.all())


def explain(error: Exception) -> str:
    """One line for ``error`` of the client, without the client's own wording and never with a secret."""
    if isinstance(error, UnsupportedProductError):
        return "the server is not Elasticsearch"
    if isinstance(error, ApiError):
        return _explain_status(error)
    if isinstance(error, elastic_transport.ConnectionTimeout):
        return "no answer in time"
    if isinstance(error, elastic_transport.TransportError):
        return _explain_transport(error)
    return " ".join(str(error).split()) or type(error).__name__


def _explain_status(error: ApiError) -> str:
    text = _STATUS.get(error.status_code, str(error.status_code))
    body = error.body
    reason = body.get("error") if isinstance(body, dict) else None
    detail = reason.get("reason") if isinstance(reason, dict) else reason
    # Who is refused and what for is worth a line; what is said of a 401 is not
    told = detail and error.status_code not in {401, 404}
    return f"{text}: {' '.join(str(detail)[:_MOST_WORDS].split())}" if told else text


def _explain_transport(error: elastic_transport.TransportError) -> str:
    if isinstance(error, elastic_transport.SerializationError):
        return "the answer is not JSON"
    known = next(filter(None, map(_explain_cause, _causes(error))), None)
    tls = "TLS: " if isinstance(error, elastic_transport.TlsError) else ""
    return known or tls + " ".join(str(error.message).split())


def _explain_cause(cause: BaseException) -> str | None:
    text = None
    if isinstance(cause, ssl.SSLCertVerificationError):
        text = f"TLS: the certificate is not accepted: {cause.verify_message}"
    elif isinstance(cause, ssl.SSLError):
        text = "TLS: the server does not speak TLS at this port" if cause.reason == "WRONG_VERSION_NUMBER" else None
    elif isinstance(cause, NameResolutionError):
        text = "the host name cannot be resolved"
    elif isinstance(cause, ProtocolError):
        text = "the connection was closed before the answer was complete"
    elif isinstance(cause, OSError) and cause.errno and cause.strerror:
        text = cause.strerror.lower()
    return text


def _causes(error: BaseException) -> list[BaseException]:
    """``error`` and all that it was raised from, wrapped or listed in it."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop(0)
        if one is None or one in found:
            continue
        found.append(one)
        inner = getattr(one, "reason", None)
        todo += [
            *getattr(one, "errors", ()),
            one.__cause__,
            one.__context__,
            inner if isinstance(inner, Exception) else None,
        ]
    return found
