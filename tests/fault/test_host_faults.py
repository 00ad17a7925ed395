"""The agent's own machine, broken in every way: kill -9, full disk, flipped bits, clock, memory."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import shipper_eslocal
from fault.line import DATASETS, PERIOD_MS, Line, balanced, configured, found, open_for
from fault.proxy import Proxy
from namespaces import own_template

from shipper.base.tick_times import Clock

Make = Callable[..., Line]
TESTS = Path(__file__).parent.parent
KILLS = 200
OUTAGE_TICKS = 3600
LIMIT_S = 840  # for a busy machine


def driver(name: str, number: int, url: str, namespace: str, directory: Path) -> list[list[int]]:
    command = [sys.executable, str(Path(__file__).with_name("driver.py")), name, str(number), url, namespace]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        [*command, str(directory)], env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [[int(word) for word in line.split()] for line in done.stdout.splitlines()]


@pytest.mark.timeout(LIMIT_S + 60)
def test_200_kills_at_random_moments(es: shipper_eslocal.Cluster, make: Make, namespace: str, tmp_path: Path) -> None:
    ((collected, stored, duplicate),) = driver("kills", KILLS, es.url, namespace, tmp_path)
    safe = Counter({int(tick): int(n) for tick, n in map(str.split, (tmp_path / "ticks").read_text().splitlines())})
    line = make(es.url)
    there = found(es, line.config)
    assert len(safe) > KILLS
    lost = {tick: n for tick, n in safe.items() if there[tick] != n}
    assert not lost
    # of a tick whose process died between disk and log nobody knows, but it is whole
    assert set(there.values()) <= set(safe.values())
    assert collected == stored
    assert sum(there.values()) <= stored
    print(f"{len(safe)} ticks, {sum(there.values())} documents, {duplicate} answered 409 and stored once")


@pytest.mark.timeout(LIMIT_S + 60)
def test_memory_is_flat_through_an_hour_of_outage(namespace: str, tmp_path: Path) -> None:
    (before,), (after, spooled, failures) = driver("outage", OUTAGE_TICKS, "http://127.0.0.1:1", namespace, tmp_path)
    print(f"RSS {before / 1e6:.1f} MB, after {OUTAGE_TICKS} ticks {(after - before) / (1 << 20):+.2f} MiB")
    assert after - before <= 5 << 20
    assert spooled >= OUTAGE_TICKS * 2
    assert failures > 0


@pytest.mark.root
def test_a_spool_on_1_mib(es: shipper_eslocal.Cluster, between: Proxy, make: Make, small_disk: Path) -> None:
    """More than fits: the rest is held for HELD_TICKS, then dropped and counted; the agent goes on and recovers."""
    between.down()
    line = make(between.url, directory=small_disk / "spool")
    told = 0
    while line.ledger.counts.dropped == 0 or told < 10:
        line.run(1)
        if line.ledger.trouble:
            told += 1
    assert line.ledger.trouble == "No space left on device"
    assert told >= 10
    between.up()
    line.drain()
    line.run(5)
    line.drain()
    assert line.ledger.trouble == ""
    counts = line.ledger.counts
    assert sum(found(es, line.config).values()) == counts.stored == counts.collected - counts.dropped
    assert line.delivery.state.twins == 0
    line.close()
    again = make(es.url, directory=small_disk / "spool")
    assert again.ledger.counts == counts
    again.close()


@pytest.mark.root
def test_ten_ticks_of_a_full_disk_lose_nothing(es: shipper_eslocal.Cluster, make: Make, small_disk: Path) -> None:
    line = make(es.url, directory=small_disk / "spool")
    line.run(2)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    for _ in range(10):
        line.tick()
    assert line.ledger.trouble == "No space left on device"
    assert line.ledger.counts.dropped == 0
    line.drain()  # from memory, while the disk is still full
    filler.unlink()
    line.run(3)
    line.drain()
    assert line.ledger.trouble == ""
    assert found(es, line.config) == line.ticks
    line.close()


@pytest.mark.parametrize("region", ["format", "tick", "documents", "crc32", "check", "action", "document", "end"])
def test_a_flipped_bit_costs_its_segment_only(
    es: shipper_eslocal.Cluster, between: Proxy, make: Make, tmp_path: Path, region: str
) -> None:
    """Each byte of a segment is in tests/unit/deliver/test_spool.py; here one of each region, through to the server."""
    between.down()
    line = make(between.url)
    line.run(3)
    line.close()
    path = sorted((tmp_path / "spool" / "segments").iterdir())[1]
    content = bytearray(path.read_bytes())
    header = content.index(b"\n")
    places = {"action": header + 3, "document": header + 200, "end": len(content) - 1}
    places |= {name: content.index(b'"%b' % name.encode()) + len(name) + 4 for name in ("format", "documents")}
    places |= {"tick": content.index(b'"tick_ms"') + 15, "crc32": content.index(b'"crc32"') + 10}
    places |= {"check": content.index(b'"check"') + 10}
    content[places[region]] ^= 1
    path.write_bytes(content)
    between.up()
    again = make(between.url)
    again.drain()
    lost = sorted(line.ticks)[1]
    kept = {tick: n for tick, n in line.ticks.items() if tick != lost}
    assert found(es, again.config) == kept
    counts = again.ledger.counts
    assert (counts.collected, counts.dropped) == (sum(line.ticks.values()), line.ticks[lost])
    assert len(list((tmp_path / "spool" / "damaged").iterdir())) == 1
    again.close()


@pytest.mark.parametrize("order", ["newest-first", "oldest-first"])
def test_three_days_of_spool_into_a_fresh_time_series(
    es: shipper_eslocal.Cluster, between: Proxy, make: Make, namespace: str, order: str
) -> None:
    """A stream open for two hours back, as one is made without look_back_time: what is older goes to the late one."""
    now_ms = time.time_ns() // 1_000_000
    for dataset in DATASETS:
        own_template(es, dataset, namespace, open_for(now_ms - 7_200_000, now_ms + 1_800_000))
    between.down()
    line = make(between.url, bulk={"order": order, "max_bytes": 256 << 10})
    step_ms = 600_000
    for tick_ms in range((now_ms - 3 * 86_400_000) // step_ms * step_ms, now_ms, step_ms):
        line.tick(tick_ms)
    assert len(line.ticks) >= 431
    between.up()
    line.drain()
    counts = line.ledger.counts
    fresh = sum(n for tick, n in line.ticks.items() if tick >= now_ms - 7_200_000)
    assert (counts.stored, counts.late) == (fresh, counts.collected - fresh)
    assert found(es, line.config) == line.ticks  # in both streams together, each once
    assert sum(found(es, line.config, "*.late").values()) == counts.late
    assert (counts.rejected, counts.dropped, line.delivery.state.twins) == (0, 0, 0)


@pytest.mark.parametrize("step_s", [-3600, 3600])
def test_the_clock_set_by_an_hour(es: shipper_eslocal.Cluster, make: Make, step_s: int) -> None:
    """Ten minutes, the step, and on for more than the hour that comes again: no silence, no twin, no storm."""
    line = make(es.url)
    wall_s, boot_s, made = line.next_ms // 1000, 1000, 0
    clock = Clock(10 * PERIOD_MS, line.ledger.used)
    for second in range(600 + 3700):
        wall_s, boot_s = wall_s + 1, boot_s + 1
        if second == 600:
            wall_s += step_s
        tick_ms = clock.choose(wall_s * 10**9, boot_s * 10**9)
        if tick_ms:
            line.tick(tick_ms)
            made += 1
            if made % 40 == 0:
                line.delivery.step()
    line.drain()
    assert 428 <= made <= 432
    assert len(line.ticks) == made
    assert found(es, line.config) == line.ticks
    assert (line.delivery.state.twins, line.ledger.counts.duplicate) == (0, 0)
    assert clock.missed == 0


def test_a_poison_document_blocks_neither_older_nor_newer(
    es: shipper_eslocal.Cluster, make: Make, namespace: str
) -> None:
    from shipper.deliver.segment import Entry

    line = make(es.url)
    line.tick()
    action = json.dumps({"create": {"_index": f"metrics-shipper.host-{namespace}"}}).encode()
    broken = [b'{"@timestamp":', b'{"@timestamp":"never"}', b"{}", b'{"@timestamp":"2026-01-01T00:00:00Z"}']
    line.ledger.put(line.next_ms, [Entry(action, one) for one in broken])
    line.tick(line.next_ms + PERIOD_MS)
    line.drain()
    counts = line.ledger.counts
    assert counts.rejected == len(broken)
    assert found(es, line.config) == line.ticks
    balanced(line.ledger)


def test_how_many_ticks_a_kill_costs(es: shipper_eslocal.Cluster, namespace: str, tmp_path: Path) -> None:
    """The running agent is killed at random moments and started again at once, as its unit does."""
    from fault.test_log_faults import agent, seen

    chance, lives, spool = random.Random(7), 6, tmp_path / "spool"
    for life in range(lives):
        with agent(es.url, namespace, spool, subprocess.DEVNULL) as process:
            wanted = seen(spool, "collected") + 4
            while seen(spool, "collected") < wanted:
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 1))
            process.send_signal(signal.SIGTERM if life == lives - 1 else signal.SIGKILL)
            process.wait(30)
    config = configured(es.url, namespace, spool)
    times = sorted(found(es, config))
    missing = (times[-1] - times[0]) // PERIOD_MS + 1 - len(times)
    print(f"{missing} of {len(times) + missing} ticks are missing after {lives - 1} kills")
    assert missing <= 4 * lives  # each start takes as long as it takes on this machine
