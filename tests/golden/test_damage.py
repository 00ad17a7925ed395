"""A damaged file costs its own values and nothing else, and is named."""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from captured import CapturedRoot, Noting, Ticks
from moments import HOSTS

from shipper.collect import COLLECTORS
from shipper.fields.field import Kind, Type
from shipper.schema.datasets import DATASETS

HOST = HOSTS / "debian-12-hybrid"
# One process more or less is seen in no value of its own; cgroups have their own test of this kind
OURS = tuple(one for one in COLLECTORS if one.name not in ("processes", "cgroup"))
# uname(2) tells the same; no value of its own; not known to this machine's driver
NOT_MISSED = ("/arch", "/ifindex", "/speed")
# People's files need no newline at their end; -1 without one is still -1
NOT_CUT = ("etc/os-release", "/speed")
TYPES: dict[Type, tuple[type, ...]] = {
    Type.LONG: (int,), Type.FLOAT: (int, float), Type.KEYWORD: (str, list), Type.BOOLEAN: (bool,),
    Type.FLATTENED: (dict,), Type.DATE: (str,), Type.IP: (list,),
}  # fmt: skip


class Recording(Noting):
    """Notes the files that are only looked at, too."""

    def stat(self, path: str) -> os.stat_result:
        self.opened.add(path.lstrip("/"))
        return super().stat(path)


def files_read(directory: Path) -> list[str]:
    root = Recording(HOST, directory)
    Ticks(root, OURS).tick()
    return sorted(path for path in root.opened if (HOST / "0" / path).is_file() and not path.endswith("/device"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return files_read(tmp_path_factory.mktemp("all"))


def run(host: Path, directory: Path) -> tuple[dict[tuple[str, str, str], Any], set[str]]:
    """Every leaf under (dataset, entity, name) at the second moment, and the files with problems."""
    directory.mkdir(exist_ok=True)
    root = CapturedRoot(host, directory)
    ticks = Ticks(root, OURS)
    ticks.tick()
    problems = {problem.file for problem in ticks.problems}
    root.show(1)
    documents = ticks.tick()
    found = {
        (dataset, entity, name): value
        for dataset, entities in documents.items()
        for entity, values in entities.items()
        for name, value in values.items()
    }
    return found, problems | {problem.file for problem in ticks.problems}


def damaged(text: bytes, how: str) -> bytes:
    if how == "random":
        return random.Random(7).randbytes(300)
    return b"" if how == "empty" else text[: len(text) * 2 // 3].rstrip(b"\n")


def test_files_are_many(files: list[str]) -> None:
    assert len(files) >= 23
    assert {"proc/stat", "proc/1/mountinfo", "sys/class/net/eth0/operstate", "etc/os-release"} <= set(files)


@pytest.mark.parametrize("how", ["random", "empty", "cut"])
def test_each_file_in_turn(how: str, files: list[str], tmp_path: Path) -> None:
    sound, no_problems = run(HOST, tmp_path / "sound")
    assert not no_problems
    host = tmp_path / "host"
    shutil.copytree(HOST, host, ignore=shutil.ignore_patterns("cgroup", "golden.json", "status"))
    for file in files:
        if how == "cut" and file.endswith(NOT_CUT):
            continue
        for moment in "01":
            (host / moment / file).write_bytes(damaged((HOST / moment / file).read_bytes(), how))
        found, problems = run(host, tmp_path / "run")
        assert problems == {file}, file
        lost = {key: value for key, value in sound.items() if key not in found}
        assert lost or file.endswith(NOT_MISSED), file
        # what is made from the file and from others may be missing, but nothing has another value
        assert {key: found[key] for key in found if key in sound} == {key: sound[key] for key in found if key in sound}
        assert len(lost) <= len(sound) / 3, file
        for moment in "01":
            shutil.copyfile(HOST / moment / file, host / moment / file)


@pytest.mark.parametrize("host", sorted(path for path in HOSTS.iterdir() if path.is_dir()), ids=lambda path: path.name)
def test_every_leaf_is_declared_and_of_its_type(host: Path, tmp_path: Path) -> None:
    root = CapturedRoot(host, tmp_path)
    check_leaves(Ticks(root), root)


def check_leaves(ticks: Ticks, root: CapturedRoot | None = None) -> None:
    declared = {(one.name, field.name): field for one in DATASETS.values() for field in one.fields}
    for moment in (0, 1):
        if root:
            root.show(moment)
        for dataset, entities in ticks.tick().items():
            names = {name for known, name in declared if known == dataset}
            for values in entities.values():
                assert set(values) <= names
                for name, value in values.items():
                    field = declared[dataset, name]
                    assert isinstance(value, TYPES[field.type]), name
                    assert field.type is Type.BOOLEAN or not isinstance(value, bool), name
                    if field.unit == "pct" and field.kind is Kind.GAUGE and ".cpu." not in name:
                        assert 0 <= float(str(value)) <= 1, name


def test_no_name_is_leaf_and_parent() -> None:
    for dataset in {dataset for one in COLLECTORS for dataset in one.outputs}:
        outputs = [one.outputs[dataset] for one in COLLECTORS if dataset in one.outputs]
        names = [field.name for output in outputs for field in output.all_fields]
        assert len(names) == len(set(names))
        assert not [name for name in names if any(other.startswith(f"{name}.") for other in names)]
