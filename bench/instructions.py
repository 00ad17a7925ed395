"""Instructions and bytes per cgroup document on the hot path, compared with the recorded figures: a check for CI.

Times are noisy, instructions are not: ``valgrind --tool=callgrind`` counts those of some ticks over a captured host
(``bench.hot``). They depend on the build of Python: ``bench/instructions.json`` has figures by version and compiler.
``python -m bench.instructions`` allows a difference of 3 %; ``--record`` overwrites the figures.
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
_TESTS = Path(__file__).parent.parent / "tests" / "support"  # captured.py
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
    figures: dict[str, dict[str, dict[str, float]]] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    return figures


def differences(measured: dict[str, dict[str, float]]) -> list[str]:
    """One line for every figure that differs by more than WITHIN; also a line if nothing is recorded."""
    known = recorded().get(BUILD)
    again = "if the change is intended, run python -m bench.instructions --record"
    if known is None:
        return [f"nothing recorded for {BUILD}; run python -m bench.instructions --record"]
    return [
        f"{host}: {value:g} {name} per document, recorded {known[host][name]:g}; {again}"
        for host, figures in measured.items()
        for name, value in figures.items()
        if abs(value / known[host][name] - 1) > WITHIN
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the figures instead of comparing them")
    record = parser.parse_args(arguments).record
    if shutil.which("valgrind") is None:
        raise SystemExit("needs valgrind; run apt-get install valgrind")
    measured = {host: measure(host) for host in HOSTS}
    table.show("per cgroup document", [{"host": host, **figures} for host, figures in measured.items()])
    table.line("instructions", {"build": BUILD, "results": measured})
    if record:
        RECORDED.write_text(json.dumps({**recorded(), BUILD: measured}, indent=1) + "\n")
    elif wrong := differences(measured):
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
