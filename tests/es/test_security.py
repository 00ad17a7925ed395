"""Credentials, rights and hostile content against real servers with security on."""

import ipaddress
import json
import logging
import ssl
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import shipper_eslocal
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fault.proxy import proxy

from shipper import cli
from shipper.base.errors import ServerError, Unavailable
from shipper.base.log import Log
from shipper.deliver import client
from shipper.deliver.bulk import FILTER_PATH, Delivery
from shipper.deliver.client import Link
from shipper.deliver.document import Writer
from shipper.deliver.ledger import Counts, Ledger
from shipper.deliver.segment import Entry
from shipper.deliver.spool import Spool
from shipper.schema.datasets import DATASETS
from shipper.settings.config import Bulk, Config, Elasticsearch, Index

TICK = "2026-11-23T18:00:00.000Z"
HOSTILE = {
    "quotes": '"\'}\\"',
    "newlines": 'a\n{"create":{"_index":"evil"}}\n{}\r\n\u2028\u2029',
    "control": "\x00\x01\x1b[2J\x7f\x9b",
    "path": "../../../../etc/passwd",
    "bidi": "\u202egnp.exe",
    "surrogate": "\udcff\udc00",
    "huge": "x" * (1 << 20),
    "dots": ".a..b.",
    "empty": "",
}


@pytest.fixture
def admin(secure: shipper_eslocal.Cluster) -> list[str]:
    return [
        *("--elasticsearch-hosts", secure.url, "--elasticsearch-ca-file", str(secure.ca_file)),
        *("--elasticsearch-username", str(secure.username), "--elasticsearch-password-file", str(secure.password_file)),
    ]


@dataclass
class Key:
    text: str
    file: Path
    config: Config

    @property
    def id(self) -> str:
        return self.text.partition(":")[0]


@pytest.fixture
def key(
    secure: shipper_eslocal.Cluster, admin: list[str], namespace: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Key:
    """What `shipper setup --create-key` prints, in a file."""
    assert cli.main(["setup", "--index-namespace", namespace, *admin]) == 0
    capfd.readouterr()
    assert cli.main(["setup", "--create-key", "--index-namespace", namespace, *admin]) == 0
    text = capfd.readouterr().out.strip()
    file = private(tmp_path / "key", text)
    wanted = Elasticsearch(hosts=(secure.url,), ca_file=str(secure.ca_file), api_key_file=str(file))
    return Key(text, file, Config(elasticsearch=wanted, index=Index(namespace=namespace)))


def private(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def entry(namespace: str, number: int = 0, dataset: str = "host") -> Entry:
    action = json.dumps({"create": {"_index": f"metrics-shipper.{dataset}-{namespace}"}}).encode()
    document = {"@timestamp": TICK, "host": {"name": f"h{number}", "id": "i"}, "event": {"dataset": "shipper.host"}}
    return Entry(action, json.dumps(document).encode())


def line(config: Config, directory: Path, entries: list[Entry]) -> tuple[Ledger, Delivery]:
    ledger = Ledger.load(Spool(str(directory), 1 << 30))
    ledger.put(1_795_456_800_000, entries)
    link = Link(config, FILTER_PATH, {})
    return ledger, Delivery(ledger, link, Bulk(backoff_max_s=1), Log(journal=False), link.ready)


def drain(delivery: Delivery) -> None:
    delivery._not_before = 0.0
    while delivery.step():
        pass


def count(secure: shipper_eslocal.Cluster, namespace: str) -> int:
    target = f"metrics-shipper.*-{namespace}"
    secure.request("POST", f"/{target}/_refresh")
    return int(secure.request("GET", f"/{target}/_count")["count"])


def test_the_created_key_ships(secure: shipper_eslocal.Cluster, key: Key, tmp_path: Path) -> None:
    namespace = key.config.index.namespace
    entries = [entry(namespace), entry(namespace, dataset="agent"), entry(namespace, dataset="host.late")]
    entries.append(own_metric(namespace))
    ledger, delivery = line(key.config, tmp_path / "spool", entries)
    drain(delivery)
    assert ledger.counts == Counts(collected=4, stored=4)
    assert count(secure, namespace) == 4
    mapped = secure.request("GET", f"/metrics-shipper.metric-{namespace}/_field_caps?fields=metric.*")["fields"]
    assert mapped["metric.jobs"]["double"]["time_series_metric"] == "counter"


def own_metric(namespace: str) -> Entry:
    """A document whose fields the server maps when it first meets them."""
    index = f"metrics-shipper.metric-{namespace}"
    action = {"create": {"_index": index, "dynamic_templates": {"metric.jobs": "counter"}}}
    document = {"@timestamp": TICK, "host": {"name": "h", "id": "i"}, "metricset": {"name": "m", "series": "s"}}
    document |= {"metric": {"jobs": 1}, "attributes": {"queue": "a"}}
    return Entry(json.dumps(action).encode(), json.dumps(document).encode())


def test_the_created_key_knows_the_servers_clock(key: Key) -> None:
    with client.connect(key.config, {}) as connection:
        skew_ms = client.skew_ms(connection)
    assert skew_ms is not None
    assert abs(skew_ms) < 60_000


REFUSED: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("GET", "/metrics-shipper.host-NS/_search", None),
    ("GET", "/metrics-shipper.host-NS/_count", None),
    ("POST", "/metrics-shipper.host-NS/_delete_by_query", {"query": {"match_all": {}}}),
    ("DELETE", "/metrics-shipper.host-NS", None),
    ("PUT", "/metrics-shipper.host-NS/_mapping", {"properties": {"x": {"type": "keyword"}}}),
    ("PUT", "/metrics-shipper.host-NS/_settings", {"index.number_of_replicas": 0}),
    ("GET", "/_index_template/metrics-shipper.host-NS", None),
    ("PUT", "/_index_template/metrics-shipper.host-NS", {"index_patterns": ["x"]}),
    ("PUT", "/_component_template/metrics-shipper@custom", {"template": {}}),
    ("POST", "/other/_doc", {"a": 1}),
    ("POST", "/metrics-shipper.host-other/_doc", {"@timestamp": TICK}),
    ("POST", "/shipper-host-2026.11.23/_doc", {"@timestamp": TICK}),
    ("GET", "/_cluster/state", None),
    ("GET", "/_nodes/stats", None),
    ("GET", "/_cat/indices", None),
    ("POST", "/_security/api_key", {"name": "more"}),
    ("GET", "/_security/api_key?owner=true", None),
)


def test_the_created_key_may_nothing_else(key: Key, tmp_path: Path) -> None:
    _, delivery = line(key.config, tmp_path / "spool", [entry(key.config.index.namespace)])
    drain(delivery)
    with client.connect(key.config, {}) as connection:
        for method, path, body in REFUSED:
            with pytest.raises(ServerError) as refused:
                client.call(connection, method, path.replace("NS", key.config.index.namespace), body)
            assert refused.value.status == 403, (method, path)


def test_an_index_of_another_name_is_held_and_the_own_go_on(key: Key, tmp_path: Path) -> None:
    """403 for one index is somebody's to mend; nothing is thrown away."""
    entries = [entry(key.config.index.namespace), entry("other")]
    ledger, delivery = line(key.config, tmp_path / "spool", entries)
    drain(delivery)
    assert (ledger.counts.stored, ledger.counts.rejected, ledger.spooled) == (1, 0, 1)


def test_a_revoked_key_holds_everything_until_a_new_one_is_in_the_file(
    secure: shipper_eslocal.Cluster, key: Key, admin: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    namespace = key.config.index.namespace
    ledger, delivery = line(key.config, tmp_path / "spool", [entry(namespace, 1)])
    drain(delivery)
    secure.request("DELETE", "/_security/api_key", {"ids": [key.id]})
    ledger.put(1_795_456_801_000, [entry(namespace, 2)])
    drain(delivery)
    assert delivery.state.trouble.endswith("401: missing or wrong credentials")
    assert (ledger.counts.stored, ledger.counts.rejected, ledger.spooled) == (1, 0, 1)
    capfd.readouterr()
    assert cli.main(["setup", "--create-key", "--index-namespace", namespace, *admin]) == 0
    key.file.write_text(capfd.readouterr().out)
    drain(delivery)
    assert (ledger.counts, count(secure, namespace)) == (Counts(collected=2, stored=2), 2)


def test_a_key_file_that_is_gone_is_no_end(key: Key, tmp_path: Path) -> None:
    ledger, delivery = line(key.config, tmp_path / "spool", [entry(key.config.index.namespace)])
    text = key.file.read_text()
    key.file.unlink()
    drain(delivery)
    assert "No such file" in delivery.state.trouble
    private(key.file, text)
    drain(delivery)
    assert ledger.counts == Counts(collected=1, stored=1)


def test_password_and_bearer_token_ship(
    secure: shipper_eslocal.Cluster, key: Key, namespace: str, tmp_path: Path
) -> None:
    basic = replace(
        key.config.elasticsearch,
        api_key_file="",
        username=str(secure.username),
        password_file=str(secure.password_file),
    )
    ledger, delivery = line(replace(key.config, elasticsearch=basic), tmp_path / "a", [entry(namespace)])
    drain(delivery)
    assert ledger.counts.stored == 1
    password = str(secure.password)
    grant = {"grant_type": "password", "username": secure.username, "password": password}
    secure.request("POST", "/_security/user/probe", {"password": password, "roles": ["superuser"]})
    try:
        token = secure.request("POST", "/_security/oauth2/token", grant)["access_token"]
    except shipper_eslocal.Error:  # the licence has no tokens: what is sent is seen by the answer
        token = "not-a-token"
    bearer = replace(basic, username="", bearer_token_file=str(private(tmp_path / "token", token)))
    with client.connect(replace(key.config, elasticsearch=bearer), {}) as connection:
        if token == "not-a-token":
            with pytest.raises(ServerError, match="401"):
                client.call(connection, "GET", "/_nodes")
        else:
            assert client.call(connection, "GET", "/_nodes")["nodes"]


def certificate(directory: Path, name: str, *, days: int = 1, issuer: "Pair | None" = None) -> "Pair":
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - timedelta(days=2))
        .not_valid_after(end)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    file, key_file = directory / f"{name}.crt", directory / f"{name}.key"
    file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.touch(0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Pair(built, key, file, key_file)


@dataclass
class Pair:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    file: Path
    key_file: Path


def serving(pair: Pair, ca: Pair | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.file, pair.key_file)
    if ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca.file)
    return context


def trouble(es: shipper_eslocal.Cluster, wanted: Elasticsearch) -> str:
    link = Link(Config(elasticsearch=wanted), FILTER_PATH, {})
    try:
        link.ready()
    except Unavailable as error:
        return str(error)
    finally:
        link.close()
    return ""


def test_wrong_authority_expired_certificate_and_client_certificate(
    es9: shipper_eslocal.Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca, other = certificate(tmp_path, "ca"), certificate(tmp_path, "other")
    good, expired = certificate(tmp_path, "good", issuer=ca), certificate(tmp_path, "expired", days=-1, issuer=ca)
    mine, foreign = certificate(tmp_path, "mine", issuer=ca), certificate(tmp_path, "foreign", issuer=other)
    with proxy(es9.url, serving(good)) as plain:
        trusting = Elasticsearch(hosts=(plain.url,), ca_file=str(ca.file), timeout_s=5)
        assert "certificate" not in trouble(es9, trusting)
        assert "the server's certificate is not trusted" in trouble(es9, replace(trusting, ca_file=str(other.file)))
        assert "certificate" not in trouble(es9, replace(trusting, ca_file="", verify=False))
        assert "verify is false" in caplog.text
    with proxy(es9.url, serving(expired)) as old:
        said = trouble(es9, replace(trusting, hosts=(old.url,)))
        assert "certificate has expired" in said
    with proxy(es9.url, serving(good, ca)) as asking:
        wanted = replace(trusting, hosts=(asking.url,))
        assert trouble(es9, wanted) not in {"", "the index templates are missing; run `shipper setup` first"}
        known = replace(wanted, client_cert_file=str(mine.file), client_key_file=str(mine.key_file))
        assert trouble(es9, known).endswith(("", "run `shipper setup` first"))
        assert "TLS" not in trouble(es9, known) and "closed" not in trouble(es9, known)
        unknown = replace(known, client_cert_file=str(foreign.file), client_key_file=str(foreign.key_file))
        assert trouble(es9, unknown) not in {"", trouble(es9, known)}
        unverified = replace(known, ca_file="", verify=False)
        assert trouble(es9, unverified) == trouble(es9, known)


def test_a_server_whose_certificate_is_renewed_is_reached_again(es9: shipper_eslocal.Cluster, tmp_path: Path) -> None:
    first, second = certificate(tmp_path, "first"), certificate(tmp_path, "second")
    file = tmp_path / "ca.pem"
    file.write_bytes(first.file.read_bytes())
    with proxy(es9.url, serving(second)) as one:
        link = Link(Config(elasticsearch=Elasticsearch(hosts=(one.url,), ca_file=str(file))), FILTER_PATH, {})
        with pytest.raises(Unavailable, match="not trusted"):
            link.ready()
        file.write_bytes(second.file.read_bytes())
        link.ready()
        link.close()


def test_no_secret_in_log_print_or_error(key: Key, secure: shipper_eslocal.Cluster, tmp_path: Path) -> None:
    """All output of all commands that use the key, with the most talkative logging."""
    secret = key.text.partition(":")[2]
    main = "import logging, sys; logging.basicConfig(level=1); from shipper.cli import main; sys.exit(main())"
    tls = ["--elasticsearch-hosts", secure.url, "--elasticsearch-ca-file", str(secure.ca_file)]
    wanted = [*tls, "--elasticsearch-api-key-file", str(key.file)]
    said = ""
    spool = ["--spool", str(tmp_path / "spool")]
    for words in (
        ["setup", "--print", *wanted],
        ["setup", "--print", "--create-key", *wanted],
        ["setup", *wanted],
        ["check", "--online", *wanted, *spool],
        ["run", "--period", "1s", "--ticks", "2", "--host-verify", "false", *wanted, *spool],
        ["status", *spool],
    ):
        done = subprocess.run(
            [sys.executable, "-c", main, *words], capture_output=True, text=True, timeout=60, check=False
        )
        said += done.stdout + done.stderr
    password = str(secure.password)
    assert len(said) > 10_000
    assert secret not in said and key.text not in said and password not in said
    for file in (tmp_path / "spool").rglob("*"):
        assert file.is_dir() or secret.encode() not in file.read_bytes()


def test_verify_false_warns_at_every_start(es9: shipper_eslocal.Cluster, caplog: pytest.LogCaptureFixture) -> None:
    wanted = Config(elasticsearch=Elasticsearch(hosts=("https://127.0.0.1:1",), verify=False))
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            client.connect(wanted, {}).close()
        assert "verify is false: anyone between here and the server can read and change the documents" in caplog.text


def test_hostile_names_break_neither_body_nor_mapping(
    es9: shipper_eslocal.Cluster, namespace: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = Config(elasticsearch=Elasticsearch(hosts=(es9.url,)), index=Index(namespace=namespace))
    assert cli.main(["setup", "--elasticsearch-hosts", es9.url, "--index-namespace", namespace]) == 0
    writer = Writer(DATASETS["cgroup"].fields)
    action = json.dumps({"create": {"_index": f"metrics-shipper.cgroup-{namespace}"}}).encode()
    entries = []
    for text in HOSTILE.values():
        document: dict[str, Any] = {
            "@timestamp": TICK,
            "host.name": "h",
            "host.id": "i",
            "labels": {text: text, "a.b": text},
            "cgroup.path": f"/x/{text}",
            "cgroup.kind": "container",
            "container.name": text,
            "container.image.name": text,
        }
        entries.append(Entry(action, writer.write(document)))
    assert not any(b"\n" in one.document for one in entries)
    ledger, delivery = line(config, tmp_path / "spool", entries)
    drain(delivery)
    capfd.readouterr()
    assert cli.main(["spool", "show", "rejected", "--spool", str(tmp_path / "spool")]) == 0
    assert capfd.readouterr().out == ""
    assert ledger.counts == Counts(collected=len(HOSTILE), stored=len(HOSTILE))
    assert count(es9, namespace) == len(HOSTILE)
    target = f"/metrics-shipper.cgroup-{namespace}"
    for text in ('"\'}\\"', "../../../../etc/passwd"):
        query = {"query": {"term": {"container.name": text}}}
        assert es9.request("POST", f"{target}/_search", query)["hits"]["total"]["value"] == 1
    resolved = es9.request("GET", "/_resolve/index/evil*?expand_wildcards=all")
    assert resolved["indices"] == [] and resolved["data_streams"] == []
