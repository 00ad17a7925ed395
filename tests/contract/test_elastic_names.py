"""Names of Elastic mean what Elastic means: ``elastic_names.md`` against the registry and captured hosts."""

import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from moments import HOSTS

from shipper.fields.field import Field
from shipper.schema.datasets import DATASETS, every_field

TABLE: Final = Path(__file__).parents[1] / "elastic_names.md"
TYPES: Final = {"scaled_float": "float", "half_float": "float", "double": "float"}
# Below names of Elastic's, but ours: nothing that Elastic makes has these
OWN: Final = (
    *("agent.[!v]*", "cgroup.*"),
    *(
        f"container.{name}"
        for name in ("exit_code", "finished", "health", "image.changed", "oom_killed", "restarts.count", "state")
    ),
    *("event.oom.*", "system.process.oom_score", "system.process.memory.pss.bytes", "system.process.io.*"),
    *("system.process.cpu.total.ns", "system.process.summary.disk_sleep"),
    *("attributes", "metric", "metricset.*.count", "metricset.duration.us", "metricset.series"),
    # Groups that Elastic has not
    *(
        f"system.{group}.*"
        for group in (
            *("clock", "conntrack", "context_switches", "edac", "files", "forks", "icmp", "icmp6", "inodes"),
            *("interrupts", "ip", "ip6", "kernel", "nfs", "pids", "pressure", "sensor", "sessions", "softirq"),
            *("softirqs", "systemd", "tcp", "threads", "udp", "udp6", "vm", "zfs"),
        )
    ),
    *("system.boot.first", "system.reboot_required", "system.socket.used.count"),
    # Times of CPU states as counters, in ns; the shares of guests, which Elastic leaves in user and nice
    *(f"system.{cpu}.{name}" for cpu in ("cpu", "core") for name in ("*.ns", "guest.*", "guest_nice.*")),
    "system.core.total.pct",
    *("system.cpu.frequency.*", "system.cpu.throttle.*"),
    # Times and sizes made of counters, all disks or interfaces together, and columns that Elastic does not read
    *("system.diskio.total.*", "system.diskio.*.await.ms", "system.diskio.*.merges.count", "system.diskio.discard.*"),
    *("system.diskio.flush.*", "system.diskio.io.weighted_time.ms"),
    *(f"system.diskio.{name}" for name in ("model", "physical", "queue.count", "request.bytes", "rotational")),
    *("system.diskio.util.pct", "system.filesystem.read_only", "system.filesystem.stuck"),
    "system.filesystem.used_files.pct",
    *("system.network.total.*", "system.network.*.compressed.count", "system.network.*.fifo.count"),
    *("system.network.in.frame.count", "system.network.in.multicast.count", "system.network.out.carrier.count"),
    *("system.network.out.collisions.count", "system.network.util.pct", "system.network.speed.mbit_per_s"),
    *(f"system.network.{name}" for name in ("duplex", "kind", "mtu.bytes", "operstate", "physical")),
    *("system.raid.disks.configured.count", "system.raid.disks.missing.count", "system.raid.mismatch.count"),
    "system.raid.sync.pct",
    # Further lines of meminfo
    *("system.memory.*active*.bytes", "system.memory.hugepages.all.bytes", "system.memory.hugepages.in_use.bytes"),
    *(
        f"system.memory.{name}.bytes"
        for name in (
            *("anon", "anon_huge", "bounce", "buffers", "cached", "cma.*", "commit_limit", "committed", "corrupted"),
            *("direct_map.*", "dirty", "file_huge*", "kernel_reclaimable", "kernel_stack", "locked", "mapped"),
            *("nfs_unstable", "page_tables", "percpu", "secondary_page_tables", "shmem*", "slab.*", "swap.cached"),
            *("unevictable", "vmalloc.*", "writeback*", "zswap*"),
        )
    ),
)


@dataclass(frozen=True)
class Row:
    type: str
    unit: str
    definition: str
    source: str
    differs: str


def read_table() -> dict[str, Row]:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return {name.strip("`"): Row(*rest, *("",) * (5 - len(rest))) for name, *rest in cells}


ROWS: Final = read_table()


def ours() -> dict[str, Field]:
    """Every name of the registry, aliases with the field behind them; rates per second are no names of Elastic's."""
    fields = {field.name: field for _, field in every_field() if not field.name.endswith("_per_s")}
    return fields | {one.name: fields[one.target] for dataset in DATASETS.values() for one in dataset.aliases}


def is_own(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in OWN)


def test_table_is_sorted_and_full() -> None:
    names = re.findall(r"^\| `([^`]+)`", TABLE.read_text(), re.MULTILINE)
    assert names == sorted(set(names))
    assert [name for name, row in ROWS.items() if not (row.type and row.definition and row.source)] == []


def test_each_field_is_elastics_by_the_table_or_our_own() -> None:
    fields = ours()
    assert [name for name in fields if name not in ROWS and not is_own(name)] == []
    assert [name for name in ROWS if name not in fields] == []
    assert [name for name in ROWS if is_own(name)] == []


def test_no_pattern_of_our_own_names_is_left_over() -> None:
    fields = {*ours(), *(field.name for _, field in every_field())}
    assert [pattern for pattern in OWN if not fnmatch.filter(fields, pattern)] == []


@pytest.mark.parametrize("name", ROWS)
def test_type_and_unit_are_elastics(name: str) -> None:
    """Or the table says which other one it is."""
    row, field = ROWS[name], ours()[name]
    told = re.match(r"(type|unit) (\w+)", row.differs)
    words = {told[1]: told[2]} if told else {}
    assert field.type == words.get("type", TYPES.get(row.type, row.type))
    assert field.unit == words.get("unit", row.unit)


# Values by the definitions, from the files of captured hosts


@dataclass(frozen=True)
class Moment:
    """A captured host at one of its two moments."""

    directory: Path

    def text(self, path: str) -> str:
        return (self.directory / path).read_text(errors="surrogateescape")

    @property
    def noted(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text("moment.json"))
        return found

    def meminfo(self) -> dict[str, int]:
        rows = (line.replace(":", "").split() for line in self.text("proc/meminfo").splitlines())
        return {row[0]: int(row[1]) * (1024 if "kB" in row else 1) for row in rows}

    def rows(self, path: str) -> list[list[str]]:
        return [line.replace(":", " ").split() for line in self.text(path).splitlines()]

    def cpu(self, name: str) -> list[int]:
        """Ticks of user, nice, system, idle, iowait, irq, softirq and steal; guests are part of the first two."""
        return next([int(word) for word in row[1:9]] for row in self.rows("proc/stat") if row[0] == name)

    def states(self) -> list[str]:
        stats = (self.directory / "proc").glob("[0-9]*/stat")
        return [path.read_text(errors="replace").rpartition(")")[2].split()[0] for path in stats]


@dataclass(frozen=True)
class Pair:
    before: Moment
    now: Moment
    golden: dict[str, Any]

    @property
    def seconds(self) -> float:
        return float(self.now.noted["now_ns"] - self.before.noted["now_ns"]) / 1e9

    def documents(self, dataset: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.golden["1"]["documents"].get(dataset, {})
        return found


@cache
def pair(host: str) -> Pair:
    golden = json.loads((HOSTS / host / "golden.json").read_text())
    return Pair(Moment(HOSTS / host / "0"), Moment(HOSTS / host / "1"), golden)


Values = dict[str, Any]
# Ours are per second of the clock, Metricbeat's per sum of the states, which counts ticks of 10 ms
COARSE: Final = 0.1
CPU_STATES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


def cpu_shares(both: Pair, name: str) -> dict[str, float]:
    """Of the time that all states together took, as Metricbeat has it."""
    spent = [now - before for now, before in zip(both.now.cpu(name), both.before.cpu(name), strict=True)]
    shares = {state: ticks / sum(spent) for state, ticks in zip(CPU_STATES, spent, strict=True)}
    return shares | {"total": 1 - shares["idle"] - shares["iowait"]}


def host_cpu(both: Pair) -> Values:
    cores = sum(re.fullmatch(r"cpu\d+", row[0]) is not None for row in both.now.rows("proc/stat"))
    shares = cpu_shares(both, "cpu")
    loads = dict(zip((1, 5, 15), map(float, both.now.text("proc/loadavg").split()), strict=False))
    return {
        "system.cpu.cores": cores,
        **{f"system.cpu.{state}.norm.pct": share for state, share in shares.items()},
        **{f"system.cpu.{state}.pct": pytest.approx(share * cores, abs=COARSE) for state, share in shares.items()},
        **{f"system.load.{minutes}": load for minutes, load in loads.items()},
        **{f"system.load.norm.{minutes}": load / cores for minutes, load in loads.items()},
    }


def memory(both: Pair) -> Values:
    sizes = both.now.meminfo()
    total, swap = sizes["MemTotal"], sizes["SwapTotal"]
    used, actual, swapped = total - sizes["MemFree"], total - sizes["MemAvailable"], swap - sizes["SwapFree"]
    return {
        "system.memory.total": total,
        "system.memory.free": sizes["MemFree"],
        "system.memory.used.bytes": used,
        "system.memory.used.pct": used / total,
        "system.memory.actual.free": sizes["MemAvailable"],
        "system.memory.actual.used.bytes": actual,
        "system.memory.actual.used.pct": actual / total,
        "system.memory.swap.total": swap,
        "system.memory.swap.free": sizes["SwapFree"],
        "system.memory.swap.used.bytes": swapped,
        **({"system.memory.swap.used.pct": swapped / swap} if swap else {}),
        "system.memory.hugepages.total": sizes["HugePages_Total"],
        "system.memory.hugepages.free": sizes["HugePages_Free"],
        "system.memory.hugepages.reserved": sizes["HugePages_Rsvd"],
        "system.memory.hugepages.surplus": sizes["HugePages_Surp"],
        "system.memory.hugepages.default_size": sizes["Hugepagesize"],
    }


def system(both: Pair) -> Values:
    entropy = both.now.directory / "proc/sys/kernel/random/entropy_avail"
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', both.now.text("etc/os-release"), re.MULTILINE))
    return {
        "system.uptime.duration.ms": round(float(both.now.text("proc/uptime").split()[0]) * 1000),
        **({"system.entropy.available_bits": int(entropy.read_text())} if entropy.exists() else {}),
        "host.boot.id": both.now.text("proc/sys/kernel/random/boot_id").strip(),
        "host.os.kernel": both.now.text("proc/sys/kernel/osrelease").strip(),
        "host.os.name": release["NAME"],
        "host.os.full": release["PRETTY_NAME"],
        "host.os.platform": release["ID"],
        "host.os.version": release["VERSION_ID"],
    }


def summary(both: Pair) -> Values:
    """Read once a minute, so at the first moment."""
    states = both.before.states()
    letters = {"running": "R", "sleeping": "S", "idle": "I", "zombie": "Z", "dead": "X"}
    counts = {name: states.count(letter) for name, letter in letters.items()}
    every = {"total": len(states), "stopped": states.count("T") + states.count("t"), **counts}
    return {f"system.process.summary.{name}": count for name, count in every.items()}


def disks(both: Pair) -> dict[str, Values]:
    columns = {"read.count": 3, "read.bytes": 5, "read.time": 6, "write.count": 7, "write.bytes": 9, "write.time": 10}
    columns |= {"io.ops": 11, "io.time": 12}
    return {
        row[2]: {
            "system.diskio.name": row[2],
            **{
                f"system.diskio.{name}": int(row[at]) * (512 if name.endswith("bytes") else 1)
                for name, at in columns.items()
            },
        }
        for row in both.now.rows("proc/diskstats")
    }


def interfaces(both: Pair) -> dict[str, Values]:
    columns = {"bytes": 0, "packets": 1, "errors": 2, "dropped": 3}
    return {
        row[0]: {
            "system.network.name": row[0],
            **{f"system.network.in.{name}": int(row[1 + at]) for name, at in columns.items()},
            **{f"system.network.out.{name}": int(row[9 + at]) for name, at in columns.items()},
        }
        for row in both.now.rows("proc/1/net/dev")[2:]
    }


def filesystems(both: Pair) -> dict[str, Values]:
    values = {}
    for point, (_, unit, blocks, free, available, files, free_files, *_) in both.now.noted["statvfs"].items():
        used = (blocks - free) * unit
        counts = {"files": files, "free_files": free_files} if files else {}
        sizes = {"total": blocks * unit, "free": free * unit, "available": available * unit, "used.bytes": used}
        share = {"used.pct": used / (used + available * unit)} if used + available else {}
        values[point] = {f"system.filesystem.{name}": value for name, value in {**counts, **sizes, **share}.items()}
    return values


def cores(both: Pair) -> dict[str, Values]:
    values = {}
    for core in both.documents("core"):
        shares = {state: share for state, share in cpu_shares(both, f"cpu{core}").items() if state != "total"}
        near = {f"system.core.{state}.pct": pytest.approx(share, abs=COARSE) for state, share in shares.items()}
        values[core] = {"system.core.id": core, **near}
    return values


def containers(both: Pair) -> dict[str, Values]:
    """Of docker on v1: what its API reads."""
    base = "sys/fs/cgroup"
    values = {}
    for path in both.documents("cgroup"):
        memory_files = both.now.directory / f"{base}/memory{path}"
        there = (memory_files / "memory.usage_in_bytes").exists()
        if not there or not re.fullmatch(r"/docker/[0-9a-f]{64}", path):
            continue
        stat = dict(line.split() for line in (memory_files / "memory.stat").read_text().splitlines())
        used = int((memory_files / "memory.usage_in_bytes").read_text()) - int(stat["total_inactive_file"])
        limit, memory_of_host = int(stat["hierarchical_memory_limit"]), both.now.meminfo()["MemTotal"]
        usages = [one.directory / f"{base}/cpuacct{path}/cpuacct.usage" for one in (both.before, both.now)]
        spent = [int(usage.read_text()) for usage in usages if usage.exists()]
        values[path] = {
            "container.id": path.rpartition("/")[2],
            "docker.memory.usage.total": used,
            "docker.memory.usage.pct": used / min(limit, memory_of_host),
            **({"docker.memory.limit": limit} if limit < memory_of_host else {}),
            **({"docker.cpu.total.pct": (spent[1] - spent[0]) / 1e9 / both.seconds} if len(spent) > 1 else {}),
        }
    return values


def of_host(formula: Callable[[Pair], Values]) -> Callable[[Pair], dict[str, Values]]:
    return lambda both: {"": formula(both)}


FORMULAS: Final = (
    *(("host", of_host(formula)) for formula in (host_cpu, memory, system, summary)),
    *(("disk", disks), ("network", interfaces), ("filesystem", filesystems), ("core", cores), ("cgroup", containers)),
)
ALIASES: Final = {one.name: one.target for dataset in DATASETS.values() for one in dataset.aliases}


def wrong(both: Pair, checked: set[str]) -> Iterator[str]:
    for dataset, formula in FORMULAS:
        documents = both.documents(dataset)
        for entity, values in formula(both).items():
            for name, value in values.items() if entity in documents else ():
                shown = documents[entity].get(ALIASES.get(name, name))
                checked.add(name)
                if shown != (pytest.approx(value, rel=1e-5, abs=1e-9) if isinstance(value, float) else value):
                    yield f"{entity} {name} = {shown}, by its definition {value}"


HOST_NAMES: Final = sorted(path.parent.name for path in HOSTS.glob("*/golden.json"))


@pytest.mark.parametrize("host", HOST_NAMES)
def test_values_of_a_captured_host_follow_the_definitions(host: str) -> None:
    checked: set[str] = set()
    assert list(wrong(pair(host), checked)) == []
    assert len(checked & ROWS.keys()) >= 50
    assert checked <= ROWS.keys()
