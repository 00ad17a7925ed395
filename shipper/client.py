"""The connection to Elasticsearch, and its errors in words. The only module that imports ``elasticsearch``.

Retries, batches and back-off are ``bulk``'s: the client sends each request once.
"""

import gzip
import logging
import os
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import elastic_transport
from elastic_transport import HttpHeaders, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elastic_transport.client_utils import DEFAULT, DefaultType
from elasticsearch import ApiError, Elasticsearch, UnsupportedProductError
from urllib3.exceptions import NameResolutionError, ProtocolError

from shipper import config as configuration
from shipper.errors import ConfigError, ServerError, TooLarge, Unavailable

_LOG: Final = logging.getLogger(__name__)
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"  # systemd: LoadCredential=elasticsearch-api-key:…
_SMALLEST_COMPRESSED: Final = 512
_NDJSON: Final = {"accept": "application/json", "content-type": "application/x-ndjson"}
_TOO_LARGE: Final = 413
_JSON: Final = {"accept": "application/json", "content-type": "application/json"}
_STATUS: Final = {
    401: "401: no or wrong credentials",
    403: "403: these credentials do not have the right",
    404: "404: not found",
    413: "413: request too large",
    429: "429: too many requests",
}


def node_class(level: int) -> type[Urllib3HttpNode]:
    """A node that compresses at gzip ``level`` (0: not at all); the client's own ``http_compress`` is always 9."""

    class Node(Urllib3HttpNode):
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
            return super().perform_request(method, target, body, sent, request_timeout)

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
    if not wanted.verify:
        _LOG.warning("elasticsearch.verify is false: anyone on the way can read and change what is sent")
        return {"verify_certs": False, "ssl_show_warn": False}
    if wanted.ca_fingerprint:
        return {"ssl_assert_fingerprint": wanted.ca_fingerprint.replace(":", "").lower()}
    if not wanted.ca_file:
        return {}
    try:
        ssl.create_default_context(cafile=wanted.ca_file)
    except OSError as error:
        reason = "not a PEM file" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"elasticsearch.ca_file {wanted.ca_file}: {reason}") from None
    return {"ca_certs": wanted.ca_file}


def _credentials(wanted: configuration.Elasticsearch, environ: Mapping[str, str]) -> dict[str, Any]:
    api_key_variable, password_variable = configuration.SECRET_VARIABLES
    key = _secret("api_key_file", wanted.api_key_file, api_key_variable, environ)
    if key:
        identifier, colon, secret = key.partition(":")
        return {"api_key": (identifier, secret) if colon else key}
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
    """The decoded answer to a bulk body of NDJSON lines. Raises TooLarge (413), Unavailable for all other failures."""
    try:
        answer = client.perform_request("POST", f"/_bulk?filter_path={filter_path}", headers=_NDJSON, body=body)
    except ApiError as error:
        if error.status_code == _TOO_LARGE:
            raise TooLarge from error
        raise Unavailable(f"{_servers(client)}: {explain(error)}") from error
    except (elastic_transport.TransportError, UnsupportedProductError) as error:
        raise Unavailable(f"{_servers(client)}: {explain(error)}") from error
    return answer.body


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
    return f"{text}: {' '.join(str(detail).split())}" if detail and error.status_code not in {401, 404} else text


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
