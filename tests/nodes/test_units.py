"""The rendered files: they agree, and each is what the system that it is for takes."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import fleetd
import hcl2
import kubernetes_validate
import pytest
import yaml
from readme import README, REPOSITORY

from shipper import cli
from shipper.deploy import units

UNITS = REPOSITORY / "units"
SYSTEMD = [path for path in units.files() if path.startswith("systemd/")]
FLEET = [path for path in units.files() if path.startswith("fleet/")]
ALERTS = "alerts/shipper-alerts.service"
CAPABILITIES = {"DAC_READ_SEARCH", "SYS_PTRACE"}
WITH_KERNEL_LOG = CAPABILITIES | {"SYSLOG"}
MOST_EXPOSED = 4.0


def text(path: str) -> str:
    return (UNITS / path).read_text(encoding="utf-8")


def ini(content: str) -> fleetd.Unit:
    """Unit files of systemd are read as fleet does."""
    return fleetd.parse(content)


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    documents = list(yaml.safe_load_all(text("kubernetes/shipper.yaml")))
    found: dict[str, Any] = next(one for one in documents if one["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def task() -> dict[str, Any]:
    job = hcl2.loads(text("nomad/shipper.nomad.hcl"))["job"][0]
    assert job['"shipper"']["type"] == '"system"'
    found: dict[str, Any] = job['"shipper"']["group"][0]['"shipper"']["task"][0]['"shipper"']
    return found


@pytest.fixture(scope="module")
def quadlet() -> fleetd.Unit:
    return ini(text("quadlet/shipper.container"))


def test_all_ways_run_the_same_image_with_the_same_rights(
    pod: dict[str, Any], task: dict[str, Any], quadlet: fleetd.Unit
) -> None:
    (container,) = pod["containers"]
    config = task["config"][0]
    own = quadlet["Container"]
    assert {container["image"], config["image"].strip('"'), *own["Image"]} == {units.IMAGE}
    for path in [*FLEET, "systemd/shipper.service"]:
        assert ini(text(path))["Service"]["ExecStart"] == [f"/opt/bin/shipper-nspawn {units.IMAGE}"]
    assert set(container["securityContext"]["capabilities"]["add"]) == CAPABILITIES
    assert {one.strip('"').upper() for one in config["cap_add"]} == WITH_KERNEL_LOG
    assert {one.removeprefix("CAP_") for one in own["AddCapability"][0].split()} == WITH_KERNEL_LOG
    service = ini(text("systemd/shipper-host.service"))["Service"]
    assert {one.removeprefix("CAP_") for one in service["CapabilityBoundingSet"][0].split()} == WITH_KERNEL_LOG


def test_all_ways_but_kubernetes_may_read_the_kernels_log_and_not_write_it(
    task: dict[str, Any], quadlet: fleetd.Unit
) -> None:
    (device,) = task["config"][0]["devices"]
    assert {key: value.strip('"') for key, value in device.items()} == {
        "host_path": "/dev/kmsg",
        "container_path": "/dev/kmsg",
        "cgroup_permissions": "r",
    }
    assert quadlet["Container"]["AddDevice"] == ["/dev/kmsg:/dev/kmsg:r"]
    for path in SYSTEMD:
        service = ini(text(path))["Service"]
        assert "/dev/kmsg r" in service["DeviceAllow"]
        assert "CAP_SYSLOG" in " ".join(service["CapabilityBoundingSet"])
        assert "ProtectKernelLogs" not in service
    assert re.search(r"--device /dev/kmsg:/dev/kmsg:r\b", README.read_text(encoding="utf-8"))


def test_all_ways_see_the_host_read_only_and_keep_the_spool_on_it(
    pod: dict[str, Any], task: dict[str, Any], quadlet: fleetd.Unit
) -> None:
    mounts = {one["name"]: one for one in pod["containers"][0]["volumeMounts"]}
    assert (mounts["host"]["mountPath"], mounts["host"]["readOnly"]) == ("/media/root", True)
    assert mounts["host"]["mountPropagation"] == "HostToContainer"
    assert mounts["state"]["mountPath"] == "/var/lib/shipper"
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert volumes["host"]["hostPath"]["path"] == "/"
    assert volumes["state"]["hostPath"]["path"] == "/var/lib/shipper"
    both = ["/:/media/root:ro,rslave", "/var/lib/shipper:/var/lib/shipper"]
    assert [one.strip('"') for one in task["config"][0]["volumes"]] == both
    assert quadlet["Container"]["Volume"][:2] == both


def test_all_ways_stop_late_enough_to_send_what_is_left(
    pod: dict[str, Any], task: dict[str, Any], quadlet: fleetd.Unit
) -> None:
    stop = pod["terminationGracePeriodSeconds"]
    assert task["kill_timeout"] == f'"{stop}s"'
    services = [quadlet, *(ini(text(path)) for path in (*SYSTEMD, *FLEET))]
    assert {one["Service"]["TimeoutStopSec"][0] for one in services} == {str(stop)}
    from shipper.settings.config import Spool

    assert stop > Spool().flush_s


def test_pods_have_the_hosts_view_and_no_right_in_the_cluster(pod: dict[str, Any]) -> None:
    assert (pod["hostPID"], pod["hostNetwork"], pod["automountServiceAccountToken"]) == (True, True, False)
    secured = pod["containers"][0]["securityContext"]
    assert secured["readOnlyRootFilesystem"]
    assert not secured["privileged"]
    assert not secured["allowPrivilegeEscalation"]
    rules = [one.get("rules") for one in yaml.safe_load_all(text("kubernetes/shipper.yaml")) if one["kind"] == "Role"]
    assert rules == [[]]


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_kubernetes_schema_takes_the_manifests(version: str) -> None:
    for document in yaml.safe_load_all(text("kubernetes/shipper.yaml")):
        kubernetes_validate.validate(document, version, strict=True)
    wrong = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}, "spec": {"nonsense": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


# podman-systemd.unit(5) of podman 4.4, the first with quadlets, and PodmanArgs and Notify
QUADLET = {
    *("AddCapability", "AddDevice", "ContainerName", "DropCapability", "Environment", "Exec", "Image", "Network"),
    *("NoNewPrivileges", "Notify", "PodmanArgs", "ReadOnly", "SecurityLabelDisable", "Volume"),
}


def test_quadlet_has_keys_of_podman(quadlet: fleetd.Unit) -> None:
    assert quadlet.keys() == {"Unit", "Container", "Service", "Install"}
    assert quadlet["Container"].keys() <= QUADLET


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("path", [*SYSTEMD, *FLEET, ALERTS])
def test_systemd_takes_the_unit(path: str, tmp_path: Path) -> None:
    name = Path(path).name.replace("@.", "@1.")
    content = re.sub(r"/opt/\S+", "/bin/true", text(path))  # it has to be there
    (tmp_path / name).write_text(content)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True, check=False
    )
    told = [line for line in done.stderr.splitlines() if name in line]
    assert (done.returncode, told) == (0, [])


def exposure(path: str) -> tuple[float, set[str]]:
    """The figure, and the directives that systemd-analyze security would have set."""
    words = ["systemd-analyze", "--offline=yes", "--no-pager", "security", str(UNITS / path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    missing = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("✗")]
    return float(found[1]), {one for word in missing for one in re.findall(r"[A-Z][A-Za-z]+(?==)", word)}


@pytest.mark.needs("systemd-analyze")
def test_exposure_is_as_stated_and_each_directive_left_out_is_explained() -> None:
    readme = README.read_text(encoding="utf-8")
    host, missing_host = exposure("systemd/shipper-host.service")
    container, missing_container = exposure("systemd/shipper.service")
    assert host <= MOST_EXPOSED
    assert f"the service without a container **{host}**, the one with **{container}**" in readme
    rows = [
        line.split("|")[1:4] for line in readme.split("## What the units forbid", 1)[1].splitlines() if "| `" in line
    ]
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert (missing_host | missing_container) - explained == set()


@pytest.mark.needs("systemd-analyze")
def test_the_watch_of_alert_rules_is_confined() -> None:
    figure, _ = exposure(ALERTS)
    assert figure <= 1.5


@pytest.mark.parametrize("path", FLEET)
def test_fleet_takes_the_unit(path: str) -> None:
    unit = fleetd.parse(text(path))
    fleetd.validate(Path(path).name, unit)
    assert "Install" not in unit


def test_fleet_forms() -> None:
    everywhere = fleetd.parse(text("fleet/shipper.service"))
    assert fleetd.is_global(everywhere)
    some = fleetd.parse(text("fleet/shipper-worker.service"))
    assert some[fleetd.SECTION]["MachineMetadata"] == ["role=worker", "disk=ssd"]
    template = fleetd.parse(text("fleet/shipper@.service"))
    assert not fleetd.is_global(template)
    assert fleetd.conflicting("shipper@1.service", template, "shipper@2.service", template)


def test_fleet_engine_puts_one_instance_on_a_machine_and_moves_it_when_that_is_lost() -> None:
    template = fleetd.parse(text("fleet/shipper@.service"))
    engine = fleetd.Engine(["a", "b", "c"])
    for number in range(1, 5):
        engine.start(f"shipper@{number}.service", template)
    assert sorted(engine.schedule().values()) == ["a", "b", "c"]
    assert engine.schedule() == {}, "the fourth waits"
    engine.lose("a")
    assert engine.schedule() == {}, "no machine is free"
    engine.machines.append("d")
    assert list(engine.schedule().values()) == ["d"]


@pytest.mark.parametrize(
    "content",
    [
        "[X-Fleet] x\n",
        "[X-Fleet]\nGlobal=true\nMachineOf=a.service\n",
        "[X-Fleet]\nGlobal=true\nReplaces=a.service\n",
        "[X-Fleet]\nMachineID=1\nConflicts=a*\n",
        "[X-Fleet]\nConflicts=a*\nReplaces=b\n",
        "[X-Fleet]\nX-Global=true\n",
        "[X-Fleet]\nConflicts=shipper@%H\n",
        "[Service]\nExecStart=" + "x" * 2048,
        "[Service]\nnonsense\n",
    ],
)
def test_fleets_rules_refuse(content: str) -> None:
    with pytest.raises(fleetd.Refused):
        fleetd.validate("a.service", fleetd.parse(content))


# What butane --strict 0.29 takes, of the parts used here (coreos/butane: docs/config-flatcar-v1_1.md, -fcos-v1_7.md)
VERSIONS = {("flatcar", "1.1.0"), ("fcos", "1.7.0")}
FILE = {"path", "overwrite", "contents", "append", "mode", "user", "group"}
CONTENTS = {"inline", "local", "source", "compression", "http_headers", "verification"}
UNIT = {"name", "enabled", "mask", "contents", "contents_local", "dropins"}


@pytest.mark.parametrize("name", ["flatcar", "fcos"])
def test_butane_takes_the_config(name: str) -> None:
    config = yaml.safe_load(text(f"ignition/{name}.bu"))
    assert (config["variant"], config["version"]) in VERSIONS
    assert config.keys() <= {"variant", "version", "storage", "systemd"}
    files = config["storage"]["files"]
    assert config["storage"].keys() == {"files"}
    assert len({one["path"] for one in files}) == len(files)
    for one in files:
        assert one.keys() <= FILE
        assert one["path"].startswith("/")
        assert isinstance(one["mode"], int) and one["mode"] <= 0o7777
        assert one["contents"].keys() <= CONTENTS
        assert len(one["contents"].keys() & {"inline", "local", "source"}) == 1
        local = one["contents"].get("local")
        assert local is None or local == "secrets/api-key" or (UNITS / local).is_file()
    for one in config.get("systemd", {}).get("units", []):
        assert one.keys() <= UNIT
        assert not {"contents", "contents_local"} <= one.keys()
        if local := one.get("contents_local"):
            assert not one.get("enabled") or "Install" in ini(text(local))


def test_units_list_names_every_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["units", "list"]) == 0
    output = capsys.readouterr().out
    there = {str(path.relative_to(UNITS)) for path in UNITS.rglob("*") if path.is_file()}
    texts = {"README.md", "elasticsearch.md", "shipper.toml"}
    own = {path for path in there if path.startswith("image/") or path in texts}
    assert there - own == {path for path in units.files() if f" {path}" in output} == set(units.files())


@pytest.mark.parametrize("path", units.files())
def test_units_show_prints_the_file(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["units", "show", path]) == 0
    assert capsys.readouterr().out == text(path)
    assert not re.search(r"@[a-z_0-9]+@", text(path)), "a place that nothing filled"
    assert cli.main(["units", "show", path, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["path"], shown["text"]) == (path, text(path))
    assert shown["mode"] == ("0755" if path == "nspawn/shipper-nspawn" else "0644")


def test_units_install_shows_first_then_writes_then_has_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["units", "install", "nspawn", "--root", str(tmp_path), "--image", "registry.example/shipper:9"]
    assert cli.main([*words, "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "+ExecStart=/opt/bin/shipper-nspawn registry.example/shipper:9" in capsys.readouterr().out
    assert cli.main(words) == 0
    script = tmp_path / "opt/bin/shipper-nspawn"
    assert script.read_text() == text("nspawn/shipper-nspawn")
    assert script.stat().st_mode & 0o777 == 0o755
    config = tmp_path / "etc/shipper/shipper.toml"
    config.write_text("# mine\n")
    capsys.readouterr()
    assert cli.main(words) == 0
    output = capsys.readouterr().out
    assert output.count("unchanged") == 2
    assert config.read_text() == "# mine\n"


@pytest.mark.parametrize("kind", ["by hand", "masked"])
def test_units_install_replaces_nothing_that_is_not_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    unit = tmp_path / "etc/systemd/system/shipper-host.service"
    unit.parent.mkdir(parents=True)
    if kind == "masked":
        unit.symlink_to("/dev/null")
    else:
        unit.write_text("[Service]\nExecStart=/usr/local/bin/mine\n")
    for option in ([], ["--dry-run"]):
        assert cli.main(["units", "install", "host", "--root", str(tmp_path), *option]) == 1
        path = "/etc/systemd/system/shipper-host.service"
        expected = f"shipper: {path}: exists and was not written by shipper; move it away first\n"
        assert capsys.readouterr().err == expected
    assert unit.is_symlink() if kind == "masked" else "mine" in unit.read_text()


def test_units_install_takes_the_key_that_systemd_needs_and_uninstall_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["host", "--root", str(tmp_path)]
    assert cli.main(["units", "install", *words]) == 0
    assert "then       write the API key into /etc/shipper/api-key, mode 0400" in capsys.readouterr().out
    (tmp_path / "mine").write_text("id:key\n")
    assert cli.main(["units", "install", *words, "--key-file", str(tmp_path / "mine")]) == 0
    key = tmp_path / "etc/shipper/api-key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("id:key\n", 0o400)
    assert "id:key" not in capsys.readouterr().out
    unit = tmp_path / "etc/systemd/system/shipper-host.service"
    enabled = unit.parent / "multi-user.target.wants" / unit.name
    enabled.parent.mkdir()
    enabled.symlink_to(unit)
    assert cli.main(["units", "uninstall", *words]) == 1
    expected = "shipper: shipper-host.service is enabled; first run systemctl disable --now shipper-host.service\n"
    assert capsys.readouterr().err == expected
    enabled.unlink()
    assert cli.main(["units", "uninstall", *words]) == 0
    assert not unit.exists() and key.exists()
    assert capsys.readouterr().out.splitlines() == [
        "removed    /etc/systemd/system/shipper-host.service",
        "kept       /etc/shipper",
        "then       systemctl daemon-reload",
    ]


def test_units_install_names_the_program_that_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["units", "install", "host", "--root", str(tmp_path), "--program", "/usr/bin/shipper"]
    assert cli.main(words) == 0
    unit = (tmp_path / "etc/systemd/system/shipper-host.service").read_text()
    assert "ExecStart=/usr/bin/shipper run\n" in unit
    assert cli.main([*words[:-1], "/x\nUser=root"]) == 2
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["install", "fleet"], "  fleetctl submit shipper.service && fleetctl start --no-block shipper.service"),
        (["install", "nspwan"], "no way nspwan; did you mean nspawn? (shipper units list names them)"),
        (["install", "host", "--root", "/nonexistent"], "--root /nonexistent: no such directory"),
        (["show", "fleet/shiper.service"], "no file fleet/shiper.service; did you mean fleet/shipper.service?"),
    ],
)
def test_units_says_what_to_do_instead(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["units", *words]) == 2
    assert f"shipper: {line}" in capsys.readouterr().err


@pytest.mark.parametrize("image", ["", "a b", "a\nExecStartPre=/bin/evil", "$(x)", "a;b", "'", '"'])
def test_units_image_cannot_say_more_than_an_image(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["units", "show", "systemd/shipper.service", "--image", image]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_readme_has_every_way() -> None:
    readme = README.read_text(encoding="utf-8")
    table = readme.split("| I run |", 1)[1].split("\n\n", 1)[0]
    anchors = set(re.findall(r"\(#([a-z0-9-]+)\)", table))
    titles = {
        re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-")
        for one in re.findall(r"^## (.*)$", readme, re.MULTILINE)
    }
    assert anchors <= set(titles)
    for way in units.WAYS:
        named = [file.path for file in way.files if file.path in readme or way.name in readme.lower()]
        assert named
    assert units.IMAGE in readme
