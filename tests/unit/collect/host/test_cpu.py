from pathlib import Path

import pytest
from trees import Host, Tree

from shipper.collect.host import cpu, load
from shipper.kernel.parse import ParseError

STAT = """\
cpu  13557 7 3978 198016 443 1 128 30 5 2
cpu0 3112 0 1159 103745 17 0 13 10 0 0
cpu1 10445 7 2819 94270 425 1 114 19 5 2
intr 303227 0 0 7
ctxt 439405
btime 1795457308
processes 7802
procs_running 1
procs_blocked 3
softirq 247009 0 26482
"""
# Linux 2.6.9 and before: four states
OLD = "cpu  100 0 50 1000\ncpu0 100 0 50 1000\nctxt 5\n"


def stat(*ticks: int, cores: int = 2) -> str:
    columns = " ".join(str(tick) for tick in ticks)
    return f"cpu  {columns}\n" + "".join(f"cpu{n} 0 0 0 0\n" for n in range(cores))


def test_states_are_nanoseconds() -> None:
    values = cpu.parse(STAT.encode())
    assert [values[f"system.cpu.{state}.ns"] for state in ("user", "nice", "system", "idle", "iowait")] == [
        135_570_000_000, 70_000_000, 39_780_000_000, 1_980_160_000_000, 4_430_000_000,
    ]  # fmt: skip
    assert [values[f"system.cpu.{state}.ns"] for state in ("irq", "softirq", "steal", "guest", "guest_nice")] == [
        10_000_000, 1_280_000_000, 300_000_000, 50_000_000, 20_000_000,
    ]  # fmt: skip
    assert values["system.cpu.cores"] == 2
    assert values["system.interrupts.count"] == 303_227
    assert values["system.softirqs.count"] == 247_009
    assert values["system.context_switches.count"] == 439_405
    assert values["system.forks.count"] == 7802
    assert values["system.threads.blocked.count"] == 3


def test_old_kernel_has_four_states_and_no_more() -> None:
    assert set(cpu.parse(OLD.encode())) == {
        "system.cpu.user.ns", "system.cpu.nice.ns", "system.cpu.system.ns", "system.cpu.idle.ns",
        "system.cpu.cores", "system.context_switches.count",
    }  # fmt: skip


def test_shares_of_the_host_and_of_one_core(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"proc/stat": stat(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)})
    host = Host(tree, cpu.COLLECTOR)
    assert not [name for name in host.host() if name.endswith("pct")]
    # 10 s on two CPUs: 2,000 ticks, of which 500 user (300 of them a guest's), 300 system, 100 iowait, 100 steal
    tree.write("proc/stat", stat(500, 0, 300, 1000, 100, 0, 0, 100, 300, 0))
    values = host.host()
    assert values["system.cpu.user.pct"] == pytest.approx(0.5)
    assert values["system.cpu.user.norm.pct"] == pytest.approx(0.25)
    assert values["system.cpu.guest.norm.pct"] == pytest.approx(0.15)
    assert values["system.cpu.total.norm.pct"] == pytest.approx(0.45)
    assert values["system.cpu.total.pct"] == pytest.approx(0.9)


def test_shares_stay_below_one_after_a_suspend_and_a_cpu_unplugged(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"proc/stat": stat(0, 0, 0, 0, cores=4)})
    host = Host(tree, cpu.COLLECTOR)
    host.host()
    tree.write("proc/stat", stat(3990, 0, 10, 0, cores=1))
    values = host.host()
    assert values["system.cpu.total.norm.pct"] == 1.0
    tree.write("proc/stat", stat(3990, 0, 510, 500, cores=1))
    assert host.host(seconds=3600)["system.cpu.total.norm.pct"] == pytest.approx(0.5)


@pytest.mark.parametrize(("back", "held"), [(300, True), (301, False)])
def test_iowait_that_steps_back_is_held(tmp_path: Path, back: int, held: bool) -> None:
    tree = Tree(tmp_path, {"proc/stat": stat(0, 0, 0, 1000, 1000)})
    host = Host(tree, cpu.COLLECTOR)
    host.host()
    tree.write("proc/stat", stat(0, 0, 0, 2000, 1000 - back))
    values = host.host()
    assert (values.get("system.cpu.iowait.pct") == 0.0) is held
    assert values["system.cpu.iowait.ns"] == (10_000_000_000 if held else (1000 - back) * 10_000_000)
    assert ("system.cpu.iowait.norm.pct" in values) is held
    assert values["system.cpu.total.norm.pct"] == 0.0


def test_user_that_steps_back_gives_no_share_of_its_own(tmp_path: Path) -> None:
    tree = Tree(tmp_path, {"proc/stat": stat(1000, 0, 0, 1000)})
    host = Host(tree, cpu.COLLECTOR)
    host.host()
    tree.write("proc/stat", stat(999, 0, 0, 3000))
    values = host.host()
    assert "system.cpu.user.pct" not in values
    assert "system.cpu.user.norm.pct" not in values
    assert values["system.cpu.total.norm.pct"] == 0.0
    assert values["system.cpu.idle.norm.pct"] == pytest.approx(1.0)


def test_one_damaged_line_leaves_the_others() -> None:
    with pytest.raises(ParseError) as caught:
        cpu.parse(STAT.replace("ctxt 439405", "ctxt -5").encode())
    assert caught.value.partial["system.forks.count"] == 7802
    assert "system.context_switches.count" not in caught.value.partial


def test_load_per_core_takes_the_cores_of_the_same_document(tmp_path: Path) -> None:
    files = {"proc/stat": stat(1, 1, 1, 1, cores=4), "proc/loadavg": "2.00 1.00 0.40 3/80 11206\n"}
    values = Host(Tree(tmp_path, files), load.COLLECTOR, cpu.COLLECTOR).host()
    assert values["system.load.1"] == 2.0
    assert values["system.threads.runnable.count"] == 3
    assert [values[f"system.load.norm.{span}"] for span in (1, 5, 15)] == [0.5, 0.25, 0.1]


def test_load_without_cores_has_no_norm(tmp_path: Path) -> None:
    values = Host(Tree(tmp_path, {"proc/loadavg": "2.00 1.00 0.40 3/80 11206\n"}), load.COLLECTOR).host()
    assert values["system.load.15"] == 0.4
    assert not [name for name in values if "norm" in name]
