"""Documents of processes and events name the cgroup they belong to, also one that is gone since the tick before."""

from pathlib import Path

from trees import Tree

from shipper.collect.cgroup.entities import entities, membership
from shipper.collect.cgroup.identity import deepest
from shipper.kernel.source import Reader

ID = "ab" * 32
PATH = f"/system.slice/docker-{ID}.scope"


def test_the_name_lasts_for_one_turn_after_the_cgroup_is_gone(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {})
    named = entities(Reader(tree))
    named.begin()
    named.add(PATH, "web@node-1")
    names = []
    for _ in range(3):
        names.append(membership(Reader(tree), PATH, None).get("cgroup.entity"))
        named.begin()
    assert names == ["web@node-1", "web@node-1", None]


def test_a_container_is_told_with_its_runtime(tmp_path: Path) -> None:
    found = deepest(PATH.strip("/").split("/"))
    assert found
    assert membership(Reader(Tree(tmp_path, {})), *found) == {
        "cgroup.path": PATH,
        "container.id": ID,
        "container.runtime": "docker",
    }


def test_hosts_do_not_share_names(tmp_path: Path) -> None:
    trees = [Tree(tmp_path / name, {}) for name in ("a", "b")]
    entities(Reader(trees[0])).add("/x", "x@a")
    assert [membership(Reader(tree), "/x", None).get("cgroup.entity") for tree in trees] == ["x@a", None]
