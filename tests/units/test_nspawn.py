"""units/nspawn/shipper-nspawn: the line that it makes, the trees that it keeps, and every exit code."""

import hashlib
import os
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from engines import containerd, docker, podman
from imaging import Image
from nodes import own_cgroup
from readme import REPOSITORY

SCRIPT = REPOSITORY / "units/nspawn/shipper-nspawn"
NSPAWN = """#!/bin/sh
case $1 in
    --version) echo "systemd {version} ({version}.1)" ;;
    --help) cat {help} ;;
    *) for word; do printf '%s\\n' "$word"; done; exit 42 ;;
esac
"""
ALL = (
    *("--quiet", "--keep-unit", "--register", "--read-only", "--drop-capability", "--as-pid2", "--kill-signal"),
    *("--settings", "--no-new-privileges", "--system-call-filter", "--rlimit", "--resolv-conf", "--timezone"),
    *("--link-journal", "--console", "--setenv=NAME[=VALUE]"),
)
SINCE = {"--no-new-privileges": 239, "--resolv-conf": 239, "--timezone": 239, "--console": 242, "--settings": 226}

root = pytest.mark.root


@dataclass
class Place:
    """A directory with settings, trees, and a systemd-nspawn that tells its words and ends with 42."""

    base: Path
    environment: dict[str, str]
    enter: tuple[str, ...] = ()

    @property
    def machines(self) -> Path:
        return self.base / "machines"

    def nspawn(self, version: int, flags: Sequence[str] = ALL) -> None:
        (self.base / "help").write_text("\n".join(flags))
        program = self.base / "bin/systemd-nspawn"
        program.write_text(NSPAWN.format(version=version, help=self.base / "help"))
        program.chmod(0o755)

    def call(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        command = [*self.enter, str(SCRIPT), *map(str, words)]
        environment = self.environment | more
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)

    def line(self, *words: str | Path, **more: str) -> list[str]:
        """What nspawn was started with."""
        done = self.call(*words, **more)
        assert done.returncode == 42, done.stderr
        return done.stdout.splitlines()

    def fails(self, code: int, *words: str | Path, **more: str) -> str:
        done = self.call(*words, **more)
        assert done.returncode == code, done.stderr
        assert done.stderr.count("\n") == 1, "one line"
        assert done.stderr.startswith("shipper-nspawn: ")
        return done.stderr

    def trees(self) -> set[str]:
        return {path.name for path in self.machines.iterdir() if path.is_dir() and not path.is_symlink()}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "bin").mkdir()
    (tmp_path / "rc").write_text(f"NSPAWN_MACHINES={tmp_path}/machines\nNSPAWN_STATE={tmp_path}/state\n")
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "SHIPPER_NSPAWNRC": f"{tmp_path}/rc", "INVOCATION_ID": "1"}
    found = Place(tmp_path, environment)
    found.nspawn(252)
    return found


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., Path]:
    """A tar of a root file system with the files given."""

    def make(name: str, **files: str) -> Path:
        path = tmp_path / name
        with tarfile.open(path, "w") as file:
            for inside, text in {"usr/lib/os-release": "ID=tiny\n", **files}.items():
                entry = tarfile.TarInfo(f"./{inside}")
                entry.size = len(text)
                file.addfile(entry, BytesIO(text.encode()))
        return path

    return make


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.needs("shellcheck")
def test_shellcheck_is_content() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@root
def test_line_b(place: Place, small: Callable[..., Path]) -> None:
    tar = small("tiny.tar")
    line = place.line(tar, "/bin/program", "an argument", "$x")
    tree = place.machines / sha256(tar)[:16]
    assert line[-3:] == ["/bin/program", "an argument", "$x"]
    assert {
        *("--quiet", "--keep-unit", "--register=no", "--read-only", "--as-pid2", "--kill-signal=SIGRTMIN+3"),
        *("--no-new-privileges=yes", "--console=pipe", "--bind-ro=/:/media/root", f"--directory={tree}"),
        *(f"--bind={place.base}/state:/var/lib/shipper", "--setenv=SHIPPER_COLLECT_HOST_ROOT=/media/root"),
        "--machine=tiny-tar",
    } <= set(line)
    (dropped,) = (word.partition("=")[2].split(",") for word in line if word.startswith("--drop-capability="))
    assert "CAP_SYS_ADMIN" in dropped
    assert not {"CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"} & set(dropped)
    assert (place.base / "state").stat().st_mode & 0o777 == 0o700


@root
def test_program_is_the_shipper_unless_told_otherwise(place: Place, small: Callable[..., Path]) -> None:
    assert place.line(small("tiny.tar"))[-2:] == ["/usr/bin/shipper", "run"]


@root
def test_line_a(place: Place, small: Callable[..., Path]) -> None:
    tar = small("tiny.tar")
    line = place.line(tar, NSPAWN_LINE="A")
    assert "--as-pid2" not in line
    assert "--kill-signal=SIGTERM" in line
    shown = place.call("--dry-run", tar, NSPAWN_LINE="A").stdout
    assert "SYSTEMD_NSPAWN_SHARE_SYSTEM=1 " in shown


@root
def test_dry_run_shows_the_line_and_does_nothing(place: Place, small: Callable[..., Path]) -> None:
    tar = small("tiny.tar")
    done = place.call("--dry-run", tar, "/bin/program", "it's", "")
    assert done.returncode == 0
    assert not place.machines.exists()
    env, program, *line = shlex.split(done.stdout)
    assert (env, program) == ("env", "systemd-nspawn")
    assert line == place.line(tar, "/bin/program", "it's", "")


@root
def test_what_systemd_gives_is_passed_on(place: Place, small: Callable[..., Path]) -> None:
    line = place.line(
        small("tiny.tar"),
        NOTIFY_SOCKET="/run/systemd/notify",
        WATCHDOG_USEC="180000000",
        CREDENTIALS_DIRECTORY="/run/credentials/shipper.service",
        SHIPPER_INDEX_NAMESPACE="prod",
        SHIPPER_ELASTICSEARCH_API_KEY="id:secret",
        OTHER="x",
    )
    assert {
        "--setenv=NOTIFY_SOCKET=/media/root/run/systemd/notify",
        "--setenv=WATCHDOG_USEC=180000000",
        "--bind-ro=/run/credentials/shipper.service:/run/credentials",
        "--setenv=CREDENTIALS_DIRECTORY=/run/credentials",
        "--setenv=SHIPPER_INDEX_NAMESPACE",
        "--setenv=SHIPPER_ELASTICSEARCH_API_KEY",
    } <= set(line)
    assert "secret" not in "".join(line)
    assert "OTHER" not in "".join(line)
    assert "NSPAWNRC" not in "".join(line)


@root
def test_flags_that_an_old_version_lacks_are_left_out_and_told(place: Place, small: Callable[..., Path]) -> None:
    tar = small("tiny.tar")
    place.nspawn(234, [flag for flag in ALL if SINCE.get(flag, 0) <= 234 and "NAME[=VALUE]" not in flag])
    done = place.call(tar, SHIPPER_INDEX_NAMESPACE="prod")
    assert done.returncode == 42
    assert "--no-new-privileges" not in done.stdout
    assert "--setenv=SHIPPER_INDEX_NAMESPACE=prod" in done.stdout.splitlines()
    told = [line for line in done.stderr.splitlines() if "left out" in line]
    assert {line.split(" has no ")[1].split(":")[0] for line in told} == {
        name for name, since in SINCE.items() if since > 234
    }
    secret = place.call(tar, SHIPPER_ELASTICSEARCH_API_KEY="id:secret")
    assert secret.returncode == 78
    assert "secret" not in secret.stdout + secret.stderr


@root
def test_too_old_versions_are_refused(place: Place, small: Callable[..., Path]) -> None:
    tar = small("tiny.tar")
    place.nspawn(225)
    assert "too old" in place.fails(69, tar)
    without = [flag for flag in ALL if flag != "--as-pid2"]
    place.nspawn(227, without)
    assert "NSPAWN_LINE=A" in place.fails(69, tar)
    assert "--share-system" in place.line(tar, NSPAWN_LINE="A")
    assert "is not installed" in place.fails(69, tar, NSPAWN_PROGRAM="/nowhere/systemd-nspawn")


@root
def test_what_is_not_usable_is_told_in_one_line_by_its_own_code(place: Place, small: Callable[..., Path]) -> None:
    tar = small("tiny.tar")
    place.fails(64)
    place.fails(64, "--nonsense")
    other = "0" * 64
    assert sha256(tar) in place.fails(65, f"{tar}@sha256:{other}")
    text = tar.with_name("text")
    text.write_text("no tar\n")
    place.fails(65, text)
    empty = tar.with_name("empty.tar")
    with tarfile.open(empty, "w"):
        pass
    place.fails(65, empty)
    assert place.trees() == set()
    place.fails(66, "/no/such/file.tar")
    place.fails(66, "shell")
    place.fails(78, tar, NSPAWN_LINE="C")
    (place.base / "rc").chmod(0o666)
    place.fails(78, tar)
    (place.base / "rc").chmod(0o644)
    os.chown(place.base / "rc", 1234, 0)
    place.fails(78, tar)
    os.chown(place.base / "rc", 0, 0)
    (place.base / "rc").write_text("NSPAWN_MACHINES=relative\n")
    place.fails(78, tar)


@root
def test_without_an_engine_a_name_is_nothing(place: Place) -> None:
    for name in ("sh", "env", "sed", "cut", "find", "id", "tail", "cat", "sort", "readlink"):
        (place.base / "bin" / name).symlink_to(shutil.which(name) or "")
    assert "none of docker, podman, ctr" in place.fails(69, "shipper:0.1.0", PATH=str(place.base / "bin"))


def test_only_root_may(place: Place, small: Callable[..., Path]) -> None:
    (place.base / "bin/id").write_text("#!/bin/sh\necho 1000\n")
    (place.base / "bin/id").chmod(0o755)
    place.fails(77, small("tiny.tar"))


@root
def test_a_full_disk_leaves_no_half_tree(place: Place, small: Callable[..., Path]) -> None:
    tar = small("big.tar", **{"usr/big": "x" * 3_000_000})
    place.machines.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place.machines)], check=True)
    try:
        place.fails(73, tar)
        assert place.trees() == set()
    finally:
        subprocess.run(["umount", str(place.machines)], check=True)


@root
def test_a_half_made_tree_is_made_again(place: Place, small: Callable[..., Path]) -> None:
    tar = small("tiny.tar", **{"usr/file": "whole"})
    place.line(tar)
    tree = place.machines / sha256(tar)[:16]
    (tree / ".shipper-nspawn").unlink()
    (tree / "usr/file").unlink()
    (place.machines / "0123.part").mkdir()
    place.line(tar)
    assert (tree / "usr/file").read_text() == "whole"
    assert place.trees() == {tree.name}


@root
def test_killed_while_it_unpacks_it_unpacks_anew(place: Place, small: Callable[..., Path]) -> None:
    tar = small("tiny.tar", **{"usr/file": "whole"})
    stuck = place.base / "bin/tar"
    stuck.write_text('#!/bin/sh\n/usr/bin/tar "$@"\ncase $1 in -xpf) kill -9 $PPID ;; esac\n')
    stuck.chmod(0o755)
    assert place.call(tar).returncode == -9
    assert all(name.endswith(".part") for name in place.trees())
    stuck.unlink()
    place.line(tar)
    assert place.trees() == {sha256(tar)[:16]}


@root
def test_the_tree_before_stays_and_a_prepared_one_takes_nothing_away(place: Place, small: Callable[..., Path]) -> None:
    tars = [small(f"{number}.tar", **{"usr/file": str(number)}) for number in range(4)]
    names = [sha256(tar)[:16] for tar in tars]
    for number in (0, 1):
        place.line(tars[number])
    assert place.call("--prepare", tars[2]).returncode == 0
    assert place.trees() == {*names[:3]}
    place.line(tars[2])
    assert place.trees() == {*names[1:3]}
    assert os.readlink(place.machines / "current") == names[2]
    assert os.readlink(place.machines / "previous") == names[1]
    inode = (place.machines / names[1]).stat().st_ino
    place.line(tars[1])
    assert (place.machines / names[1]).stat().st_ino == inode, "going back unpacks nothing"


def layout(path: Path, layers: list[dict[str, str]]) -> Path:
    """An OCI archive of layers, each of files by name."""
    from json import dumps

    blobs: dict[str, bytes] = {}

    def blob(content: bytes) -> dict[str, str | int]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}", "size": len(content)}

    def layer(files: dict[str, str]) -> bytes:
        packed = BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as file:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                file.addfile(entry, BytesIO(text.encode()))
        return packed.getvalue()

    manifest = {"config": blob(b"{}"), "layers": [blob(layer(files)) for files in layers]}
    index = {"manifests": [blob(dumps({"manifests": [blob(dumps(manifest, indent=1).encode())]}).encode())]}
    with tarfile.open(path, "w") as file:
        for name, content in {**blobs, "index.json": dumps(index).encode(), "oci-layout": b"{}"}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, BytesIO(content))
    return path


@root
def test_layers_lie_on_each_other_and_take_away_from_those_below(place: Place) -> None:
    first = {"usr/a": "1", "usr/b": "1", "usr/d/x": "1", "usr/d/y": "1", "usr/odd name": "1"}
    second = {"usr/.wh.b": "", "./usr/d/.wh..wh..opq": "", "usr/d/z": "2", "usr/.wh.odd name": ""}
    archive = layout(place.base / "oci.tar", [first, second, {"usr/b": "3"}])
    place.line(archive)
    usr = place.machines / sha256(archive)[:16] / "usr"
    found = {str(path.relative_to(usr)): path.read_text() for path in usr.rglob("*") if path.is_file()}
    assert found == {"a": "1", "b": "3", "d/z": "2"}


@root
def test_a_layer_cannot_reach_outside(place: Place) -> None:
    victim = place.base / "victim"
    victim.write_text("there")
    evil = layout(place.base / "evil.tar", [{"usr/a": "1"}, {"../../../victim/../.wh.victim": ""}])
    place.fails(65, evil)
    assert victim.read_text() == "there"


@root
def test_a_damaged_blob_is_refused(place: Place) -> None:
    archive = layout(place.base / "oci.tar", [{"usr/a": "1" * 100}])
    with tarfile.open(archive) as file:
        blob = max((one for one in file if one.name.startswith("blobs")), key=lambda one: one.offset)
    content = bytearray(archive.read_bytes())
    content[blob.offset_data] ^= 1
    archive.write_bytes(content)
    assert "damaged" in place.fails(65, archive)
    assert place.trees() == set()


@pytest.fixture
def engine_script(place: Place) -> Callable[[str, str], None]:
    """Puts a program before others on the PATH."""

    def write(name: str, line: str) -> None:
        (place.base / "bin" / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (place.base / "bin" / name).chmod(0o755)

    return write


@root
@pytest.mark.needs("dockerd")
def test_image_of_docker(place: Place, image: Image, short: Path) -> None:
    with docker(short / "d") as engine:
        engine.run("load", "--quiet", "--input", str(image.oci))
        host = f"unix://{short}/d/sock"
        place.line(image.tag, DOCKER_HOST=host, NSPAWN_ENGINE="docker")
        (name,) = place.trees()
        assert (place.machines / name / "usr/bin/shipper").exists()
        assert engine.run("ps", "--all", "--quiet") == ""
        assert "no such image" in place.fails(
            66, "absent:1", DOCKER_HOST=host, NSPAWN_PULL="never", NSPAWN_ENGINE="docker"
        )
    # The engine is gone; what was unpacked runs
    assert f"--directory={place.machines}/{name}" in place.line(image.tag, DOCKER_HOST=host, NSPAWN_ENGINE="docker")


@root
@pytest.mark.needs("podman")
def test_image_of_podman(place: Place, image: Image, short: Path, engine_script: Callable[[str, str], None]) -> None:
    with podman(short / "p") as engine:
        engine.run("load", "--quiet", "--input", str(image.oci))
        engine_script("podman", shlex.join(engine.words()).replace("podman", "/usr/bin/podman", 1))
        place.line(image.tag, NSPAWN_ENGINE="podman")
        (name,) = place.trees()
        assert (place.machines / name / "usr/bin/shipper").exists()


@root
@pytest.mark.needs("ctr")
def test_image_of_containerd(
    place: Place, image: Image, short: Path, engine_script: Callable[[str, str], None]
) -> None:
    with containerd(short / "c") as engine:
        engine.run("images", "import", "--snapshotter", "native", str(image.oci))
        engine_script("ctr", f"/usr/bin/ctr --address {short}/c/sock")
        place.line(f"docker.io/library/{image.tag}", NSPAWN_ENGINE="ctr")
        (name,) = place.trees()
        assert (place.machines / name / "usr/bin/shipper").exists()


@pytest.fixture
def real(place: Place) -> Iterator[Place]:
    (place.base / "bin/systemd-nspawn").unlink()
    with own_cgroup() as (_, entering):  # nspawn leaves cgroups in the one that it is started in
        place.enter = ("sh", "-ec", f'{entering}exec "$@"', "-")
        yield place
    subprocess.run(["rm", "-rf", "--one-file-system", str(place.machines)], check=True)


@root
@pytest.mark.needs("systemd-nspawn")
@pytest.mark.parametrize("line", ["A", "B"])
def test_the_program_gets_little_and_its_exit_code_is_passed_on(real: Place, image: Image, line: str) -> None:
    script = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; touch /x /etc/x /media/root/x"
    script += "; touch /tmp/x && exit 7"
    done = real.call(image.tar, "/bin/sh", "-c", script, NSPAWN_LINE=line)
    assert done.returncode == 7
    found = dict(each.split() for each in done.stdout.splitlines())
    assert int(found["CapEff:"], 16) == 1 << 2 | 1 << 19  # CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE
    assert (found["NoNewPrivs:"], found["Seccomp:"]) == ("1", "2")
    assert done.stderr.count("Read-only file system") == 3
    toolbox = real.call("shell", "sh", "-c", "ls /media/root/proc/1/stat; exit 3", NSPAWN_LINE=line)
    assert (toolbox.returncode, toolbox.stdout) == (3, "/media/root/proc/1/stat\n")
