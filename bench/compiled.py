"""The benchmarks' small C programs, compiled on first use."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path


@cache
def compiled(name: str, *, library: bool = False) -> str:
    """Path of the program or library made from ``bench/<name>.c``; it is removed when this process ends."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("needs a C compiler; run apt-get install gcc libc6-dev")
    directory = tempfile.TemporaryDirectory(prefix="shipper-bench-")
    _KEPT.append(directory)
    target = Path(directory.name, name)
    kind = ["-shared", "-fPIC"] if library else []
    subprocess.run([compiler, "-O2", *kind, "-o", target, Path(__file__).with_name(f"{name}.c")], check=True)
    return str(target)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
