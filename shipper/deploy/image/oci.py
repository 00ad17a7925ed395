"""A root file system's tar as an image archive that docker, podman, skopeo and containerd import.

OCI's image layout (https://github.com/opencontainers/image-spec) with docker's manifest.json, which points to the same
files. The same tar gives the same bytes.
"""

import gzip
import hashlib
import io
import json
import platform
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

NAME: Final = "shipper"
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
SETTINGS: Final = {
    "Entrypoint": ["/usr/bin/shipper"],
    "Cmd": ["run"],
    "Env": ["PATH=/usr/bin", "SHIPPER_COLLECT_HOST_ROOT=/media/root"],
    "Volumes": {"/var/lib/shipper": {}},
    "StopSignal": "SIGTERM",
}
LABELS: Final = {
    "org.opencontainers.image.title": "shipper",
    "org.opencontainers.image.description": "Host and container metrics for Elasticsearch",
    "org.opencontainers.image.licenses": "Apache-2.0",
}
_CHUNK: Final = 1 << 20


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def archive(tar: Path, version: str, epoch: int, machine: str = platform.machine()) -> Path:
    """Write ``<tar without .tar>-oci.tar`` beside ``tar``: one layer, for ``machine`` as uname names it."""
    target = tar.with_name(f"{tar.stem}-oci.tar")
    layer = target.with_suffix(".layer")
    with tar.open("rb") as source, gzip.GzipFile("", "wb", 6, layer.open("wb"), mtime=0) as packed:
        shutil.copyfileobj(source, packed, _CHUNK)
    try:
        with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as file:
            _Writer(file, epoch, machine).write(layer, digest(tar), version)
    finally:
        layer.unlink()
    return target


class _Writer:
    def __init__(self, file: tarfile.TarFile, epoch: int, machine: str) -> None:
        self._file = file
        self._epoch = epoch
        self._architecture = ARCHITECTURES.get(machine, machine)

    def write(self, layer: Path, diff: str, version: str) -> None:
        created = datetime.fromtimestamp(self._epoch, UTC).isoformat().replace("+00:00", "Z")
        labels = LABELS | {"org.opencontainers.image.version": version, "org.opencontainers.image.created": created}
        config = {
            "architecture": self._architecture,
            "os": "linux",
            "created": created,
            "config": SETTINGS | {"Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
            "history": [{"created": created, "created_by": "make image"}],
        }
        layers = [self._blob("application/vnd.oci.image.layer.v1.tar+gzip", layer)]
        settings = self._blob("application/vnd.oci.image.config.v1+json", _text(config))
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
        manifest |= {"config": settings, "layers": layers}
        image = self._blob(str(manifest["mediaType"]), _text(manifest))
        tag = f"{NAME}:{version}"
        # containerd reads its own annotation, all others OCI's
        image["annotations"] = {
            "io.containerd.image.name": f"docker.io/library/{tag}",
            "org.opencontainers.image.ref.name": version,
        }
        self._add("index.json", _text({"schemaVersion": 2, "manifests": [image]}))
        self._add("oci-layout", _text({"imageLayoutVersion": "1.0.0"}))
        paths = [_path(blob["digest"].removeprefix("sha256:")) for blob in (settings, *layers)]
        self._add("manifest.json", _text([{"Config": paths[0], "RepoTags": [tag], "Layers": paths[1:]}]))

    def _blob(self, kind: str, content: Path | bytes) -> dict[str, Any]:
        """Add a file named by its hash; returns the descriptor that refers to it."""
        if isinstance(content, Path):
            sha256, size = digest(content), content.stat().st_size
        else:
            sha256, size = hashlib.sha256(content).hexdigest(), len(content)
        self._add(_path(sha256), content)
        return {"mediaType": kind, "digest": f"sha256:{sha256}", "size": size}

    def _add(self, name: str, content: Path | bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.mtime, entry.mode = self._epoch, 0o644
        if isinstance(content, Path):
            entry.size = content.stat().st_size
            with content.open("rb") as file:
                self._file.addfile(entry, file)
        else:
            entry.size = len(content)
            self._file.addfile(entry, io.BytesIO(content))


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
