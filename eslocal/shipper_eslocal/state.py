"""Named clusters, which keep running when the process that started them ends: where they are stored."""

import os
import shutil
from pathlib import Path

from shipper_eslocal.cluster import Cluster, Spec
from shipper_eslocal.errors import Error, disk_advice


def directory() -> Path:
    """`$ESLOCAL_STATE`, else `eslocal` below `$XDG_STATE_HOME`, else `~/.local/state/eslocal`; with mode 0700."""
    if own := os.environ.get("ESLOCAL_STATE"):
        folder = Path(own).absolute()
    else:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state").absolute() / "eslocal"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as failure:
        raise Error(f"cannot use {folder} ({failure.strerror}); set ESLOCAL_STATE to a writable folder") from failure
    return folder


def find(name: str) -> Cluster | None:
    """The cluster of that name, with its running processes; None if it does not exist."""
    root = directory() / name
    return Cluster.load(root) if (root / "cluster.json").exists() else None


def make(spec: Spec, *, nodes: int = 1, port: int | None = None) -> Cluster:
    """A new cluster, not started yet. Raises Error."""
    root = directory() / spec.name
    root.mkdir(mode=0o700, exist_ok=True)
    try:
        with disk_advice(root, "ESLOCAL_STATE"):
            return Cluster.create(root, spec, nodes=nodes, port=port)
    except Error:
        shutil.rmtree(root)
        raise


def named(name: str) -> Cluster:
    """The cluster of that name; if it does not exist, a new one with one node and no security. Raises Error."""
    return find(name) or make(Spec(name))
