"""Rules about a filesystem, disk, interface, RAID array or sensor of a host."""

from typing import Final

from shipper.view.alerts.model import Measure, Resource, Rule
from shipper.view.dashboards.model import HOST, above, one_of
from shipper.view.thresholds import FULL_IN_S, STATE, VALUES

_BOARD: Final = "shipper-host"
_IDS: Final = {
    "filesystem": "system.filesystem.mount_point",
    "disk": "system.diskio.name",
    "network": "system.network.name",
    "raid": "system.raid.name",
    "sensor": "system.sensor.name",
}
_USED: Final = "system.filesystem.used.pct"
_READ_ONLY: Final = "system.filesystem.read_only"
_WRITABLE: Final = (one_of(_READ_ONLY, "false"),)
_STUCK: Final = (one_of("system.filesystem.stuck", "true"),)


def _device(
    name: str,
    title: str,
    dataset: str,
    measure: Measure,
    field: str,
    minutes: int,
    means: str,
    first: str,
    **more: object,
) -> Rule:
    per = (HOST, _IDS[dataset])
    return Rule(name, title, dataset, measure, field, minutes * 60, means, first, _BOARD, per, **more)  # type: ignore[arg-type]


RULES: Final = (
    _device("filesystem-full", "Filesystem nearly full", "filesystem", Measure.MIN, _USED, 5,
            "Little space is left for users other than root. Filesystems that are mounted read-only do not count.",
            "`du -xh --max-depth=2 MOUNT_POINT | sort -h`; remove old images and logs, or enlarge the filesystem.",
            where=_WRITABLE, resource=Resource.IO, source="NM: 95 % and 97 %, 30 min; APA: 90 %, 2 min"),
    _device("filesystem-fills", "Filesystem full soon", "filesystem", Measure.FULL_IN, _USED, 360,
            "If it fills as fast as in the last hours, it will soon be full. It counts from 60 % on.",
            "Look what grows: `du -xh --max-depth=2 MOUNT_POINT | sort -h` now and in ten minutes; the containers that write most are named.",
            where=(*_WRITABLE, above(_USED, 0.6)), own_steps=FULL_IN_S, resource=Resource.IO,
            source="NM: below 40 % free and full in 24 h, below 20 % and 4 h, by 6 h; APA: 24 h by 3 h"),
    _device("filesystem-inodes", "Inodes nearly used up", "filesystem", Measure.MIN, "system.filesystem.used_files.pct", 5,
            "Without free inodes no file can be created, however much space is left.",
            "Look for directories with many small files: `du --inodes -x MOUNT_POINT | sort -n`.",
            where=_WRITABLE, resource=Resource.IO, source="NM: 95 % and 97 %, 1 h"),
    _device("filesystem-read-only", "Filesystem became read-only", "filesystem", Measure.UNIQUE, _READ_ONLY, 60,
            "A filesystem that was writable is now read-only, mostly after an error of its disk.",
            "Read the kernel's log: `journalctl -k`. Save the data, check the disk, then `fsck` and mount it again.",
            suspects=(one_of(_READ_ONLY, "true"),), last=(one_of(_READ_ONLY, "true"),), own_steps=VALUES,
            source="APA: a device error, any"),
    _device("filesystem-stuck", "Filesystem does not respond", "filesystem", Measure.COUNT, "", 3,
            "A call for its size did not return in time, as with a network filesystem whose server is away.",
            "Look whether its server can be reached. `umount -l MOUNT_POINT` frees what waits for it.",
            where=_STUCK, own_steps=STATE, source="none published; should never happen"),
    _device("disk-busy", "Disk busy", "disk", Measure.AVG, "system.diskio.util.pct", 15,
            "The disk had a request to work on nearly all the time. Of an SSD this alone does not mean that it is slow.",
            "Compare latency and queue of the disk; the containers that read and write most are named.",
            mild=True, resource=Resource.IO, source="Elastic: 90 %"),
    _device("disk-queue", "Disk queue long", "disk", Measure.AVG, "system.diskio.queue.count", 15,
            "On average many requests wait for the disk or are worked on by it.",
            "Look who reads and writes; limit them (`io.max`), or move them to another disk.",
            resource=Resource.IO, source="NM: 10 for 30 min; Elastic: 10"),
    _device("disk-read-latency", "Disk reads slow", "disk", Measure.AVG, "system.diskio.read.await.ms", 10,
            "On average a read takes long.", "Look at the disk's utilisation; if it is low, at its health: `smartctl -a`.",
            resource=Resource.IO, source="APA: 100 ms; Elastic: 5 ms (SSD), 30 ms (HDD)"),
    _device("disk-write-latency", "Disk writes slow", "disk", Measure.AVG, "system.diskio.write.await.ms", 10,
            "On average a write takes long.", "Look at the disk's utilisation; if it is low, at its health: `smartctl -a`.",
            resource=Resource.IO, source="APA: 100 ms; Elastic: 5 ms (SSD), 30 ms (HDD)"),
    _device("network-receive-errors", "Receive errors", "network", Measure.AVG, "system.network.in.errors_per_s", 10,
            "The interface receives damaged packets.", "`ip -s -s link show INTERFACE`; then cable, transceiver and port of the switch.",
            mild=True, source="Elastic: 5/s; NM: 1 % of packets"),
    _device("network-send-errors", "Send errors", "network", Measure.AVG, "system.network.out.errors_per_s", 10,
            "The interface cannot send packets.", "`ip -s -s link show INTERFACE`; then driver, cable and port of the switch.",
            mild=True, source="Elastic: 5/s; NM: 1 % of packets"),
    _device("network-full", "Interface near its speed", "network", Measure.AVG, "system.network.util.pct", 5,
            "The interface carries nearly as much as its speed allows.", "Look which containers send and receive most; they are named.",
            mild=True, resource=Resource.NETWORK, source="APA: 80 % over 5 min"),
    _device("raid-failed", "RAID: disks failed", "raid", Measure.MAX, "system.raid.disks.failed", 5,
            "A disk of the array failed.", "`mdadm --detail /dev/ARRAY`; replace the disk: `mdadm --add`.", source="NM: any"),
    _device("raid-missing", "RAID: disks missing", "raid", Measure.MAX, "system.raid.disks.missing.count", 5,
            "The array has fewer disks than configured; the next failure may lose data.",
            "`mdadm --detail /dev/ARRAY`; add a disk: `mdadm --add`. During a rebuild it counts until the rebuild ends.", source="NM: any, 15 min"),
    _device("sensor-temperature", "Temperature high", "sensor", Measure.MIN, "system.sensor.temperature.celsius", 5,
            "The sensor reports a temperature at which hardware slows down or ages.", "Look at fans, filters and the room.",
            source="APA: above the sensor's maximum, 5 min"),
)  # fmt: skip
