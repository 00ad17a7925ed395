"""Files of a secured cluster: a temporary certificate authority, a certificate, an administrator."""

import datetime as dt
import ipaddress
import os
import secrets
from pathlib import Path

import bcrypt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USERNAME = "admin"
VALID = dt.timedelta(days=800)


def write_private(path: Path, content: bytes) -> None:
    """Create a file that only its owner can ever read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def make_certificates(folder: Path) -> None:
    """Write ca.crt, node.crt (localhost and 127.0.0.1) and node.key. The authority's key is discarded."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("eslocal throw-away CA")
    root = _certificate(issuer, authority.public_key(), issuer)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    # Python 3.13 and newer verify strictly by RFC 5280, which asks for these three
    root = root.add_extension(_signs_certificates(), critical=True)
    root = root.add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), critical=False)
    key = ec.generate_private_key(ec.SECP256R1())
    node = _certificate(_name("localhost"), key.public_key(), issuer)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    node = node.add_extension(x509.SubjectAlternativeName(names), critical=False)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    node = node.add_extension(identifier, critical=False)
    pem = serialization.Encoding.PEM
    folder.mkdir(exist_ok=True)
    (folder / "ca.crt").write_bytes(root.sign(authority, hashes.SHA256()).public_bytes(pem))
    (folder / "node.crt").write_bytes(node.sign(authority, hashes.SHA256()).public_bytes(pem))
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(folder / "node.key", secret)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        **dict.fromkeys(
            (
                *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "encipher_only", "decipher_only"),
            ),
            False,
        ),
    )


def _certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + VALID)


def make_password(path: Path) -> None:
    """Write a random password."""
    write_private(path, secrets.token_urlsafe(18).encode())


def write_administrator(config: Path, password: str) -> None:
    """Fill the file realm: one user with the role superuser."""
    # Few rounds: the password is random, and the first request of each client pays for them
    digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=6, prefix=b"2a")).decode()
    write_private(config / "users", f"{USERNAME}:{digest}\n".encode())
    (config / "users_roles").write_text(f"superuser:{USERNAME}\n")
