"""A cgroup with every file that the kernel documents, each number a different one, on v2, v1 and hybrid hosts."""

# ruff: noqa: E501 – tables

from pathlib import Path

from trees import Host, Tree, config

from shipper.collect.cgroup import cgroups
from shipper.fields.rates import Value

BOX = "/box.slice/a.service"
DEVICES = "Character devices:\n  1 mem\n\nBlock devices:\n  8 sd\n253 device-mapper\n"
SHARED = {
    "proc/devices": DEVICES,
    "proc/diskstats": "   8       0 sda 1 0 0 0\n   8      16 sdb 1 0 0 0\n",
    "sys/devices/system/cpu/online": "0-3\n",
}
V2 = {
    "cpu.stat": "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 11\nnr_throttled 12\nthrottled_usec 13\n",
    "cpu.max": "50000 100000\n", "cpu.weight": "79\n",
    "memory.current": "1000\n", "memory.peak": "1001\n", "memory.max": "2000\n", "memory.high": "1900\n",
    "memory.low": "14\n", "memory.min": "15\n", "memory.swap.current": "16\n", "memory.swap.max": "17\n",
    "memory.stat": "anon 21\nfile 22\nkernel 23\nslab 24\nsock 25\nshmem 26\nfile_mapped 27\nfile_dirty 28\ninactive_file 29\n"
    "pgfault 31\npgmajfault 32\nzswap 33\nzswapped 34\nworkingset_refault_anon 35\nworkingset_refault_file 36\npgscan 37\npgsteal 38\n",
    "memory.events": "low 41\nhigh 42\nmax 43\noom 44\noom_kill 45\noom_group_kill 46\n",
    "pids.current": "51\n", "pids.max": "52\n", "pids.peak": "53\n", "pids.events": "max 54\n", "cgroup.procs": "101\n102\n103\n",
    "cgroup.events": "populated 1\nfrozen 1\n",
    "io.stat": "8:0 rbytes=61 wbytes=62 rios=63 wios=64 dbytes=65 dios=66\n253:0 rbytes=9999 wbytes=9999 rios=9999 wios=9999 dbytes=9999 dios=9999\n",
    "hugetlb.2MB.current": "2097152\n", "hugetlb.1GB.current": "0\n", "hugetlb.32MB.current": "71\n",
    "rdma.current": "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=max\n".replace("max", "5"),
    "misc.current": "sev 81\nsev_es 82\n",
}  # fmt: skip
V1 = {
    "cpuacct/cpuacct.usage": "7000\n", "cpuacct/cpuacct.usage_user": "4000\n", "cpuacct/cpuacct.usage_sys": "3000\n",
    "cpu/cpu.stat": "nr_periods 11\nnr_throttled 12\nthrottled_time 13000\n", "cpu/cpu.cfs_quota_us": "50000\n",
    "cpu/cpu.cfs_period_us": "100000\n", "cpu/cpu.shares": "809\n",
    "memory/memory.usage_in_bytes": "1000\n", "memory/memory.max_usage_in_bytes": "1001\n", "memory/memory.limit_in_bytes": "2000\n",
    "memory/memory.stat": "rss 9\ntotal_rss 21\ntotal_cache 22\ntotal_shmem 26\ntotal_mapped_file 27\ntotal_dirty 28\ntotal_inactive_file 29\n"
    "total_swap 16\ntotal_pgfault 31\ntotal_pgmajfault 32\ntotal_workingset_refault_anon 35\ntotal_workingset_refault_file 36\n"
    "hierarchical_memory_limit 1500\n",
    "memory/memory.kmem.usage_in_bytes": "23\n", "memory/memory.kmem.tcp.usage_in_bytes": "25\n", "memory/memory.failcnt": "43\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 45\n",
    "pids/pids.current": "51\n", "pids/pids.max": "52\n", "pids/pids.peak": "53\n", "pids/pids.events": "max 54\n",
    "pids/cgroup.procs": "101\n102\n103\n", "freezer/freezer.state": "FROZEN\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 61\n8:0 Write 62\n8:0 Sync 1\n8:0 Async 2\n8:0 Discard 65\n8:0 Total 188\n253:0 Read 9999\nTotal 188\n",
    "blkio/blkio.throttle.io_serviced_recursive": "8:0 Read 63\n8:0 Write 64\n8:0 Discard 66\n8:0 Total 193\nTotal 193\n",
    "hugetlb/hugetlb.2MB.usage_in_bytes": "2097152\n", "hugetlb/hugetlb.1GB.usage_in_bytes": "0\n", "hugetlb/hugetlb.32MB.usage_in_bytes": "71\n",
    "rdma/rdma.current": V2["rdma.current"], "misc/misc.current": V2["misc.current"],
}  # fmt: skip
V1_BASE = "sys/fs/cgroup"


def v2(directory: Path, *paths: str, excluded: tuple[str, ...] = ()) -> Host:
    base = "sys/fs/cgroup"
    own = {f"{base}{path}/{name}": text for path in paths or (BOX,) for name, text in V2.items()}
    around = {f"{base}/box.slice/memory.max": "1500\n", f"{base}/box.slice/memory.current": "1000\n"}
    files = {**SHARED, f"{base}/cgroup.controllers": "cpu memory\n", **around, **own}
    return Host(Tree(directory, files), cgroups.COLLECTOR, settings=config(cgroup_exclude=excluded))


def v1(directory: Path, *, hybrid: bool = False) -> Host:
    own = {f"{V1_BASE}/{name.replace('/', f'{BOX}/', 1)}": text for name, text in V1.items()}
    if hybrid:
        own |= {f"{V1_BASE}/unified/cgroup.controllers": "", f"{V1_BASE}/unified{BOX}/cpu.stat": "usage_usec 1\n"}
        own[f"{V1_BASE}/unified{BOX}/cgroup.events"] = "frozen 0\n"
    return Host(Tree(directory, {**SHARED, **own}), cgroups.COLLECTOR, settings=config(cgroup_exclude=()))


def box(host: Host, seconds: float = 10) -> dict[str, Value]:
    return host.tick(seconds)["cgroup"][BOX]
