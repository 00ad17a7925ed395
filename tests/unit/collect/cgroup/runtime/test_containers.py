"""Names, images and labels from the runtimes' own files: a row per runtime and driver, v1 and v2; hostile content."""

# ruff: noqa: E501 – one row a line

import json
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from captured import collecting
from trees import Host, Tree

from shipper.collect.cgroup import cgroups
from shipper.fields.rates import Value

ID = "4f1c0ffee0" * 6 + "abcd"
POD = "0a1b2c3d-1111-2222-3333-444455556666"
POD_SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice"
LABELS = {"com.docker.compose.project": "shop", "secret": "no"}
TASKS = "run/containerd/io.containerd.runtime.v2.task"
STORAGE = "var/lib/containers/storage"
LAYOUTS = {
    "v2": ("sys/fs/cgroup", "cpu.stat", "usage_usec 1\nuser_usec 1\nsystem_usec 0\n", "sys/fs/cgroup/cgroup.controllers"),
    "v1": ("sys/fs/cgroup/cpuacct", "cpuacct.usage", "1000\n", ""),
    "hybrid": ("sys/fs/cgroup/cpuacct", "cpuacct.usage", "1000\n", "sys/fs/cgroup/unified/cgroup.controllers"),
}  # fmt: skip
UNIT = "[Unit]\nDescription=Secure %p\n[Service]\nDescription=wrong\n"

Files = dict[str, Any]


def docker(root: str = "var/lib/docker", **config: Any) -> Files:
    content = {"Name": "/web-1", "State": {"Pid": 7}, "Config": {"Image": "shop/web:1.2", "Labels": LABELS, **config}}
    return {f"{root}/containers/{ID}/config.v2.json": content}


def bundle(annotations: dict[str, str], namespace: str = "default", id_: str = ID) -> Files:
    return {f"{TASKS}/{namespace}/{id_}/config.json": {"ociVersion": "1.1.0", "annotations": annotations}}


def cri(kind: str = "container") -> dict[str, str]:
    base = "io.kubernetes.cri"
    return {
        f"{base}.container-type": kind, f"{base}.sandbox-namespace": "shop", f"{base}.sandbox-name": "web-77",
        f"{base}.sandbox-uid": POD,
        **({f"{base}.container-name": "web", f"{base}.image-name": "docker.io/shop/web:1.2"} if kind == "container" else {}),
    }  # fmt: skip


def stored(root: str, driver: str, run: str, annotations: dict[str, str]) -> Files:
    own = {"image-name": "localhost/shop/web:1.2", "name": "web-1"}
    return {
        f"{root}/{driver}-containers/containers.json": [{"id": "other"}, {"id": ID, "names": ["web-1"], "metadata": json.dumps(own)}],
        f"{run}/{driver}-containers/{ID}/userdata/config.json": {"annotations": annotations},
    }  # fmt: skip


CRIO = {
    "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web-77", "io.kubernetes.pod.uid": POD,
    "io.kubernetes.container.name": "web", "io.kubernetes.cri-o.ImageName": "quay.io/shop/web:1.2",
    "io.kubernetes.cri-o.Labels": json.dumps(LABELS),
}  # fmt: skip
LIBPOD = {"io.container.manager": "libpod", **LABELS}
IN_POD = {"kubernetes.namespace": "shop", "kubernetes.pod.name": "web-77", "kubernetes.container.name": "web"}
WEB = {
    "container.name": "web-1",
    "container.image.name": "shop/web:1.2",
    "container.labels": {"com.docker.compose.project": "shop"},
}
PODMAN = {**WEB, "container.runtime": "podman", "container.image.name": "localhost/shop/web:1.2"}
USERS = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"
USER_SLICE = "/user.slice/user-1000.slice/user@1000.service/user.slice"

ROWS: list[tuple[str, str, Files, dict[str, Any]]] = [
    ("docker cgroupfs", f"/docker/{ID}", docker(), {**WEB, "cgroup.name": "web-1", "container.runtime": "docker"}),
    ("docker systemd", f"/system.slice/docker-{ID}.scope", docker(), WEB),
    ("docker other root", f"/docker/{ID}",
     {"etc/docker/daemon.json": {"data-root": "/srv/docker"}, **docker("srv/docker")}, WEB),
    ("docker rootless", f"{USER_SLICE}/docker-{ID}.scope",
     {"etc/passwd": USERS, **docker("home/ann/.local/share/docker")}, WEB),
    ("docker of kubelet", f"/kubepods/burstable/pod{POD}/{ID}",
     docker(Labels={"io.kubernetes.docker.type": "container", **CRIO}), {**IN_POD, "container.runtime": "docker"}),
    ("containerd cri systemd", f"{POD_SLICE}/cri-containerd-{ID}.scope", bundle(cri(), "k8s.io"),
     {**IN_POD, "kubernetes.pod.uid": POD, "container.name": "web", "container.image.name": "docker.io/shop/web:1.2"}),
    ("containerd cri cgroupfs", f"/kubepods/besteffort/pod{POD}/{ID}", bundle(cri(), "k8s.io"),
     {**IN_POD, "kubernetes.pod.uid": POD, "container.runtime": "containerd"}),
    ("containerd cri sandbox", f"{POD_SLICE}/cri-containerd-{ID}.scope", bundle(cri("sandbox"), "k8s.io"),
     {"kubernetes.pod.name": "web-77", "container.name": "POD"}),
    ("nerdctl", f"/system.slice/nerdctl-{ID}.scope", bundle({"nerdctl/name": "web-1", **LABELS}),
     {"container.name": "web-1", "container.labels": WEB["container.labels"]}),
    ("ctr", "/default/web-1", bundle(LABELS, id_="web-1"),
     {"container.id": "web-1", "container.name": "web-1", "container.runtime": "containerd", "container.labels": WEB["container.labels"]}),
    ("cri-o systemd", f"{POD_SLICE}/crio-{ID}.scope", stored(STORAGE, "overlay", "run/containers/storage", CRIO),
     {**IN_POD, "container.image.name": "quay.io/shop/web:1.2", "container.labels": WEB["container.labels"]}),
    ("cri-o cgroupfs", f"/kubepods/pod{POD}/crio-{ID}", stored(STORAGE, "overlay", "run/containers/storage", CRIO), IN_POD),
    ("podman systemd", f"/machine.slice/libpod-{ID}.scope", stored(STORAGE, "overlay", "run/containers/storage", LIBPOD), PODMAN),
    ("podman cgroupfs, vfs", f"/libpod_parent/libpod-{ID}", stored(STORAGE, "vfs", STORAGE, LIBPOD), PODMAN),
    ("podman quadlet", f"/system.slice/web.service/libpod-payload-{ID}", stored(STORAGE, "btrfs", STORAGE, LIBPOD), PODMAN),
    ("podman rootless", f"{USER_SLICE}/libpod-{ID}.scope",
     {"etc/passwd": USERS, **stored("home/ann/.local/share/containers/storage", "overlay", "run/user/1000/containers", LIBPOD)}, PODMAN),
    ("kubelet's logs alone", f"{POD_SLICE}/cri-containerd-{ID}.scope", {f"var/log/containers/web-77_shop_web-{ID}.log": ""},
     {**IN_POD, "kubernetes.pod.uid": POD, "container.name": "web"}),
    ("pod", POD_SLICE, {f"var/log/pods/shop_web-77_{POD}/web/0.log": ""},
     {"kubernetes.namespace": "shop", "kubernetes.pod.name": "web-77", "kubernetes.pod.uid": POD, "cgroup.name": "web-77"}),
    ("nspawn scope", "/machine.slice/node-1.scope", {"run/systemd/machines/node-1": "NAME=node-1\nROOT=/var/lib/machines/debian\n"},
     {"container.name": "node-1", "container.image.name": "debian"}),
    ("nspawn unit", "/machine.slice/systemd-nspawn@node1.service", {}, {"container.name": "node1"}),
    ("libvirt", r"/machine.slice/machine-qemu\x2d1\x2dvm.scope", {}, {"container.name": "vm", "container.id": "qemu-1-vm"}),
    ("lxc", "/lxc.payload.web-1", {}, {"container.name": "web-1", "container.runtime": "lxc"}),
    ("service", "/system.slice/ssh.service", {"usr/lib/systemd/system/ssh.service": UNIT}, {"cgroup.description": "Secure ssh"}),
    ("service of template", r"/system.slice/system-getty.slice/getty@a\x2db.service",
     {"lib/systemd/system/getty@.service": "[Unit]\nDescription=Getty on %I\n"}, {"cgroup.description": "Getty on a-b"}),
    ("user's service", f"{USER_SLICE.removesuffix('/user.slice')}/app.slice/x.service",
     {"usr/lib/systemd/user/x.service": UNIT}, {"cgroup.description": "Secure x"}),
]  # fmt: skip


def host(directory: Path, path: str, files: Files, layout: str = "v2", **collect: Any) -> Host:
    base, name, text, marker = LAYOUTS[layout]
    kernel = {f"{base}{path}/{name}": text, **({marker: "\n"} if marker else {}), "proc/devices": "Block devices:\n"}
    written = {file: text if isinstance(text, str | bytes) else json.dumps(text) for file, text in files.items()}
    return Host(Tree(directory, kernel | written), cgroups.COLLECTOR, settings=collecting(**collect))


def of(found: Host, path: str, seconds: float = 10) -> dict[str, Value]:
    return found.tick(seconds)["cgroup"][path]


def database(directory: Path, *tables: tuple[str, str, dict[str, Any]]) -> bytes:
    """podman's, of sqlite."""
    file = directory.with_suffix(".sql")
    made = sqlite3.connect(file)
    for table in ("ContainerConfig", "PodConfig"):
        made.execute(f"CREATE TABLE IF NOT EXISTS {table} (ID TEXT PRIMARY KEY, JSON TEXT)")
    for table, id_, config in tables:
        made.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (id_, json.dumps(config)))
    made.commit()
    made.close()
    return file.read_bytes()


@pytest.mark.parametrize(
    ("slice_", "storage", "run"),
    [
        ("/machine.slice", STORAGE, "run/containers/storage"),
        (USER_SLICE, "home/ann/.local/share/containers/storage", "run/user/1000/containers"),
    ],
)
def test_podmans_database_tells_labels_and_pods(tmp_path: Path, slice_: str, storage: str, run: str) -> None:
    pod = ID[::-1]
    path = f"{slice_}/libpod-{ID}.scope"
    told = database(
        tmp_path, ("ContainerConfig", ID, {"name": "web-1", "labels": LABELS}), ("PodConfig", pod, {"name": "shop"})
    )
    files = {"etc/passwd": USERS, **stored(storage, "overlay", run, {"io.container.manager": "libpod"})}
    found = host(tmp_path, path, {**files, f"{storage}/db.sql": told})
    found.tree.write(f"sys/fs/cgroup{slice_}/machine-libpod_pod_{pod}.slice/cpu.stat", LAYOUTS["v2"][2])
    values = found.tick()["cgroup"]
    expected = PODMAN
    assert {name: values[path].get(name) for name in expected} == expected
    assert values[f"{slice_}/machine-libpod_pod_{pod}.slice"]["cgroup.name"] == "shop"
    assert found.problems == {}


def test_podman_rename_is_seen(tmp_path: Path) -> None:
    path = f"/machine.slice/libpod-{ID}.scope"
    files = stored(STORAGE, "overlay", "run/containers/storage", LIBPOD)
    found = host(tmp_path, path, files)
    assert of(found, path)["container.name"] == "web-1"
    listed = f"{STORAGE}/overlay-containers/containers.json"
    found.tree.write(listed, json.dumps(files[listed]).replace('["web-1"]', '["web-2"]'))
    values = of(found, path, 60)
    assert (values["container.name"], values["cgroup.name"]) == ("web-2", "web-2")


def test_a_damaged_database_of_podman_costs_the_labels(tmp_path: Path) -> None:
    path = f"/machine.slice/libpod-{ID}.scope"
    files = stored(STORAGE, "overlay", "run/containers/storage", {"io.container.manager": "libpod"})
    found = host(tmp_path, path, {**files, f"{STORAGE}/libpod/bolt_state.db": "x" * 9000})
    values = of(found, path)
    assert values["container.name"] == "web-1"
    assert "container.labels" not in values
    assert "not a database of podman" in found.problems[f"{STORAGE}/libpod/bolt_state.db"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("path", "files", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_runtime_and_driver(
    path: str, files: Files, expected: dict[str, Any], layout: str, tmp_path: Path
) -> None:
    found = host(tmp_path, path, files, layout)
    values = of(found, path)
    assert {name: values.get(name) for name in expected} == expected
    assert values["cgroup.mode"] == layout
    assert found.problems == {}


def test_without_any_file_a_container_has_its_short_id_and_no_image(tmp_path: Path) -> None:
    values = of(host(tmp_path, f"/docker/{ID}", {}), f"/docker/{ID}")
    assert (values["container.name"], values["container.id"]) == (ID[:12], ID)
    assert {"container.image.name", "container.labels", "kubernetes.pod.name"} & values.keys() == set()


def test_a_file_that_comes_later_is_found_and_a_changed_one_read_again(tmp_path: Path) -> None:
    found = host(tmp_path, f"/docker/{ID}", {})
    path = f"/docker/{ID}"
    assert of(found, path)["container.name"] == ID[:12]
    [(file, content)] = docker().items()
    found.tree.write(file, json.dumps(content))
    assert of(found, path, 1)["container.name"] == ID[:12]
    assert of(found, path, 10)["container.name"] == "web-1"
    found.tree.write(file, json.dumps({**content, "Name": "/renamed"}))
    assert of(found, path, 10)["container.name"] == "web-1"
    values = of(found, path, 60)
    assert (values["container.name"], values["cgroup.name"]) == ("renamed", "renamed")


def test_a_file_that_is_not_there_is_looked_for_less_and_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = host(tmp_path, f"/docker/{ID}", {})
    asked, stat = [], found.tree.stat

    def noted(path: str) -> os.stat_result:
        asked.append(path)
        return stat(path)

    monkeypatch.setattr(found.tree, "stat", noted)
    for _ in range(360):
        found.tick(10)
    looked = [path for path in asked if path.endswith("config.v2.json")]
    assert 8 <= len(looked) <= 14


def test_labels_are_those_allowed(tmp_path: Path) -> None:
    path = f"/docker/{ID}"
    values = of(host(tmp_path / "all", path, docker(), labels=("*",)), path)
    assert values["container.labels"] == LABELS
    assert "container.labels" not in of(host(tmp_path / "none", path, docker(), labels=()), path)


HOSTILE: list[tuple[str, Any]] = [
    ("long", {"Name": "/" + "x" * 1_000_000, "Config": {"Labels": {f"k{n}": "v" * 9999 for n in range(999)}}}),
    ("control characters", {"Name": "/a\x1b[2J\x00\u202e\ud800b", "Config": {"Image": "i\nj"}}),
    ("other types", {"Name": ["x"], "Config": {"Image": 5, "Labels": [1]}, "State": {"Pid": "1"}}),
    ("up the tree", {"Name": "/../../etc/passwd", "Config": {"Image": "../../x"}}),
    ("deep", "[" * 100_000),
    ("half", '{"Name": "/we'),
    ("a list", "[]"),
    ("not text", b"\xff\xfe\x00"),
    ("empty", ""),
    ("huge number", '{"Name": ' + "9" * 10_000 + "}"),
]


@pytest.mark.parametrize("content", [row[1] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_hostile_content_is_harmless(content: Any, tmp_path: Path) -> None:
    path = f"/docker/{ID}"
    found = host(tmp_path, path, {f"var/lib/docker/containers/{ID}/config.v2.json": content}, labels=("*",))
    values = of(found, path)
    for value in (str(values["container.name"]), str(values.get("container.image.name", "x"))):
        assert 0 < len(value) <= 512
        assert value.isprintable()
        value.encode()
    labels = values.get("container.labels", {})
    assert isinstance(labels, dict)
    assert len(labels) <= 64
    assert all(len(str(text)) <= 512 for pair in labels.items() for text in pair)


@pytest.mark.parametrize(
    "name", [r"machine-..\x2f..\x2fetc\x2fpasswd.scope", r"machine-\x00.scope", "machine-...scope"]
)
def test_names_that_lead_elsewhere_are_not_looked_up(name: str, tmp_path: Path) -> None:
    found = host(tmp_path, f"/machine.slice/{name}", {"etc/passwd": "ROOT=/secret\n"})
    assert "container.image.name" not in of(found, f"/machine.slice/{name}")
    assert found.problems == {}


def test_a_units_link_leads_below_the_hosts_root_and_a_masked_one_nowhere(tmp_path: Path) -> None:
    path = "/system.slice/sshd.service"
    found = host(tmp_path, path, {"usr/lib/systemd/system/ssh.service": UNIT.replace("%p", "shell")})
    link = tmp_path / "etc/systemd/system/sshd.service"
    link.parent.mkdir(parents=True)
    link.symlink_to("/usr/lib/systemd/system/ssh.service")
    assert of(found, path)["cgroup.description"] == "Secure shell"
    link.unlink()
    link.symlink_to("/dev/null")
    assert "cgroup.description" not in of(host(tmp_path / "masked", path, {}), path)


def test_a_service_within_a_container_is_not_described_by_the_hosts_file(tmp_path: Path) -> None:
    path = f"/docker/{ID}/system.slice/ssh.service"
    values = of(host(tmp_path, path, {"usr/lib/systemd/system/ssh.service": UNIT}), path)
    assert "cgroup.description" not in values


ROOTLESS = f"{USER_SLICE}/docker-{ID}.scope"
OTHERS = f"{USER_SLICE.replace('1000', '1001')}/docker-{ID}.scope"
SYSTEMS = ID[::-1].replace("d", "e")
HOME = "home/ann/.local/share/docker"


def test_a_users_home_that_does_not_answer_costs_that_users_names_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = USERS + "bob:x:1001:1001::/home/bob:/bin/sh\n"
    files = {"etc/passwd": users, **docker(HOME), **docker("home/bob/.local/share/docker")}
    files[f"var/lib/docker/containers/{SYSTEMS}/config.v2.json"] = next(iter(docker().values()))
    found = host(tmp_path, ROOTLESS, files)
    for path in (f"/docker/{SYSTEMS}", OTHERS):
        found.tree.write(f"sys/fs/cgroup{path}/cpu.stat", LAYOUTS["v2"][2])
    answers, stat = threading.Event(), found.tree.stat

    def dead(path: str) -> os.stat_result:
        if path.startswith("home/ann"):
            answers.wait(60)
        return stat(path)

    monkeypatch.setattr(found.tree, "stat", dead)
    began = time.monotonic()
    cgroups = found.tick()["cgroup"]
    assert time.monotonic() - began < 3
    names = {path: cgroups[path]["container.name"] for path in (ROOTLESS, f"/docker/{SYSTEMS}", OTHERS)}
    assert names == {ROOTLESS: ID[:12], f"/docker/{SYSTEMS}": "web-1", OTHERS: "web-1"}
    assert "no answer within" in found.problems["files of user 1000"]
    began = time.monotonic()
    found.tick()
    assert time.monotonic() - began < 0.25, "nobody waits a second time"
    answers.set()
    end = time.monotonic() + 30
    while of(found, ROOTLESS, 600)["container.name"] != "web-1":
        assert time.monotonic() < end
    assert found.problems == {}


@pytest.mark.parametrize("what", ["large", "other's", "fifo", "link to a device"])
def test_a_users_file_that_is_not_a_plain_small_one_of_theirs_is_not_read(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(file, content)] = docker(HOME).items()
    found = host(tmp_path, ROOTLESS, {"etc/passwd": USERS, file: content})
    path = Path(found.tree.absolute(file))
    if what == "large":
        path.write_text(json.dumps({**content, "More": ["x"] * (1 << 18)}))
    elif what == "other's":
        monkeypatch.setattr("os.geteuid", lambda: 4321)
        monkeypatch.setattr("os.fstat", lambda fd, real=os.fstat: _owned_by(real(fd), 1001))
    else:
        path.unlink()
        if what == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
    assert of(found, ROOTLESS)["container.name"] == ID[:12]
    assert list(found.problems) == [file] or what == "link to a device"


def _owned_by(found: os.stat_result, uid: int) -> os.stat_result:
    return os.stat_result((*found[:4], uid, *found[5:10]))
