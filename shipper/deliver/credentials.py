"""Secrets and certificates of the connection to Elasticsearch: where they come from, and whether they are usable."""

import base64
import logging
import os
import ssl
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from shipper.base.errors import ConfigError
from shipper.settings import config as configuration

_LOG: Final = logging.getLogger(__name__)
_OPTIONS: Final = ("api_key_file", "password_file", "bearer_token_file")
_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"  # systemd: LoadCredential=elasticsearch-api-key:…


def tls(wanted: configuration.Elasticsearch) -> dict[str, Any]:
    """TLS options of the transport's ``NodeConfig``. Raises ConfigError for certificates that cannot be read."""
    if not any(host.startswith("https:") for host in wanted.hosts):
        return {}
    shown = _client_certificate(wanted)
    if not wanted.verify:
        _LOG.warning(
            "elasticsearch.verify is false: anyone between here and the server can read and change the documents"
        )
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
    """The client certificate, for a server that asks for one. Raises ConfigError."""
    if not wanted.client_cert_file:
        return {}
    try:
        ssl.create_default_context().load_cert_chain(wanted.client_cert_file, wanted.client_key_file or None, _no_pass)
    except OSError as error:
        reason = "not a PEM file with a certificate and its key" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"elasticsearch.client_cert_file {wanted.client_cert_file}: {reason}") from None
    return {"client_cert": wanted.client_cert_file, "client_key": wanted.client_key_file or wanted.client_cert_file}


def _no_pass() -> str:
    """An empty password for a key: otherwise OpenSSL would ask for one on the terminal."""
    return ""


def authorization(wanted: configuration.Elasticsearch, environ: Mapping[str, str]) -> dict[str, str]:
    """The Authorization header; empty without credentials. Raises ConfigError for a secret that cannot be read."""
    api_key_variable, password_variable, bearer_variable = configuration.SECRET_VARIABLES
    key = _secret("api_key_file", wanted.api_key_file, api_key_variable, environ)
    if key:
        return {"authorization": f"ApiKey {_base64(key) if ':' in key else key}"}
    token = _secret("bearer_token_file", wanted.bearer_token_file, bearer_variable, environ)
    if token:
        return {"authorization": f"Bearer {token}"}
    if not wanted.username:
        return {}
    password = _secret("password_file", wanted.password_file, password_variable, environ)
    if not password:
        raise ConfigError(
            f"elasticsearch.username is set, but neither elasticsearch.password_file nor {password_variable}"
        )
    return {"authorization": f"Basic {_base64(f'{wanted.username}:{password}')}"}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _secret(option: str, path: str, variable: str, environ: Mapping[str, str]) -> str:
    """From the named file, the variable, or the systemd credential; empty if none of them exists."""
    if not path and environ.get(variable):
        return environ[variable].strip()
    file = Path(path or _credential(option, environ))
    if not path and not file.is_file():
        return ""
    try:
        text = file.read_text(encoding="utf-8").strip()
        mode = file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"elasticsearch.{option} {file}: {getattr(error, 'strerror', None) or 'not text'}") from None
    if not text or not text.isprintable():
        raise ConfigError(f"elasticsearch.{option} {file}: must be one line of text")
    if mode & stat.S_IROTH:
        _LOG.warning("%s is readable by everyone on this host; run chmod 600", file)
    return text


def _credential(option: str, environ: Mapping[str, str]) -> str:
    """The path at which systemd puts the credential; empty without systemd."""
    directory = environ.get(_DIRECTORY)
    return f"{directory}/elasticsearch-{option.removesuffix('_file').replace('_', '-')}" if directory else ""


def files(wanted: configuration.Elasticsearch, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Paths of the files with a secret or certificate that exist or may exist later."""
    secrets = (getattr(wanted, option) or _credential(option, environ) for option in _OPTIONS)
    return tuple(filter(None, (*secrets, wanted.ca_file, wanted.client_cert_file, wanted.client_key_file)))


def stamps(paths: Iterable[str]) -> list[tuple[int, ...]]:
    """A value that changes when one of the files changes, appears or goes."""
    return [_stamp(path) for path in paths]


def _stamp(path: str) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ino, status.st_size
