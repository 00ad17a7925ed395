"""Which HTTP proxy leads to a server: ``elasticsearch.proxy``, or the variables that other programs read, too."""

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

DIRECT: Final = "none"


def of(server: str, configured: str, environ: Mapping[str, str]) -> str:
    """The URL of the proxy for ``server``, perhaps with user and password; empty without one.

    Unless one is ``configured``, HTTPS_PROXY or HTTP_PROXY, by the server's scheme, and NO_PROXY decide, as curl reads
    them. They do not apply to servers on this machine.
    """
    if configured:
        return "" if configured == DIRECT else configured
    parts = urlsplit(server)
    found = _variable(f"{parts.scheme}_proxy", environ)
    host = parts.hostname or ""
    if not found or _is_here(host):
        return ""
    excepted = _variable("no_proxy", environ)
    if excepted:
        # Imported only where it is needed: it takes memory
        from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined] # noqa: PLC0415

        if proxy_bypass_environment(parts.netloc, {"no": excepted}):
            return ""
    return found if "://" in found else f"http://{found}"


def _variable(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
