"""Instructions and bytes per cgroup document on the hot path, against the figures recorded: what CI can hold.

Times are noisy; instructions are not: ``valgrind --tool=callgrind`` counts those of some ticks over a captured host
(``bench.hot``). They depend on the build of Python: ``bench/instructions.json`` has figures by version and compiler.
``python -m bench.instructions`` compares within 3 %; ``--record`` writes anew.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import table
from bench.compiled import compiled

RECORDED = Path(__file__).with_name("instructions.json")
BUILD = f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}"
HOSTS = ("debian-12-v2-systemd", "debian-12-hybrid-docker")
WITHIN = 0.03
_TESTS = Path(__file__).parent.parent / "tests"  # captured.py
_TICKS = 10
_ENVIRON = {
    "PATH": os.environ["PATH"],
    "PYTHONHASHSEED": "0",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONPATH": str(_TESTS),
}


def measure(host: str) -> dict[str, float]:
    """``instructions``, ``bytes`` and ``wire_bytes`` of one document."""
    with tempfile.TemporaryDirectory(prefix="shipper-bench-") as directory:
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]
        hot = [sys.executable, "-m", "bench.hot", host, str(_TICKS), directory, compiled("counting", library=True)]
        made = subprocess.run([*valgrind, *hot], env=_ENVIRON, capture_output=True, text=True, check=False)
    counted = re.search(r"Collected : (\d+)", made.stderr)
    if made.returncode or counted is None:
        raise SystemExit(f"bench.hot failed:\n{made.stderr}")
    counts = json.loads(made.stdout)
    documents = counts.pop("documents")
    counts["instructions"] = int(counted[1])
    return {name: round(number / documents, 1) for name, number in counts.items()}


def recorded() -> dict[str, dict[str, dict[str, float]]]:
    """Build of Python → host → figures."""
    found: dict[str, dict[str, dict[str, float]]] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    return found


def differences(found: dict[str, dict[str, float]]) -> list[str]:
    """Every figure that is off by more than WITHIN, one line each; also where nothing is recorded."""
    known = recorded().get(BUILD)
    again = "if that is meant: python -m bench.instructions --record"
    if known is None:
        return [f"nothing recorded for {BUILD}: python -m bench.instructions --record"]
    return [
        f"{host}: {value:g} {name} a document, recorded {known[host][name]:g}; {again}"
        for host, figures in found.items()
        for name, value in figures.items()
        if abs(value / known[host][name] - 1) > WITHIN
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the figures instead of comparing them")
    record = parser.parse_args(arguments).record
    if shutil.which("valgrind") is None:
        raise SystemExit("needs apt-get install valgrind")
    found = {host: measure(host) for host in HOSTS}
    table.show("per cgroup document", [{"host": host, **figures} for host, figures in found.items()])
    table.line("instructions", {"build": BUILD, "results": found})
    if record:
        RECORDED.write_text(json.dumps({**recorded(), BUILD: found}, indent=1) + "\n")
    elif wrong := differences(found):
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
