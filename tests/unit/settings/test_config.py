"""Configuration: one line for every mistake, the order of precedence, and that all is made from the declaration."""

import re
from pathlib import Path

import pytest

from shipper import cli
from shipper.base.errors import EXIT_CODES, ConfigError
from shipper.collect import OPTIONS
from shipper.collect.host import disk
from shipper.schema import reference
from shipper.schema.datasets import DATASETS
from shipper.settings import config
from shipper.settings.config import Config, load
from shipper.settings.options import Option

PERIODS = "1s 2s 3s 4s 5s 6s 10s 12s 15s 20s 30s 1m 2m 3m 4m 5m 6m 10m 12m 15m 20m 30m 1h"
HOSTS = "a list of http(s)://host:port without user or password"
SECTIONS = "elasticsearch, index, collect, spool, bulk, host, metrics"


@pytest.fixture(autouse=True)
def no_default_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DEFAULT_FILE", "/nonexistent/shipper.toml")


def message(
    path: Path | str | None = None, environ: dict[str, str] | None = None, flags: dict[str, str] | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(str(path) if path else None, environ or {}, flags or {}, OPTIONS)
    text = str(caught.value)
    assert "\n" not in text
    return text


FILE_ERRORS = {
    "unknown section": (
        '[colect]\nperiod = "1s"',
        f"F: unknown section colect; did you mean collect? (known: {SECTIONS})",
    ),
    "unknown section like none": ("[x]", f"F: unknown section x (known: {SECTIONS})"),
    "option outside a section": ('collect = "1s"', "F: collect: must be a section: [collect]"),
    "unknown option": (
        '[spool]\ndirectroy = "/x"',
        (
            "F: [spool] directroy: unknown option directroy; did you mean directory? "
            "(known: directory, max_bytes, max_age, flush)"
        ),
    ),
    "secret in the file": (
        '[host]\npassword = "x"',
        "F: [host] password: unknown option password (known: name, verify, labels)",
    ),
    "text for a number": (
        '[collect]\nticks = "3"',
        'F: [collect] ticks = "3": must be a whole number from 0 to 1000000000',
    ),
    "true for a number": (
        "[collect]\nticks = true",
        "F: [collect] ticks = True: must be a whole number from 0 to 1000000000",
    ),
    "negative": ("[collect]\nticks = -1", "F: [collect] ticks = -1: must be a whole number from 0 to 1000000000"),
    "number for text": ("[spool]\ndirectory = 3", "F: [spool] directory = 3: must be an absolute path"),
    "relative path": ('[spool]\ndirectory = "x"', 'F: [spool] directory = "x": must be an absolute path'),
    "number for a truth": ("[elasticsearch]\nverify = 1", "F: [elasticsearch] verify = 1: must be true or false"),
    "text for a list": (
        '[collect]\ndevice_exclude = "sd*"',
        'F: [collect] device_exclude = "sd*": must be a list of globs',
    ),
    "number in a list": (
        "[collect]\ndevice_exclude = [3]",
        "F: [collect] device_exclude = [3]: must be a list of globs",
    ),
    "list for a table": (
        '[host]\nlabels = ["a"]',
        "F: [host] labels = ['a']: must be a table of texts, such as rack=a1,tier=web",
    ),
    "number in a table": (
        "[host.labels]\nrack = 3",
        "F: [host] labels = {'rack': 3}: must be a table of texts, such as rack=a1,tier=web",
    ),
    "period that drifts": ('[collect]\nperiod = "7s"', f'F: [collect] period = "7s": must be one of {PERIODS}'),
    "period over an hour": ('[collect]\nperiod = "2h"', f'F: [collect] period = "2h": must be one of {PERIODS}'),
    "fraction": ("[collect]\nperiod = 0.5", f"F: [collect] period = 0.5: must be one of {PERIODS}"),
    "unknown unit": (
        '[spool]\nflush = "3w"',
        'F: [spool] flush = "3w": must be a duration from 0s to 10m, such as 10s or 5m',
    ),
    "decimal size": (
        '[bulk]\nmax_bytes = "4MB"',
        'F: [bulk] max_bytes = "4MB": must be a size from 64KiB to 100MiB, such as 4MiB or 1GiB',
    ),
    "choice": ('[index]\nlayout = "ilm"', 'F: [index] layout = "ilm": must be one of datastream, dated'),
    "namespace": (
        '[index]\nnamespace = "a-b"',
        'F: [index] namespace = "a-b": must be lower-case letters, digits, _ and . (at most 100)',
    ),
    "password in the address": (
        '[elasticsearch]\nhosts = ["http://u:p@h:9200"]',
        "F: [elasticsearch] hosts = ['http://…@h:9200']: must be " + HOSTS,
    ),
    "no hosts": (
        "[elasticsearch]\nhosts = []",
        "F: [elasticsearch] hosts = []: must be " + HOSTS,
    ),
    "dataset": (
        '[collect]\ndatasets = ["disc"]',
        f"F: collect.datasets: unknown dataset disc; did you mean disk? (known: {', '.join(DATASETS)})",
    ),
    "line break in a name": (
        '[host]\nname = "a\\nb"',
        'F: [host] name = "a\\nb": must be a name of at most 255 printable characters',
    ),
    "syntax": (
        "[collect]\nperiod = 10s",
        "F: line 2, column 12: Expected newline or end of document after a statement",
    ),
}


@pytest.mark.parametrize("name", FILE_ERRORS)
def test_mistake_in_the_file_is_one_line(name: str, tmp_path: Path) -> None:
    text, expected = FILE_ERRORS[name]
    file = tmp_path / "shipper.toml"
    file.write_text(text)
    assert message(file) == expected.replace("F:", f"{file}:")


def test_password_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    assert "hunter2" not in message(environ={"SHIPPER_ELASTICSEARCH_HOSTS": "http://u:hunter2@h:9200"})


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"# \xff")
    assert message("/nonexistent/x.toml") == "/nonexistent/x.toml: no such file"
    assert message(environ={"SHIPPER_CONFIG": "/nonexistent/y.toml"}) == "/nonexistent/y.toml: no such file"
    assert message(tmp_path) == f"{tmp_path}: Is a directory"
    assert message(binary) == f"{binary}: byte 2: not UTF-8"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("COLLECT_PERIOD", "7s", f'environment SHIPPER_COLLECT_PERIOD="7s": must be one of {PERIODS}'),
        ("COLLECT_TICKS", "x", 'environment SHIPPER_COLLECT_TICKS="x": must be a whole number from 0 to 1000000000'),
        ("ELASTICSEARCH_VERIFY", "no", 'environment SHIPPER_ELASTICSEARCH_VERIFY="no": must be true or false'),
        (
            "HOST_LABELS",
            "rack",
            'environment SHIPPER_HOST_LABELS="rack": must be a table of texts, such as rack=a1,tier=web',
        ),
        (
            "COLECT_PERIOD",
            "1s",
            ("environment: unknown variable SHIPPER_COLECT_PERIOD; did you mean SHIPPER_COLLECT_PERIOD?"),
        ),
        (
            "COLLECT_DATASETS",
            "host,disc",
            (
                "environment SHIPPER_COLLECT_DATASETS: collect.datasets: unknown dataset disc; did you mean disk? "
                f"(known: {', '.join(DATASETS)})"
            ),
        ),
    ],
)
def test_mistake_in_the_environment_is_one_line(variable: str, value: str, expected: str) -> None:
    assert message(environ={f"SHIPPER_{variable}": value}) == expected


def test_mistake_in_a_flag_is_one_line() -> None:
    assert message(flags={"collect.period": "7s"}) == f'flag --period "7s": must be one of {PERIODS}'
    expected = 'flag --bulk-compression "10": must be a whole number from 0 to 9'
    assert message(flags={"bulk.compression": "10"}) == expected


def test_variables_that_kubernetes_sets_for_a_service_are_not_ours() -> None:
    environ = {"SHIPPER_SERVICE_HOST": "10.0.0.1", "SHIPPER_PORT": "tcp://10.0.0.1:80", "SHIPPER_PORT_80_TCP_ADDR": "x"}
    assert load(None, environ, {}, OPTIONS) == Config(collectors=tuple(kind() for kind in OPTIONS))


def test_a_variable_without_a_value_is_unset(tmp_path: Path) -> None:
    """Manifests and units pass on variables that may be empty."""
    file = tmp_path / "shipper.toml"
    file.write_text('[collect]\nperiod = "1m"\n')
    loaded = load(str(file), {"SHIPPER_COLLECT_PERIOD": "", "SHIPPER_NONSENSE": ""}, {}, OPTIONS)
    assert loaded.collect.period_s == 60


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "shipper.toml"
    file.write_text('[collect]\nperiod = "7s"\ncolour = 1\n[colect]\nticks = 1\n')
    with pytest.raises(ConfigError) as error:
        load(str(file), {"SHIPPER_COLLECT_TICKS": "x"}, {"collect.datasets": "disc"}, OPTIONS)
    found = str(error.value).splitlines()
    assert [line.removeprefix(f"{file}: ").partition(":")[0] for line in found] == [
        '[collect] period = "7s"',
        "[collect] colour",
        "unknown section colect; did you mean collect? (known",
        'environment SHIPPER_COLLECT_TICKS="x"',
        "flag --collect-datasets",
    ]


def test_flag_beats_variable_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "shipper.toml"
    file.write_text('[collect]\nperiod = "1m"\nticks = 1\nhost_root = "/a"\n')
    environ = {"SHIPPER_COLLECT_PERIOD": "30s", "SHIPPER_COLLECT_TICKS": "2"}
    loaded = load(str(file), environ, {"collect.period": "20s"}, OPTIONS)
    assert (loaded.collect.period_s, loaded.collect.ticks, loaded.collect.host_root) == (20, 2, "/a")
    assert loaded.collect.deadline_s == Config(collectors=tuple(kind() for kind in OPTIONS)).collect.deadline_s
    assert loaded.origins == {
        "collect.period": "flag --period",
        "collect.ticks": "environment SHIPPER_COLLECT_TICKS",
        "collect.host_root": str(file),
    }


def test_values_as_text() -> None:
    environ = {
        "SHIPPER_ELASTICSEARCH_HOSTS": "http://a:9200, https://[::1]:9200/es",
        "SHIPPER_HOST_LABELS": "rack=a1,note=x=y",
        "SHIPPER_SPOOL_MAX_BYTES": "2GiB",
        "SHIPPER_COLLECT_DEADLINE": "2",
    }
    loaded = load(None, environ, {"collect.device_exclude": "", "index.replicas": ""}, OPTIONS)
    assert loaded.elasticsearch.hosts == ("http://a:9200", "https://[::1]:9200/es")
    assert dict(loaded.host.labels) == {"rack": "a1", "note": "x=y"}
    assert loaded.spool.max_bytes == 2 << 30
    assert loaded.collect.deadline_s == 2
    assert loaded.of(disk.Options).device_exclude == ()
    assert loaded.index.replicas is None


def test_secrets_never_enter_the_configuration() -> None:
    environ = dict.fromkeys(config.SECRET_VARIABLES, "hunter2")
    assert "hunter2" not in repr(load(None, environ, {}, OPTIONS))


def test_default_file_is_read_if_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "default.toml"
    monkeypatch.setattr(config, "DEFAULT_FILE", str(file))
    assert load(None, {}, {}, OPTIONS).file == ""
    file.write_text("[collect]\nticks = 9")
    loaded = load(None, {}, {}, OPTIONS)
    assert (loaded.file, loaded.collect.ticks) == (str(file), 9)


@pytest.mark.parametrize("uncommented", [False, True])
def test_sample_gives_the_defaults(uncommented: bool, tmp_path: Path) -> None:
    text = reference.sample().partition("[[metrics]]")[0]
    if uncommented:
        text = re.sub(r"(?m)^#(?=[a-z ]+[a-z_]* = |  \")(?! [A-Z])", "", text)
    file = tmp_path / "shipper.toml"
    file.write_text(text)
    loaded = load(str(file), {}, {}, OPTIONS)
    assert loaded == Config(collectors=tuple(kind() for kind in OPTIONS))
    given = {one.path for one in config.all_options(OPTIONS) if one.default is not None}
    assert set(loaded.origins) == (given if uncommented else set())


@pytest.mark.parametrize("one", config.all_options(OPTIONS), ids=lambda one: one.path)
def test_every_option_is_explained_and_its_default_is_allowed(one: Option) -> None:
    assert one.help
    assert one.kind.allowed
    assert not one.help.endswith(".")
    assert one.help in reference.sample()
    if one.default is not None:
        assert one.kind.take(one.default) == one.default


def test_help_of_each_command_lists_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.built():
        assert cli.main([name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert all(f"{code:3}  {meaning}" in shown for code, meaning in EXIT_CODES.items())


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["nonsense"], 2, "shipper: unknown command nonsense (see shipper --help)"),
        (["chek"], 2, "shipper: unknown command chek; did you mean check? (see shipper --help)"),
        (
            ["check", "--perod", "1s"],
            2,
            "shipper: unrecognized arguments: --perod 1s; did you mean --period? (see shipper check --help)",
        ),
        (["check", "--period", "7s"], 2, f'shipper: flag --period "7s": must be one of {PERIODS}'),
        (["check", "--config", "/nonexistent/x"], 2, "shipper: /nonexistent/x: no such file"),
        (["fields", "nosuchthing"], 1, 'shipper: no field has "nosuchthing" in its name or description'),
        (["render", "--directory", "/nonexistent"], 1, "shipper: /nonexistent: no such directory"),
    ],
)
def test_user_errors_are_one_line_with_their_exit_code(
    arguments: list[str], code: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == code
    shown = capsys.readouterr().err
    assert shown.startswith(expected)
    assert shown.count("\n") == 1


@pytest.mark.parametrize("host", ["https://a.example:443/_es", "https://a.example:443/x/_es/"])
def test_an_address_that_only_enqueues_is_refused(host: str) -> None:
    """Its 201 says nothing of where the document ends."""
    with pytest.raises(ConfigError, match="only enqueues documents; use the address of Elasticsearch itself"):
        load(None, {}, {"elasticsearch.hosts": host}, OPTIONS)
