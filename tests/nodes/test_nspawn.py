"""units/nspawn/shipper-nspawn: the line that it makes, the trees that it keeps, and every exit status."""

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
from booting import own_cgroup
from engines import containerd, docker, podman
from imaging import Image
from readme import REPOSITORY

from shipper import __version__

VERSION = f"shipper {__version__}"
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
        *("--machine=tiny-tar", "--capability=CAP_SYSLOG", "--bind-ro=/dev/kmsg", "--system-call-filter=~syslog"),
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
    assert "no engine (docker, podman, ctr) is installed" in place.fails(
        69, "shipper:0.1.0", PATH=str(place.base / "bin")
    )


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


FOREIGN = (
    "postgres-prod/data",
    "backup.part/data",
    "0123456789abcdef/data",
    "0123456789abcdef.part/data",
    ".lock",
    "odd name/-rf",
)


def contents(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of all that is below it but the script's own."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in directory.rglob("*")
    }


@root
def test_nothing_of_others_is_removed_or_changed(place: Place, small: Callable[..., Path], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in (*(place.machines / name for name in FOREIGN), outside / "data"):
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text("precious")
    (place.machines / "link.part").symlink_to(outside)
    (place.machines / "fedcba9876543210").symlink_to(outside)
    clone = place.machines / "mine"
    clone.mkdir()
    (clone / ".shipper-nspawn").write_text("0" * 64)  # a copy of a tree of ours, for whatever it is good
    for directory in (place.machines, place.base / "state"):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o755)
    before = {**contents(place.machines), **contents(outside)}
    tars = [small(f"{number}.tar", **{"usr/file": str(number)}) for number in range(3)]
    for tar in tars:
        place.line(tar)
    after = {**contents(place.machines), **contents(outside)}
    assert before.items() <= after.items()
    own = {sha256(tar)[:16] for tar in tars[1:]} | {"current", "previous"}
    assert {name for name in after if "/" not in name} - before.keys() == own
    assert [path.stat().st_mode & 0o777 for path in (place.machines, place.base / "state")] == [0o755, 0o755]


@root
@pytest.mark.parametrize("what", ["{tree}", "{tree}.part", "current", "previous"])
@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_what_has_a_name_of_ours_but_is_not_ours_is_refused(
    place: Place, small: Callable[..., Path], what: str, kind: str
) -> None:
    tar = small("tiny.tar")
    victim = place.base / "victim"
    (victim / "inner").mkdir(parents=True)
    path = place.machines / what.format(tree=sha256(tar)[:16])
    path.parent.mkdir()
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "file":
        path.write_text("precious")
    else:
        (path / "inner").mkdir(parents=True)
    before = contents(place.machines)
    assert f"{path} is in the way" in place.fails(73, tar)
    assert contents(place.machines) == before
    assert (victim / "inner").exists()


@root
@pytest.mark.parametrize("use", ["root", "mount"])
def test_a_tree_in_use_stays(place: Place, small: Callable[..., Path], use: str) -> None:
    tars = [small(f"{number}.tar", **{"usr/file": str(number)}) for number in range(3)]
    place.line(tars[0])
    tree = place.machines / sha256(tars[0])[:16]
    if use == "root":
        (tree / "busybox").write_bytes(Path("/usr/bin/busybox").read_bytes())
        (tree / "busybox").chmod(0o755)
        process = subprocess.Popen(["chroot", str(tree), "/busybox", "sleep", "600"])
    else:
        (place.base / "home").mkdir()
        (place.base / "home/file").write_text("precious")
        subprocess.run(["mount", "--bind", str(place.base / "home"), str(tree / "usr")], check=True)
    try:
        for tar in tars[1:]:
            place.line(tar)
        assert tree.exists()
    finally:
        if use == "root":
            process.kill()
            process.wait()
        else:
            subprocess.run(["umount", str(tree / "usr")], check=True)
            assert (place.base / "home/file").read_text() == "precious"
    place.line(tars[1])
    assert not tree.exists(), "and goes when it is free"


@root
@pytest.mark.parametrize("what", [".shipper-nspawn", "etc/os-release", "etc"])
def test_a_link_in_the_image_leads_no_write_outside(place: Place, what: str) -> None:
    outside = place.base / "outside"
    tar = place.base / "evil.tar"
    with tarfile.open(tar, "w") as file:
        entry = tarfile.TarInfo("bin/x")
        file.addfile(entry)
        link = tarfile.TarInfo(what)
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        file.addfile(link)
    place.line(tar)
    assert not outside.exists()


@root
def test_a_tree_half_removed_or_half_made_is_no_obstacle(place: Place, small: Callable[..., Path]) -> None:
    tar = small("tiny.tar", **{"usr/file": "whole"})
    name = sha256(tar)[:16]
    left = place.machines / f"{name}.part"
    left.mkdir(parents=True)
    place.line(tar)
    assert (place.machines / name / "usr/file").read_text() == "whole"
    (place.machines / name).rename(left)
    (left / ".shipper-nspawn-part").touch()
    place.line(tar)
    assert place.trees() == {name}


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


LINKS = {">": tarfile.SYMTYPE, "=": tarfile.LNKTYPE}


def layout(path: Path, layers: list[dict[str, str]]) -> Path:
    """An OCI archive of layers, each of files by name; with > after it the name is of a link, with = of a hard link."""
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
                entry = tarfile.TarInfo(name.rstrip(">="))
                if name[-1] in LINKS:
                    entry.type, entry.linkname = LINKS[name[-1]], text
                else:
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
@pytest.mark.parametrize(
    "layers",
    [
        [{"usr/a": "1"}, {"../../../victim/../.wh.victim": ""}],
        [{"usr/out>": "{base}"}, {"usr/out/.wh.victim": ""}],
        [{"usr/out>": "{base}"}, {"usr/out/.wh..wh..opq": ""}],
        [{"usr/out>": "../../../../"}, {"usr/out/.wh.victim": ""}],
        [{"usr/öut>": "{base}"}, {"usr/öut/victim": "changed"}],
        [{"usr/o\nut>": "{base}"}, {"usr/o\nut/victim": "changed"}],
        [{"usr/out>": "{base}"}, {"usr/b=": "usr/out/victim"}, {"usr/b": "changed"}],
    ],
)
def test_a_layer_cannot_reach_outside(place: Place, layers: list[dict[str, str]]) -> None:
    victim = place.base / "victim"
    victim.write_text("there")
    evil = layout(place.base / "evil.tar", [{n: t.format(base=place.base) for n, t in one.items()} for one in layers])
    place.fails(65, evil)
    assert victim.read_text() == "there"
    assert victim.stat().st_nlink == 1


@root
def test_a_layer_may_go_through_links_of_its_own_root(place: Place) -> None:
    archive = layout(
        place.base / "oci.tar", [{"usr/lib/a": "1", "lib>": "usr/lib", "var/run>": "/run"}, {"lib/b": "2"}]
    )
    place.line(archive)
    assert (place.machines / sha256(archive)[:16] / "usr/lib/b").read_text() == "2"


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


BROKEN = "#!/bin/sh\necho 'Error: {}' >&2\nexit 125\n"
EMPTY = (
    "#!/bin/sh\necho \"Error: No such image: $5\" >&2\n[ $1 != pull ] || echo 'no route to the registry' >&2\nexit 1\n"
)


@root
def test_an_engines_own_error_is_told_and_no_other_is_blamed(place: Place) -> None:
    def engine(name: str, text: str) -> None:
        (place.base / "bin" / name).write_text(text)
        (place.base / "bin" / name).chmod(0o755)

    engine("podman", BROKEN.format("open /etc/netavark.lock: read-only file system"))
    engine("docker", BROKEN.format("cannot connect"))
    engine("ctr", BROKEN.format("no socket"))
    told = place.fails(69, "shop/a:1")
    assert all(
        words in told for words in ("podman: Error: open /etc/netavark.lock", "docker: Error: cannot", "ctr: Error")
    )
    only = place.fails(69, "shop/a:1", NSPAWN_ENGINE="podman")
    assert "read-only file system" in only
    assert "docker" not in only
    engine("docker", EMPTY)
    told = place.fails(66, "shop/a:1")
    assert "docker cannot pull it: no route to the registry; podman: Error: open /etc/netavark.lock" in told
    assert "docker has no such image; podman: Error" in place.fails(66, "shop/a:1", NSPAWN_PULL="never")


@root
def test_what_prepare_made_runs_without_an_engine(place: Place, small: Callable[..., Path]) -> None:
    """Of two trees of one name the one that it stood for last, also when an engine fails."""
    fake = """#!/bin/sh
case "$1 $2" in
    "image inspect") sha256sum {0} | cut -d' ' -f1 ;;
    "ps "*) ;;
    "create "*) echo container ;;
    "export "*) cat {0} ;;
esac
"""
    program = place.base / "bin/docker"
    tars = [small(f"{number}.tar", **{"usr/file": str(number)}) for number in range(2)]
    for tar in (tars[0], tars[1], tars[0]):
        program.write_text(fake.format(tar))
        program.chmod(0o755)
        assert place.call("--prepare", "shop/a:1", NSPAWN_PREPARED="yes").returncode == 0
        program.write_text(BROKEN.format("down"))
        assert f"--directory={place.machines}/{sha256(tar)[:16]}" in place.line("shop/a:1", NSPAWN_PREPARED="yes")
        told = place.call("shop/a:1", NSPAWN_ENGINE="docker")
        assert told.stdout.splitlines()[-2:] == ["/usr/bin/shipper", "run"]
        assert "docker: Error: down; using the unpacked tree of shop/a:1" in told.stderr
    assert "nothing is unpacked" in place.fails(66, "shop/b:1", NSPAWN_PREPARED="yes")


@root
@pytest.mark.needs("dockerd")
def test_image_of_docker(place: Place, image: Image, short: Path) -> None:
    with docker(short / "d") as engine:
        assert engine.run("load", "--quiet", "--input", str(image.oci)) == f"Loaded image: {image.tag}"
        assert engine.run("run", "--rm", "--network", "none", "--read-only", image.tag, "--version") == VERSION
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
    limits = [word for limit in ("nofile", "nproc") for word in ("--ulimit", f"{limit}=1024:1024")]
    with podman(short / "p") as engine:
        engine.run("load", "--quiet", "--input", str(image.oci))
        words = ["run", "--rm", *limits, "--network", "none", "--read-only", image.tag, "--version"]
        assert engine.run(*words) == VERSION
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
        words = ["run", "--rm", "--snapshotter", "native", "--runc-root", f"{short}/runc"]
        words += [f"docker.io/library/{image.tag}", "one", "/usr/bin/shipper", "--version"]
        assert engine.run(*words) == VERSION
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
    script += "; dmesg > /dev/null || echo syslog: refused; (: < /media/root/dev/kmsg) && echo kmsg: opened"
    script += "; touch /tmp/x && exit 7"
    done = real.call(image.tar, "/bin/sh", "-c", script, NSPAWN_LINE=line)
    assert done.returncode == 7
    found = dict(each.split() for each in done.stdout.splitlines())
    assert int(found["CapEff:"], 16) == 1 << 2 | 1 << 19 | 1 << 34  # CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYSLOG
    assert (found["syslog:"], found["kmsg:"]) == ("refused", "opened")
    assert (found["NoNewPrivs:"], found["Seccomp:"]) == ("1", "2")
    assert done.stderr.count("Read-only file system") == 3
    toolbox = real.call("shell", "sh", "-c", "ls /media/root/proc/1/stat; exit 3", NSPAWN_LINE=line)
    assert (toolbox.returncode, toolbox.stdout) == (3, "/media/root/proc/1/stat\n")
