"""A secured server as its operator prepares it for agents."""

import hashlib
import ssl
import sys

import shipper_eslocal
from booting import run


def agent_key(es: shipper_eslocal.Cluster, namespace: str) -> str:
    """Set the namespace up; the key can only ship."""
    words = [sys.executable, "-m", "shipper", "setup", "--index-namespace", namespace]
    words += ["--elasticsearch-hosts", es.url, "--elasticsearch-ca-file", str(es.ca_file)]
    words += ["--elasticsearch-username", str(es.username), "--elasticsearch-password-file", str(es.password_file)]
    run(*words)
    return run(*words, "--create-key").strip()


def fingerprint(es: shipper_eslocal.Cluster) -> str:
    """SHA-256 of its certificate, for ``elasticsearch.ca_fingerprint``."""
    certificate = ssl.PEM_cert_to_DER_cert((es.root / "tls/node.crt").read_text())
    return hashlib.sha256(certificate).hexdigest()
