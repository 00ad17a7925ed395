"""Configuration of each peer for the same work: host metrics each second, and the files of the benchmark's cgroups."""

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from shipper.collect.cgroup.controllers import table
from shipper.kernel.hierarchy import detect
from shipper.kernel.source import Reader, Root

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Settings:
    """``write(program, URL of the sink, directory, parent of the cgroups)`` gives the command line."""

    write: Callable[[str, str, Path, str], list[str]]
    reads_cgroups: bool


@dataclass(frozen=True)
class Scraped:
    """``arguments(program, parent of the cgroups)`` gives the command line, ``url`` the metrics."""

    arguments: Callable[[str, str], list[str]]
    url: str
    reads_cgroups: bool


def unzipped(data: bytes) -> bytes:
    """The data, decompressed if it is gzip."""
    return gzip.decompress(data) if data.startswith(_GZIP) else data


def _telegraf(program: str, url: str, directory: Path, parent: str) -> list[str]:
    file = directory / "telegraf.conf"
    groups = _telegraf_cgroups(parent) if parent else ""
    file.write_text(
        f"""
[agent]
interval = "1s"
flush_interval = "1s"
round_interval = true
quiet = true
[[outputs.elasticsearch]]
urls = ["{url}"]
index_name = "telegraf-%Y.%m.%d"
manage_template = false
enable_gzip = true
[[inputs.cpu]]
percpu = false
[[inputs.disk]]
ignore_fs = ["tmpfs", "devtmpfs", "devfs", "iso9660", "overlay", "squashfs"]
[[inputs.diskio]]
[[inputs.kernel]]
[[inputs.kernel_vmstat]]
[[inputs.mem]]
[[inputs.net]]
[[inputs.swap]]
[[inputs.system]]
{groups}
"""
    )
    return [program, "--config", str(file)]


def _telegraf_cgroups(parent: str) -> str:
    layout = detect(Reader(Root()))
    files: dict[str, list[str]] = {}
    for spec in table(layout):
        if not spec.unless and not spec.own:
            files.setdefault(layout.hierarchies.get(spec.controller, ""), []).append(spec.name)
    blocks = []
    for base, names in files.items():
        first = next((path for path in Path("/", base, parent).iterdir() if path.is_dir()), None) if base else None
        # the plugin skips a cgroup in which one of the files is absent
        readable = [name for name in names if first and _readable(first / name)]
        listed = ", ".join(f'"{name}"' for name in readable)
        blocks.append(f'[[inputs.cgroup]]\npaths = ["/{base}/{parent}/*"]\nfiles = [{listed}]\n')
    return "\n".join(blocks)


def _readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def _metricbeat(program: str, url: str, directory: Path, _parent: str) -> list[str]:
    file = directory / "metricbeat.yml"
    file.write_text(
        f"""
metricbeat.modules:
- module: system
  period: 1s
  metricsets: [cpu, load, memory, network, diskio, filesystem, socket_summary, uptime]
- module: system
  period: 1s
  metricsets: [process]
  processes: ['^sleeper$']
  process.cgroups.enabled: true
  process.include_top_n.enabled: false
output.elasticsearch:
  hosts: ["{url}"]
  allow_older_versions: true
setup.template.enabled: false
setup.ilm.enabled: false
queue.mem.flush.timeout: 1s
path.home: {directory}
logging.level: error
"""
    )
    os.chmod(file, 0o600)
    return [program, "-c", str(file), "--path.home", str(directory), "--strict.perms=false"]


def _collectd(program: str, url: str, directory: Path, parent: str) -> list[str]:
    file = directory / "collectd.conf"
    plugins = ["cpu", "df", "disk", "interface", "load", "memory", "processes", "swap", "vmem", "uptime"]
    groups = f'LoadPlugin cgroups\n<Plugin cgroups>\nCGroup "/{parent}/"\n</Plugin>' if parent else ""
    loaded = "\n".join(f"LoadPlugin {name}" for name in plugins)
    file.write_text(
        f"""
Interval 1
BaseDir "{directory}"
PIDFile "{directory}/pid"
{loaded}
{groups}
LoadPlugin write_http
<Plugin write_http>
<Node "sink">
URL "{url}/collectd"
Format "JSON"
</Node>
</Plugin>
"""
    )
    return [program, "-f", "-C", str(file)]


def _glances(program: str, url: str, directory: Path, _parent: str) -> list[str]:
    file = directory / "glances.conf"
    address = urlsplit(url)
    file.write_text(f"[elasticsearch]\nscheme=http\nhost={address.hostname}\nport={address.port}\nindex=glances\n")
    return [program, "-C", str(file), "-q", "-t", "1", "--export", "elasticsearch", "--disable-check-update"]


def _node_exporter(program: str, _parent: str) -> list[str]:
    return [program, "--web.listen-address=127.0.0.1:29100"]


def _cadvisor(program: str, parent: str) -> list[str]:
    return [
        program, "-listen_ip=127.0.0.1", "-port=29101",
        "-housekeeping_interval=1s", "-allow_dynamic_housekeeping=false", "-docker_only=true",
        f"-raw_cgroup_prefix_whitelist={f'/{parent}' if parent else ''}",
    ]  # fmt: skip


PUSHED = {
    "telegraf": Settings(_telegraf, reads_cgroups=True),
    "metricbeat": Settings(_metricbeat, reads_cgroups=True),
    "collectd": Settings(_collectd, reads_cgroups=False),
    "glances": Settings(_glances, reads_cgroups=False),
}

SCRAPED = {
    "node_exporter": Scraped(_node_exporter, "http://127.0.0.1:29100/metrics", reads_cgroups=False),
    "cadvisor": Scraped(_cadvisor, "http://127.0.0.1:29101/metrics", reads_cgroups=True),
}
