"""One line for each error of a connection, without the library's wording and without secrets."""

import ssl
from http.client import RemoteDisconnected
from typing import Any, Final

import elastic_transport
from elastic_transport import HttpHeaders
from urllib3.exceptions import NameResolutionError, ProtocolError, ProxyError

from shipper.deliver.bounds import asked

_MOST_WORDS: Final = 1000  # characters of the server's text that are kept
_UNAUTHORIZED: Final = 401
_STATUS: Final = {
    401: "401: missing or wrong credentials",
    403: "403: the credentials lack this privilege",
    404: "404: not found",
    413: "413: request too large",
    429: "429: too many requests",
}


# OpenSSL: no issuer found locally, self-signed certificate alone or in the chain
_UNKNOWN_AUTHORITY: Final = frozenset({18, 19, 20, 21})


class Refused(Exception):  # noqa: N818 – what the server said
    """An answer that is not 2xx. ``body``: decoded."""

    def __init__(self, status: int, headers: HttpHeaders, body: Any) -> None:
        super().__init__(status)
        self.status, self.headers, self.body = status, headers, body


class NotElasticsearch(Exception):  # noqa: N818 – what the server is
    """The answer lacks Elasticsearch's product header."""

    def __str__(self) -> str:
        return "the server is not Elasticsearch"


def explain(error: Exception) -> str:
    """One line for ``error``."""
    if isinstance(error, Refused):
        return _explain_status(error)
    if isinstance(error, elastic_transport.ConnectionTimeout):
        return "the request timed out"
    if isinstance(error, elastic_transport.TransportError):
        return _explain_transport(error)
    return " ".join(str(error).split()) or type(error).__name__


def _explain_status(error: Refused) -> str:
    text = _STATUS.get(error.status, str(error.status))
    body = error.body
    reason = body.get("error") if isinstance(body, dict) else None
    detail = reason.get("reason") if isinstance(reason, dict) else reason
    if error.status == _UNAUTHORIZED and "expired" in str(detail):
        return "401: the API key has expired; create a new one with shipper setup --create-key"
    # For other errors the server's reason helps; for a 401 it does not
    told = detail and error.status not in {401, 404}
    return f"{text}: {' '.join(str(detail)[:_MOST_WORDS].split())}" if told else text


def _explain_transport(error: elastic_transport.TransportError) -> str:
    if isinstance(error, elastic_transport.SerializationError):
        return "the response is not JSON"
    known = next(filter(None, map(_explain_cause, _causes(error))), None)
    tls = "TLS: " if isinstance(error, elastic_transport.TlsError) else ""
    return known or tls + " ".join(str(error.message).split())


def _explain_cause(cause: BaseException) -> str | None:
    text = None
    if isinstance(cause, ProxyError):
        inner = cause.original_error
        text = f"proxy: {next(filter(None, map(_explain_cause, _causes(inner))), None) or ' '.join(str(inner).split())}"
    elif isinstance(cause, ssl.SSLCertVerificationError):
        text = f"TLS: the server's certificate is not trusted: {cause.verify_message}"
        if cause.verify_code in _UNKNOWN_AUTHORITY:
            text += "; set elasticsearch.ca_file to the PEM file of its authority"
    elif isinstance(cause, ssl.SSLError):
        no_tls = cause.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
        text = "TLS: the server does not use TLS on this port; use http://" if no_tls else None
    elif isinstance(cause, NameResolutionError):
        text = "cannot resolve the host name"
    elif isinstance(cause, RemoteDisconnected):
        hint = "; use https:// if the server uses TLS" if asked().startswith("http:") else ""
        text = f"the server closed the connection without a response{hint}"
    elif isinstance(cause, ProtocolError) and not _by_a_server_that_left(cause):
        text = "the connection was closed before the end of the response"
    elif isinstance(cause, OSError) and cause.errno and cause.strerror:
        text = cause.strerror.lower()
    return text


def _by_a_server_that_left(error: ProtocolError) -> bool:
    return isinstance(error.__cause__ or error.__context__, RemoteDisconnected)


def _causes(error: BaseException) -> list[BaseException]:
    """``error`` and every error that it was raised from, wraps or lists."""
    chain: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        cause = todo.pop(0)
        if cause is None or cause in chain:
            continue
        chain.append(cause)
        inner = getattr(cause, "reason", None)
        todo += [
            *getattr(cause, "errors", ()),
            cause.__cause__,
            cause.__context__,
            inner if isinstance(inner, Exception) else None,
        ]
    return chain
