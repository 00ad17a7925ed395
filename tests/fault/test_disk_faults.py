"""The spool's disk hangs, goes away, turns read-only or forgets: nothing intact is dropped, nothing goes uncounted."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import shipper_eslocal
from fault.line import Line, balanced, found
from fault.proxy import Proxy
from fault.test_delivery_faults import all_found
from spooling import newest

from shipper.deliver.ledger import SLOTS, Ledger
from shipper.deliver.segment import Entry
from shipper.deliver.spool import Spool

Make = Callable[..., Line]
FROZEN_S = 10.0
ENTRY = Entry(b'{"create":{"_index":"metrics-shipper.host-default"}}', b'{"n":1}')


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that can be frozen: whoever writes to it then hangs and cannot be killed."""
    image, directory = tmp_path / "image", tmp_path / "disk"
    directory.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@contextmanager
def frozen(directory: Path, seconds: float) -> Iterator[None]:
    """Frozen within the block, but never for longer than ``seconds``: a hanging test could not be ended."""
    subprocess.run(["fsfreeze", "-f", str(directory)], check=True)
    thaw = threading.Timer(seconds, subprocess.run, [["fsfreeze", "-u", str(directory)]])
    thaw.start()
    try:
        yield
    finally:
        thaw.cancel()
        thaw.join()
        subprocess.run(["fsfreeze", "-u", str(directory)], check=False, capture_output=True)


@pytest.mark.root
@pytest.mark.needs("mkfs.ext4")
def test_a_hung_disk_stops_neither_ticks_nor_delivery(es: shipper_eslocal.Cluster, make: Make, freezable: Path) -> None:
    line = make(es.url, directory=freezable / "spool")
    line.delivery.start()
    line.run(2)
    slowest = 0.0
    with frozen(freezable, 3 * FROZEN_S):
        before = line.ledger.counts.stored
        end = time.monotonic() + FROZEN_S
        while time.monotonic() < end:
            began = time.monotonic()
            line.tick()
            line.delivery.wake()
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.5)
        assert line.ledger.trouble == "does not respond"
        assert line.ledger.counts.stored > before + 10
        line.delivery.stop(5)
    assert slowest < 5
    assert line.ledger.counts.dropped == 0
    end = time.monotonic() + 30
    while line.ledger.trouble and time.monotonic() < end:
        line.tick()
        line.drain()
    assert line.ledger.trouble == ""
    all_found(es, line)
    assert line.ledger.close() == 0
    line.close()
    again = make(es.url, directory=freezable / "spool")
    assert again.ledger.counts == line.ledger.counts
    again.close()


@pytest.mark.root
def test_a_damaged_segment_on_a_read_only_disk_stops_nothing(
    es: shipper_eslocal.Cluster, between: Proxy, make: Make, small_disk: Path
) -> None:
    between.down()
    line = make(between.url, directory=small_disk / "spool")
    line.run(5)
    segment = sorted((small_disk / "spool" / "segments").iterdir())[2]
    segment.write_bytes(segment.read_bytes()[:-2] + b"?\n")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    between.up()
    line.run(3)
    end = time.monotonic() + 30
    while line.ledger.counts.stored < 7 * 3 and time.monotonic() < end:
        line.delivery.step()
        time.sleep(0.05)
    assert line.ledger.counts.stored == 7 * 3
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    line.drain()
    assert (line.ledger.counts.stored, line.ledger.counts.dropped) == (7 * 3, 3)
    line.close()


@pytest.mark.root
def test_a_file_system_that_goes_away_for_a_while(
    es: shipper_eslocal.Cluster, between: Proxy, make: Make, tmp_path: Path, small_disk: Path
) -> None:
    """Unmounted below the running agent: it keeps what it had opened."""
    between.down()
    line = make(between.url, directory=small_disk / "spool")
    line.run(10)
    copy = tmp_path / "copy"
    copy.mkdir()
    subprocess.run(["mount", "--bind", str(copy), str(small_disk)], check=True)
    try:
        between.up()
        line.run(3)
        line.drain()
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)
    all_found(es, line)
    line.close()


def test_no_descriptor_left_is_no_damage(es: shipper_eslocal.Cluster, between: Proxy, make: Make) -> None:
    """EMFILE for each file of the spool, in this very process."""
    import resource

    between.down()
    line = make(between.url)
    line.run(10)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = max(int(name) for name in os.listdir("/proc/self/fd"))
    holes = [os.open("/dev/null", os.O_RDONLY) for _ in range(lowest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        for _ in range(3):
            batch = line.delivery._selector.choose(1 << 20)
            assert len(batch.items) <= 3  # the newest is in memory
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in holes:
            os.close(fd)
    assert line.ledger.counts.dropped == 0
    between.up()
    line.drain()
    all_found(es, line)


@pytest.mark.root
def test_files_that_may_not_be_read_rest_and_are_counted(tmp_path: Path) -> None:
    """After a chown by mistake, and back: in a process that may not read what is not its own."""
    script = """
import os, sys
from shipper.deliver.ledger import Ledger
from shipper.deliver.segment import Entry
from shipper.deliver.spool import Spool
entry = Entry(b'{"create":{"_index":"a"}}', b'{}')
ledger = Ledger.load(Spool(sys.argv[1], 1 << 30))
if sys.argv[2] == "fill":
    for tick in range(3):
        ledger.put(tick, [entry] * 4)
ledger.put(9000, [entry])
print(ledger.counts.collected, ledger.counts.dropped, ledger.spooled, len(ledger.spool.unread), flush=True)
if sys.argv[2] == "wait":
    sys.stdin.read(1)
    ledger.look_again()
    print(ledger.counts.collected, ledger.counts.dropped, ledger.spooled, len(ledger.spool.unread))
ledger.close()
"""
    spool, nobody = tmp_path / "spool", 65534

    def start(mode: str) -> subprocess.Popen[str]:
        capabilities = "--bounding-set=-dac_override,-dac_read_search"
        words = ["setpriv", capabilities, sys.executable, "-c", script, str(spool), mode]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    filled, _ = start("fill").communicate(timeout=60)
    assert filled.split() == ["13", "0", "13", "0"]
    segment = sorted((spool / "segments").iterdir())[1]
    os.chown(segment, nobody, nobody)
    process = start("wait")
    assert process.stdout
    assert process.stdout.readline().split() == ["14", "0", "14", "1"]
    os.chown(segment, 0, 0)
    rest, _ = process.communicate("x", timeout=60)
    assert rest.split() == ["14", "0", "14", "0"]
    assert list((spool / "damaged").iterdir()) == []


@pytest.mark.root
def test_a_full_disk_then_a_stop(es: shipper_eslocal.Cluster, between: Proxy, make: Make, small_disk: Path) -> None:
    """What is held in memory at the end is counted; the equation holds over the restart, and over a kill -9."""
    between.down()
    line = make(between.url, directory=small_disk / "spool")
    with (small_disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    line.run(12)
    assert line.ledger.trouble == "No space left on device"
    held = len(line.ledger.spool.held)
    assert held > 0
    collected = line.ledger.counts.collected
    killed = json.loads(newest(small_disk / "spool").read_text())["ledger"]
    assert killed["counts"]["collected"] == collected  # known, even if nobody can say goodbye
    lost = line.ledger.close()
    assert lost >= held
    balanced(line.ledger)
    line.close()
    (small_disk / "filler").unlink()
    again = make(between.url, directory=small_disk / "spool")
    balanced(again.ledger)
    assert (again.ledger.counts.collected, again.ledger.counts.dropped) == (collected, lost)
    between.up()
    again.drain()
    assert sum(found(es, again.config).values()) == again.ledger.counts.stored == collected - lost
    again.close()


def filled(directory: Path, ticks: int) -> Ledger:
    ledger = Ledger.load(Spool(str(directory), 1 << 30))
    for tick in range(ticks):
        ledger.put(tick * 1000, [ENTRY] * 3)
    return ledger


@pytest.mark.parametrize("harm", ["delete", "zero", "empty"])
@pytest.mark.parametrize("which", [slice(0, 2), slice(-2, None), slice(None)])
def test_segments_harmed_while_no_agent_runs_are_counted(tmp_path: Path, harm: str, which: slice) -> None:
    """The server was never reached since: the ledger knows on its own what has to be there."""
    ledger = filled(tmp_path / "spool", 6)
    ledger.spool.close()  # as kill -9 leaves it
    harmed = sorted((tmp_path / "spool" / "segments").iterdir())[which]
    for path in harmed:
        if harm == "delete":
            path.unlink()
        else:
            path.write_bytes(b"" if harm == "empty" else bytes(path.stat().st_size))
    again = Ledger.load(Spool(str(tmp_path / "spool"), 1 << 30))
    assert (again.counts.collected, again.counts.dropped) == (18, 3 * len(harmed))
    balanced(again)
    again.spool.close()


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_ledger_that_is_lost_claims_nothing(tmp_path: Path, harm: str) -> None:
    ledger = filled(tmp_path / "spool", 4)
    from shipper.deliver.ledger import Fate

    ledger.settle({1: dict.fromkeys(range(3), Fate.STORED)})
    ledger.close()
    ledger.spool.close()
    for path in (tmp_path / "spool" / name for name in SLOTS):
        if harm == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes().replace(b"stored", b"stoled"))
    before_ms = time.time_ns() // 1_000_000
    again = Ledger.load(Spool(str(tmp_path / "spool"), 1 << 30))
    assert (again.counts.collected, again.counts.dropped, again.spooled) == (9, 0, 9)
    assert again.since_ms >= before_ms
    assert again.unreadable
    again.close()
    again.spool.close()
    third = Ledger.load(Spool(str(tmp_path / "spool"), 1 << 30))
    assert (third.counts, third.since_ms, third.unreadable) == (again.counts, again.since_ms, "")
    third.spool.close()


def test_a_spool_directory_that_is_removed_is_made_again_and_its_loss_counted(tmp_path: Path) -> None:
    import shutil

    directory = tmp_path / "spool"
    ledger = filled(directory, 4)
    shutil.rmtree(directory)
    ledger.put(9000, [ENTRY] * 3)
    assert (ledger.counts.collected, ledger.counts.dropped, ledger.spooled) == (15, 12, 3)
    assert ledger.trouble == ""
    from shipper.base.errors import UserError

    with pytest.raises(UserError, match="in use by another shipper"):
        Spool(str(directory), 1 << 30)
    shutil.rmtree(directory)
    other = Spool(str(directory), 1 << 30)  # faster than this one's next tick
    with pytest.raises(UserError, match="in use by another shipper"):
        ledger.put(10_000, [ENTRY])
    other.close()
