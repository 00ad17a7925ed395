"""Block devices by number: their names, and which of them are stacked on others, so that I/O is not counted twice."""

from typing import Final

from shipper.kernel.every import Every
from shipper.kernel.parse import name
from shipper.kernel.source import Reader

_EVERY_S: Final = 60
# Names in proc/devices, for devices that sysfs does not show
_STACKED: Final = (b"device-mapper", b"md", b"mdp", b"loop")


class _Stacked(dict[str, bool]):
    """Whether a device is stacked on others (dm, md, loop) or is a path of one, by MAJ:MIN; read when first asked for."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._reader = reader

    def __missing__(self, number: str) -> bool:
        directory = f"sys/dev/block/{number}"
        if not self._reader.exists(directory):
            self[number] = number.partition(":")[0].encode() in self._majors()
            return self[number]
        below = any(self._reader.names(f"{directory}/slaves")) or self._reader.exists(f"{directory}/loop")
        self[number] = below or (self._reader.read_once(f"{directory}/hidden") or b"").strip() == b"1"
        return self[number]

    def _majors(self) -> set[bytes]:
        block = (self._reader.read_once("proc/devices") or b"").partition(b"Block devices:")[2]
        pairs = (line.split() for line in block.split(b"\n"))
        return {pair[0] for pair in pairs if len(pair) == 2 and pair[1] in _STACKED}  # noqa: PLR2004


class Devices:
    """Names and stacking of block devices, forgotten once a minute, because the kernel reuses numbers."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.stacked = _Stacked(reader)
        self._names: dict[str, str] | None = None
        self._every = Every(_EVERY_S)

    def refresh(self, now_ns: int) -> None:
        """Forget what is older than a minute."""
        if self._every.due(now_ns):
            self.stacked.clear()
            self._names = None

    def name(self, number: str) -> str:
        """``sda`` of ``8:0``; the number itself if the device has no name."""
        if self._names is None:
            words = (line.split() for line in (self._reader.read_once("proc/diskstats") or b"").split(b"\n"))
            self._names = {f"{name(word[0])}:{name(word[1])}": name(word[2]) for word in words if len(word) > 2}  # noqa: PLR2004
        return self._names.get(number, number)


def counts_no_io(reader: Reader, blkio: str | None) -> bool:
    """Whether v1's blkio counts nothing although the disks do I/O: then its zeros are no values.

    On Linux 6.1 the blkio.throttle files stay 0 if no limit is set.
    """
    text = reader.read_once(f"{blkio}/blkio.throttle.io_service_bytes_recursive") if blkio else None
    if not text or any(word.isdigit() and int(word) for line in text.split(b"\n") for word in line.split()[-1:]):
        return False
    rows = (line.split() for line in (reader.read_once("proc/diskstats") or b"").split(b"\n"))
    return any(row[5].isdigit() and row[9].isdigit() and int(row[5]) + int(row[9]) > 0 for row in rows if len(row) > 9)  # noqa: PLR2004
