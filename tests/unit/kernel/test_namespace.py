"""Namespaces of a host whose pid 1 may not be read."""

from pathlib import Path

import pytest

from shipper.kernel.namespace import of_host
from shipper.kernel.source import Reader, Root


@pytest.mark.parametrize(
    ("second", "found"),
    [("2 (kthreadd) R 0 0 0 0 -1", "net:[7]"), ("2 (sleep) S 1 2 2 0 -1", ""), ("2 (kthreadd) S 1 2 2 0 -1", "")],
)
def test_the_kernels_threads_tell_the_hosts_namespace(tmp_path: Path, second: str, found: str) -> None:
    (tmp_path / "proc/2/ns").mkdir(parents=True)
    (tmp_path / "proc/2/stat").write_text(second)
    (tmp_path / "proc/2/ns/net").symlink_to("net:[7]")
    assert of_host(Reader(Root(str(tmp_path))), "net") == found


def test_pid_1_comes_first(tmp_path: Path) -> None:
    for pid, inode in ((1, 6), (2, 7)):
        (tmp_path / f"proc/{pid}/ns").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/ns/net").symlink_to(f"net:[{inode}]")
    (tmp_path / "proc/2/stat").write_text("2 (kthreadd) R 0 0")
    assert of_host(Reader(Root(str(tmp_path))), "net") == "net:[6]"
