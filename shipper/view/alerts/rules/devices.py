"""Rules about a filesystem, disk, interface, RAID array or sensor of a host."""

from typing import Final

from shipper.view.alerts.model import Measure, Resource, Rule
from shipper.view.dashboards.model import HOST, above, one_of
from shipper.view.thresholds import FULL_IN_S, SOON_S, STATE, VALUES

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
            "Little space is left for users other than root. Filesystems that are mounted read-only are not judged.",
            "Find the largest directories: `du -xh --max-depth=2 MOUNT_POINT | sort -h`. Remove old images and logs, or enlarge the filesystem.",
            where=_WRITABLE, resource=Resource.IO, source="NM: 95 % and 97 %, 30 min; APA: 90 %, 2 min"),
    _device("filesystem-fills", "Filesystem full soon", "filesystem", Measure.FULL_IN, _USED, 360,
            "At the growth of the last hours, the filesystem will soon be full. Filesystems with less than 60 % used are not judged.",
            "Find out what grows: run `du -xh --max-depth=2 MOUNT_POINT | sort -h` now and in ten minutes. The alert names the containers that write most.",
            where=(*_WRITABLE, above(_USED, 0.6)), own_steps=FULL_IN_S, resource=Resource.IO,
            source="NM: below 40 % free and full in 24 h, below 20 % and 4 h, by 6 h; APA: 24 h by 3 h"),
    _device("filesystem-inodes", "Inodes nearly used up", "filesystem", Measure.MIN, "system.filesystem.used_files.pct", 5,
            "Without free inodes no file can be created, however much space is left.",
            "Look for directories with many small files: `du --inodes -x MOUNT_POINT | sort -n`.",
            where=_WRITABLE, resource=Resource.IO, source="NM: 95 % and 97 %, 1 h"),
    _device("filesystem-inodes-fill", "Inodes used up soon", "filesystem", Measure.TREND, "system.filesystem.used_files.pct", 24 * 60,
            "At the growth of the last day, the filesystem will soon have no free inode. Filesystems with less than half of their inodes used are not judged.",
            "`shipper forecast` shows the growth. Look for directories with many small files: `du --inodes -x MOUNT_POINT | sort -n`.",
            where=(*_WRITABLE, above("system.filesystem.used_files.pct", 0.5)), own_steps=SOON_S, mild=True, resource=Resource.IO,
            source="as for space"),
    _device("filesystem-read-only", "Filesystem became read-only", "filesystem", Measure.UNIQUE, _READ_ONLY, 60,
            "A filesystem that was writable is now read-only, usually after a disk error.",
            "Read the kernel's log: `journalctl -k`. Save the data, check the disk, then run `fsck` and mount the filesystem again.",
            suspects=(one_of(_READ_ONLY, "true"),), last=(one_of(_READ_ONLY, "true"),), own_steps=VALUES,
            source="APA: a device error, any"),
    _device("filesystem-stuck", "Filesystem does not respond", "filesystem", Measure.COUNT, "", 3,
            "The system call that reads the size of the filesystem did not return in time. A frequent cause is a network filesystem whose server does not respond.",
            "Check whether the server can be reached. `umount -l MOUNT_POINT` detaches the filesystem, so that no further process waits for it.",
            where=_STUCK, own_steps=STATE, source="none published; should never happen"),
    _device("disk-busy", "Disk busy", "disk", Measure.AVG, "system.diskio.util.pct", 15,
            "Requests were in progress on the disk nearly all the time. For an SSD, this alone does not mean that the disk is slow.",
            "Compare the latency and the queue of the disk. The alert names the containers that read and write most.",
            mild=True, resource=Resource.IO, source="Elastic: 90 %"),
    _device("disk-queue", "Long disk queue", "disk", Measure.AVG, "system.diskio.queue.count", 15,
            "On average, many requests wait for the disk or are in progress.",
            "Limit the containers that read and write most (`io.max`), or move them to another disk.",
            resource=Resource.IO, source="NM: 10 for 30 min; Elastic: 10"),
    _device("disk-read-latency", "Slow disk reads", "disk", Measure.AVG, "system.diskio.read.await.ms", 10,
            "The mean latency of reads is high.", "Check the utilisation of the disk. If the utilisation is low, check the health of the disk: `smartctl -a`.",
            resource=Resource.IO, source="APA: 100 ms; Elastic: 5 ms (SSD), 30 ms (HDD)"),
    _device("disk-write-latency", "Slow disk writes", "disk", Measure.AVG, "system.diskio.write.await.ms", 10,
            "The mean latency of writes is high.", "Check the utilisation of the disk. If the utilisation is low, check the health of the disk: `smartctl -a`.",
            resource=Resource.IO, source="APA: 100 ms; Elastic: 5 ms (SSD), 30 ms (HDD)"),
    _device("network-receive-errors", "Receive errors", "network", Measure.AVG, "system.network.in.errors_per_s", 10,
            "The interface receives damaged packets.", "Run `ip -s -s link show INTERFACE`, then check cable, transceiver and switch port.",
            mild=True, source="Elastic: 5/s; NM: 1 % of packets"),
    _device("network-send-errors", "Send errors", "network", Measure.AVG, "system.network.out.errors_per_s", 10,
            "The interface fails to send packets.", "Run `ip -s -s link show INTERFACE`, then check driver, cable and switch port.",
            mild=True, source="Elastic: 5/s; NM: 1 % of packets"),
    _device("network-full", "Interface near its speed", "network", Measure.AVG, "system.network.util.pct", 5,
            "The traffic of the interface is close to its speed.", "Find out which containers send and receive most. The alert names those that send most.",
            mild=True, resource=Resource.NETWORK, source="APA: 80 % over 5 min"),
    _device("raid-failed", "RAID: disks failed", "raid", Measure.MAX, "system.raid.disks.failed", 5,
            "A disk of the array failed.", "Run `mdadm --detail /dev/ARRAY`, replace the failed disk, and add the new one: `mdadm --add`.", source="NM: any"),
    _device("raid-missing", "RAID: disks missing", "raid", Measure.MAX, "system.raid.disks.missing.count", 5,
            "The array has fewer disks than configured, so that the next failure may lose data.",
            "Run `mdadm --detail /dev/ARRAY`, and add a disk: `mdadm --add`. During a rebuild, the alert lasts until the rebuild ends.", source="NM: any, 15 min"),
    _device("sensor-temperature", "Temperature high", "sensor", Measure.MIN, "system.sensor.temperature.celsius", 5,
            "The sensor reports a temperature at which hardware slows down or ages.", "Check fans, filters and the room temperature.",
            source="APA: above the sensor's maximum, 5 min"),
)  # fmt: skip
