"""The file of adjustments: strict, with the next step in each message."""

from pathlib import Path

import pytest

from shipper.base.errors import ConfigError
from shipper.view.alerts import adjust
from shipper.view.alerts.rules import RULES
from shipper.view.thresholds import Steps

BY_NAME = {rule.name: rule for rule in RULES}


def load(directory: Path, text: str) -> adjust.Adjustments:
    file = directory / "alerts.toml"
    file.write_text(text)
    return adjust.load(str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[adjusts]]", 'unknown key "adjusts"; did you mean adjust?'),
        ("adjust = 1", "adjust: must be written as [[adjust]]"),
        ("[[adjust]]\nrules = ['host-cpu']", "adjust: needs warning, critical or both"),
        ("[[adjust]]\nrules = ['host-cup']\nwarning = 1", 'no rule is called "host-cup"; did you mean host-cpu?'),
        ("[[adjust]]\nrules = 'host-cpu'\nwarning = 1", "rules must be a list of names or globs"),
        ("[[adjust]]\nrules = ['host-cpu']\nwarning = true", "warning must be a number that is not negative"),
        ("[[adjust]]\nrules = ['host-cpu']\nwarning = nan", "warning must be a number that is not negative"),
        ("[[adjust]]\nrules = ['host-cpu']\nwarning = 1\ncritical = 0.5", "host-cpu: critical would be reached before"),
        (
            "[[adjust]]\nrules = ['host-cpu']\nwarning = 1\nwhere = {'container.name' = 'x'}",
            'no field "container.name"',
        ),
        (
            "[[adjust]]\nrules = ['host-cpu']\nwarning = 1\nwhere = {'labels.role' = 1}",
            "where must be a table of texts",
        ),
        ("[[mute]]\nrules = ['*']\nuntil = 2027-01-01T00:00:00", "until must be a time with an offset"),
        ("[[rule]]\nfeild = 1", 'unknown key "feild"; did you mean field?'),
        ("[[rule]]\nname = 'A'", "rule: name must be lower-case letters, digits and -, such as queue-long"),
        ("[[rule]]\nname = 'host-cpu'\nfield = 'metric.a'\nwarning = 1", "a rule of the shipper has this name"),
        ("[[rule]]\nname = 'a'\nfield = 'system.load.1'", "rule a: field must be one of the dataset metric"),
        ("[[rule]]\nname = 'a'\nfield = 'metric.a'\nmeasure = 'sum'", "rule a: measure must be one of avg, min, max"),
        ("[[rule]]\nname = 'a'\nfield = 'metric.a'", "rule a: needs warning, critical or both"),
        ("[[rule]]\nname = 'a'\nfield = 'metric.a'\nwarning = 2\ncritical = 1", "rule a: critical would be reached"),
        ("[[rule]]\nname = 'a'\nfield = 'metric.a'\nwarning = 1\nwindow = '1s'", "rule a: window must be a duration"),
        (
            "[[rule]]\nname = 'a'\nfield = 'metric.a'\nwarning = 1\ncritical = 2\nfalling = true",
            "rule a: critical would be reached",
        ),
        ("[[rule]]\nname = 'a'\nfield = 'metric.a'\nwarning = 1\nper = ['x']", "rule a: x: no field of metric"),
        ("[[rule]]\nname = 'a'\nfield = 'metric.a'\nwarning = 1\nwhere = {'x' = 'y'}", "rule a: x: no field of metric"),
        ("[[mute]]\nrules = ['*']\nwhere = {'nothing' = 'x'}", 'no document has a field "nothing"'),
        ("[[mute]", "Expected ']]'"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/alerts.toml: ")
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"alerts\.toml: No such file"):
        adjust.load(str(tmp_path / "alerts.toml"))


def test_one_threshold_alone_adjusts_the_other(tmp_path: Path) -> None:
    rule, role = BY_NAME["host-cpu"], {"labels.role": "batch"}
    text = "[[adjust]]\nrules = ['host-*']\nwhere = {'labels.role' = 'b*'}\n"
    assert load(tmp_path, f"{text}warning = 0.99").steps(rule, role) == Steps(0.99, 0.99)
    assert load(tmp_path, f"{text}critical = 0.5").steps(rule, role) == Steps(0.5, 0.5)
    assert load(tmp_path, f"{text}critical = 0.99").steps(rule, role) == Steps(0.85, 0.99)
    assert load(tmp_path, f"{text}critical = 0.99").steps(rule, {}) == rule.steps


def test_the_last_table_that_applies_decides(tmp_path: Path) -> None:
    made = load(
        tmp_path,
        "[[adjust]]\nrules = ['*']\nwarning = 0\n"
        "[[adjust]]\nrules = ['host-cpu']\nwhere = {'host.name' = 'a'}\nwarning = 0.3\n",
    )
    assert made.steps(BY_NAME["host-cpu"], {"host.name": "a"}).warning == 0.3
    assert made.steps(BY_NAME["host-cpu"], {"host.name": "b"}).warning == 0


def test_a_mute_ends(tmp_path: Path) -> None:
    made = load(tmp_path, "[[mute]]\nrules = ['host-*']\nuntil = 1970-01-01T00:00:01Z")
    assert made.muted(BY_NAME["host-cpu"], {}, 999)
    assert not made.muted(BY_NAME["host-cpu"], {}, 1000)
    assert not made.muted(BY_NAME["disk-busy"], {}, 999)
