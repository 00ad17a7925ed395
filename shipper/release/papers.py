"""What goes with the files of a release: SHA256SUMS, a bill of materials (CycloneDX) and provenance (SLSA)."""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from shipper import __version__
from shipper.deploy.image import build, oci

SUMS: Final = "SHA256SUMS"
BOM: Final = "sbom.cdx.json"
PROVENANCE: Final = "provenance.json"
_LOCKED: Final = re.compile(r"^([a-z0-9._-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]+(?: \\)?\n)+)", re.MULTILINE)
_HASH: Final = re.compile(r"sha256:([0-9a-f]+)")


def write(directory: Path, made: Iterable[Path], epoch: int) -> list[Path]:
    """Write the three files about ``made``."""
    bom = directory / BOM
    bom.write_text(materials(epoch) + "\n", encoding="utf-8")
    files = {path.name: oci.digest(path) for path in sorted([*made, bom], key=lambda path: path.name)}
    sums, statement = directory / SUMS, directory / PROVENANCE
    sums.write_text("".join(f"{digest}  {name}\n" for name, digest in files.items()), encoding="utf-8")
    statement.write_text(json.dumps(provenance(files), indent=1) + "\n", encoding="utf-8")
    return [bom, sums, statement]


def locked() -> Iterator[tuple[str, str, list[str]]]:
    """Name, version and allowed hashes of each package that the agent needs."""
    text = (build.REPOSITORY / "requirements/run.txt").read_text(encoding="utf-8")
    for name, version, hashes in _LOCKED.findall(text):
        yield name, version, _HASH.findall(hashes)


def materials(epoch: int) -> str:
    """The bill of materials as JSON: the shipper and the locked Python packages."""
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"metrics-shipper/{__version__}"))
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, UTC)
    own = Component(name="metrics-shipper", version=__version__, type=ComponentType.APPLICATION, bom_ref="shipper")
    bom.metadata.component = own
    parts = [
        Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{name}=={version}",
            purl=PackageURL("pypi", None, name, version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=content) for content in hashes],
        )
        for name, version, hashes in locked()
    ]
    bom.components.update(parts)
    bom.register_dependency(own, parts)
    return str(JsonV1Dot6(bom).output_as_string(indent=1))


def provenance(files: dict[str, str]) -> dict[str, Any]:
    """The in-toto statement that these files were made by ``make release`` from this commit (SLSA provenance v1)."""
    words = ["git", "-C", str(build.REPOSITORY), "rev-parse", "HEAD"]
    commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://slsa.dev/container-based-build/v0.1",
                "externalParameters": {"command": "make release"},
                "resolvedDependencies": [{"digest": {"gitCommit": commit}}] if commit else [],
            },
            "runDetails": {"builder": {"id": "make release"}},
        },
    }
