"""Named clusters, which stay when the process that started them ends: where they are kept, found and made."""

import os
import shutil
from pathlib import Path

from shipper_eslocal.cluster import Cluster, Spec
from shipper_eslocal.errors import Error, disk_advice


def directory() -> Path:
    """ESLOCAL_STATE, else eslocal below XDG_STATE_HOME, else ~/.local/state/eslocal. Made with mode 0700."""
    if own := os.environ.get("ESLOCAL_STATE"):
        found = Path(own).absolute()
    else:
        found = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state").absolute() / "eslocal"
    try:
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        found.chmod(0o700)
    except OSError as failure:
        raise Error(f"cannot use {found} ({failure.strerror}): set ESLOCAL_STATE to a folder of yours") from failure
    return found


def find(name: str) -> Cluster | None:
    """The cluster of that name, with its running processes if any; None if there is none."""
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
    """The cluster of that name, a new one with one node and no security if there is none. Raises Error."""
    return find(name) or make(Spec(name))
