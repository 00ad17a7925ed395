"""What a cgroup is, from its path: a row per runtime and driver, and the rule that leaves are a partition."""

import pytest

from shipper.collect.cgroup.identity import (
    CgroupKind,
    Identity,
    identify,
    looks_like_a_container,
    pod_uid,
    recognise,
    unescape,
)
from shipper.kernel.hierarchy import Node

ID = "4f1c0ffee0" * 6 + "abcd"
SHORT = ID[:12]
POD = "0a1b2c3d_1111_2222_3333_444455556666"


def tree(*paths: str) -> Node:
    root = Node()
    for path in paths:
        node = root
        for name in path.strip("/").split("/"):
            node = node.child(name)
            node.inodes.setdefault("unified", len(path))
    return root


def found(*paths: str) -> dict[str, Identity]:
    return {path: identity for path, _, identity in identify(tree(*paths))}


@pytest.mark.parametrize(
    ("path", "kind", "runtime", "name"),
    [
        (f"/docker/{ID}", "container", "docker", SHORT),
        (f"/system.slice/docker-{ID}.scope", "container", "docker", SHORT),
        (f"/tenants.slice/docker-{ID}.scope", "container", "docker", SHORT),
        (f"/kubepods/burstable/pod0a1b2c3d-1111-2222-3333-444455556666/{ID}", "container", "", SHORT),
        (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD}.slice/cri-containerd-{ID}.scope",
         "container", "containerd", SHORT),
        (f"/kubepods.slice/kubepods-pod{POD}.slice/crio-{ID}.scope", "container", "cri-o", SHORT),
        (f"/kubepods/besteffort/podx/crio-{ID}", "container", "cri-o", SHORT),
        (f"/machine.slice/libpod-{ID}.scope", "container", "podman", SHORT),
        (f"/libpod_parent/libpod-{ID}", "container", "podman", SHORT),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", "container", "podman", SHORT),
        (f"/system.slice/web.service/libpod-payload-{ID}", "container", "podman", SHORT),
        (f"/system.slice/nerdctl-{ID}.scope", "container", "containerd", SHORT),
        (f"/k8s.io/{ID}", "container", "containerd", SHORT),
        ("/default/web-1", "container", "containerd", "web-1"),
        (f"/default/{ID}", "container", "containerd", SHORT),
        ("/lxc.payload.web-1", "container", "lxc", "web-1"),
        ("/lxc/web-1", "container", "lxc", "web-1"),
        ("/machine.slice/node-1.scope", "machine", "systemd-nspawn", "node-1"),
        (r"/machine.slice/machine-node\x2d1.scope", "machine", "systemd-nspawn", "node-1"),
        ("/machine.slice/systemd-nspawn@node1.service", "machine", "systemd-nspawn", "node1"),
        (r"/machine.slice/machine-qemu\x2d1\x2dvm.scope", "machine", "libvirt", "vm"),
        ("/machine/vm.libvirt-qemu", "machine", "libvirt", "vm"),
        (rf"/kubepods-burstable-pod{POD}.slice:cri-containerd:{ID}", "container", "containerd", SHORT),
        (f"/system.slice/containerd.service/kubepods-pod{POD}.slice:crio:{ID}", "container", "cri-o", SHORT),
        (f"/system.slice:docker:{ID}", "container", "docker", SHORT),
        (f"/system.slice:youki:{ID}", "container", "", SHORT),
        (f"/machine.slice/kata_{ID}.scope", "container", "", SHORT),
        (f"/ecs/{'a' * 32}/{ID}", "container", "", SHORT),
        (f"/ecstasks.slice/ecstasks-{'a' * 32}.slice/docker-{ID}.scope", "container", "docker", SHORT),
        (f"/ecs/{'a' * 32}/{'b' * 32}-1234567890", "container", "containerd", f"{'b' * 32}-1234567890"),
        (f"/nomad.slice/share.slice/{POD.replace('_', '-')}.web.scope", "container", "nomad", "web"),
        (f"/nomad.slice/{POD.replace('_', '-')}.web.scope", "container", "nomad", "web"),
        ("/docker/buildkit/0123456789abcdefghijklmno", "container", "docker", "0123456789abcdefghijklmno"),
        ("/machine.slice/buildah-buildah123.scope", "container", "podman", "buildah123"),
        ("/lxc.payload/web-1", "container", "lxc", "web-1"),
        ("/garden/0a1b-2c", "container", "garden", "0a1b-2c"),
        ("/qemu.slice/103.scope", "machine", "qemu", "103"),
        ("/libvirt/qemu/vm", "machine", "libvirt", "vm"),
        ("/machine.slice/runc-abc.scope", "scope", "", "runc-abc.scope"),
        ("/machine.slice/run-r0a1b.scope", "scope", "", "run-r0a1b.scope"),
        (f"/crio-conmon-{ID}.scope", "scope", "", f"crio-conmon-{ID}.scope"),
        ("/system.slice/sshd.service", "service", "", "sshd.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "service", "", "getty@tty1.service"),
        ("/user.slice/user-0.slice/session-3.scope", "scope", "", "session-3.scope"),
        (f"/machine.slice/libpod-conmon-{ID}.scope", "scope", "", f"libpod-conmon-{ID}.scope"),
        ("/init.scope", "scope", "", "init.scope"),
        ("/anything", "scope", "", "anything"),
    ],
)  # fmt: skip
def test_each_runtime_and_driver(path: str, kind: str, runtime: str, name: str) -> None:
    identity = found(path)[path]
    assert (identity.kind, identity.runtime, identity.name) == (kind, runtime, name)
    assert not identity.aggregate
    if kind == "container" and runtime != "nomad":
        assert identity.id in (ID, name)


def test_slices_pods_and_what_holds_others_are_aggregates() -> None:
    path = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD}.slice/cri-containerd-{ID}.scope"
    result = found(path)
    assert [(one.kind.value, one.aggregate) for one in result.values()] == [
        ("slice", True), ("slice", True), ("pod", True), ("container", False),
    ]  # fmt: skip
    pod = result[path.rpartition("/")[0]]
    assert pod.id == POD.replace("_", "-")
    assert found("/docker", f"/docker/{ID}")["/docker"].kind is CgroupKind.SLICE


@pytest.mark.parametrize(
    ("path", "runtime"),
    [
        (f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{POD}.slice", "kubernetes"),
        (f"/root/kubepods/besteffort/pod{POD.replace('_', '-')}", "kubernetes"),
        (f"/libpod_parent/{ID}", "podman"),
        (f"/machine.slice/machine-libpod_pod_{ID}.slice", "podman"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{ID}.slice", "podman"),
    ],
)
def test_pods_of_every_maker(path: str, runtime: str) -> None:
    identity = found(f"{path}/libpod-{ID}")[path]
    assert (identity.kind, identity.runtime, identity.aggregate) == (CgroupKind.POD, runtime, True)
    assert identity.id == (ID if runtime == "podman" else POD.replace("_", "-"))


@pytest.mark.parametrize(
    ("path", "uid"),
    [
        (f"/kubepods.slice/kubepods-pod{POD}.slice/cri-containerd-{ID}.scope", POD.replace("_", "-")),
        (f"/kubepods/pod{POD.replace('_', '-')}/{ID}", POD.replace("_", "-")),
        (f"/kubepods-pod{POD}.slice:cri-containerd:{ID}", POD.replace("_", "-")),
        (f"/kubepods/burstable/pod{'c' * 32}/{ID}", "c" * 32),
        (f"/docker/{ID}", ""),
    ],
)
def test_the_pod_of_a_path(path: str, uid: str) -> None:
    assert pod_uid(path) == uid


@pytest.mark.parametrize(
    ("name", "like"),
    [
        (f"box-{'a' * 32}", True),
        (f"task-{POD.replace('_', '-')}.scope", True),
        ("run-r0123456789abcdef0123456789abcdef.scope", False),
        (f"crio-conmon-{ID}.scope", False),
        ("session-3.scope", False),
    ],
)
def test_what_looks_like_a_container_and_is_not_known(name: str, like: bool) -> None:
    [identity] = found(f"/{name}").values()
    assert looks_like_a_container(name, identity.kind) is like


def test_what_has_no_name_of_its_own_folds_into_the_workload() -> None:
    assert list(found("/system.slice/shipper.service/payload", "/system.slice/shipper.service/supervisor")) == [
        "/system.slice",
        "/system.slice/shipper.service",
    ]
    assert list(found(f"/docker/{ID}/init", f"/docker/{ID}/worker/3")) == ["/docker", f"/docker/{ID}"]
    assert list(found("/machine.slice/n.scope/init.scope")) == ["/machine.slice", "/machine.slice/n.scope"]


def test_a_container_that_holds_others_counts_as_a_whole() -> None:
    """docker in docker: what lies in it is published, and left out of sums."""
    inner = f"/docker/{ID}/docker/{'b' * 64}"
    result = found(inner, f"/docker/{ID}/init")
    assert {path: (one.kind.value, one.aggregate) for path, one in result.items()} == {
        "/docker": ("slice", True),
        f"/docker/{ID}": ("container", False),
        f"/docker/{ID}/docker": ("slice", True),
        inner: ("container", True),
    }


def test_a_service_that_holds_containers_is_an_aggregate_and_its_rest_is_published() -> None:
    base = "/system.slice/web.service"
    result = found(f"{base}/libpod-payload-{ID}", f"{base}/supervisor")
    assert {path: one.aggregate for path, one in result.items() if path.startswith(base)} == {
        base: True,
        f"{base}/libpod-payload-{ID}": False,
        f"{base}/supervisor": False,
    }


def test_a_booted_machine_is_one_machine_and_counts_as_a_whole() -> None:
    base = "/machine.slice/systemd-nspawn@n1.service"
    inner = [f"{base}/payload/system.slice/cron.service"]
    result = found(f"{base}/supervisor", f"{base}/payload/init.scope", *inner)
    assert [path for path, one in result.items() if one.kind is CgroupKind.MACHINE] == [base]
    assert [path for path, one in result.items() if not one.aggregate] == [base]
    assert result[inner[0]].kind is CgroupKind.SERVICE


def test_units_that_hold_no_tasks_are_left_out() -> None:
    assert list(found("/dev-hugepages.mount", "/system.slice/x.socket", "/swap.swap")) == ["/system.slice"]


def test_systemd_escapes_also_of_utf8() -> None:
    assert unescape(r"a\x2db\xc3\xa4") == "a-bä"


@pytest.mark.parametrize("name", ["", " ", "\x1b[2J", "docker-.scope", f"docker-{ID[:-1]}.scope", "..slice", "\udcff"])
def test_odd_names_are_not_taken_for_containers(name: str) -> None:
    identity = recognise("docker", name)
    assert identity is None or identity.kind is not CgroupKind.CONTAINER
