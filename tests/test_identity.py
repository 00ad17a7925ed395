"""What a cgroup is, from its path: a row per runtime and driver, and the rule that leaves are a partition."""

import pytest

from shipper.collect.identity import CgroupKind, Identity, Node, identify, recognise, unescape

ID = "4f1c0ffee0" * 6 + "abcd"
SHORT = ID[:12]
POD = "0a1b2c3d_1111_2222_3333_444455556666"


def tree(*paths: str) -> Node:
    root = Node()
    for path in paths:
        node = root
        for name in path.strip("/").split("/"):
            node = node.children.setdefault(name, Node({"unified": len(path)}))
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
    if kind == "container":
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


def test_what_has_no_name_of_its_own_folds_into_the_workload() -> None:
    assert list(found("/system.slice/shipper.service/payload", "/system.slice/shipper.service/supervisor")) == [
        "/system.slice",
        "/system.slice/shipper.service",
    ]
    assert list(found(f"/docker/{ID}/init", f"/docker/{ID}/worker/3")) == ["/docker", f"/docker/{ID}"]
    assert list(found("/machine.slice/n.scope/init.scope")) == ["/machine.slice", "/machine.slice/n.scope"]


def test_a_workload_that_holds_others_is_an_aggregate_and_its_rest_is_published() -> None:
    inner = f"/docker/{ID}/docker/{'b' * 64}"
    result = found(inner, f"/docker/{ID}/init")
    assert {path: one.aggregate for path, one in result.items()} == {
        "/docker": True,
        f"/docker/{ID}": True,
        f"/docker/{ID}/docker": True,
        inner: False,
        f"/docker/{ID}/init": False,
    }


def test_a_booted_machine_is_one_machine_and_its_parts_are_a_partition() -> None:
    base = "/machine.slice/systemd-nspawn@n1.service"
    leaves = [f"{base}/supervisor", f"{base}/payload/init.scope", f"{base}/payload/system.slice/cron.service"]
    result = found(*leaves)
    assert [path for path, one in result.items() if one.kind is CgroupKind.MACHINE] == [base]
    assert sorted(path for path, one in result.items() if not one.aggregate) == sorted(leaves)


def test_units_that_hold_no_tasks_are_left_out() -> None:
    assert list(found("/dev-hugepages.mount", "/system.slice/x.socket", "/swap.swap")) == ["/system.slice"]


def test_systemd_escapes_also_of_utf8() -> None:
    assert unescape(r"a\x2db\xc3\xa4") == "a-bä"


@pytest.mark.parametrize("name", ["", " ", "\x1b[2J", "docker-.scope", f"docker-{ID[:-1]}.scope", "..slice", "\udcff"])
def test_odd_names_are_not_taken_for_containers(name: str) -> None:
    identity = recognise("docker", name)
    assert identity is None or identity.kind is not CgroupKind.CONTAINER
