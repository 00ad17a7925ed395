"""The tables [[metrics]]: the sample gives the defaults, and each mistake is one line that says what to do."""

import re
from pathlib import Path
from typing import Any

import pytest

from shipper.base.errors import ConfigError
from shipper.schema import reference
from shipper.settings.config import Config, load
from shipper.settings.sources import TYPES

NEEDED = {"name": '"s"', "directory": '"/d"', "url": '"http://localhost:1"', "command": '["true"]'}


def loaded(directory: Path, text: str) -> Config:
    file = directory / "shipper.toml"
    file.write_text(text)
    return load(str(file), {}, {})


def test_each_type_of_the_sample_gives_the_defaults(tmp_path: Path) -> None:
    _, *tables = reference.sample().split("#[[metrics]]\n")
    assert len(tables) == len(TYPES)
    for table, (name, kind) in zip(tables, TYPES.items(), strict=True):
        text = "[[metrics]]\n" + re.sub(r"(?m)^#(?=[a-z_]+ = )", "", table)
        given: dict[str, Any] = {}
        for key, value in NEEDED.items():
            if f"\n{key} = " in text:
                text = re.sub(rf"(?m)^{key} = .*", f"{key} = {value}", text)
                given[key] = ("true",) if key == "command" else value.strip('"')
        (source,) = loaded(tmp_path, text).metrics
        assert source == kind(**given)
        assert source.type == name


GOOD = '[[metrics]]\ntype = "textfile"\nname = "a"\ndirectory = "/d"\n'
MISTAKES = {
    "metrics = 3": "metrics: must be tables: [[metrics]]",
    "[metrics]": "metrics: must be tables: [[metrics]]",
    "[[metrics]]": "[[metrics]] type: must be one of ",
    '[[metrics]]\ntype = "texfile"': "[[metrics]] type: unknown type texfile; did you mean textfile? (known: ",
    '[[metrics]]\ntype = ["x"]': "[[metrics]] type: unknown type ['x'] (known: ",
    '[[metrics]]\ntype = "textfile"\ndirectory = "/d"': "[[metrics]] name: must be set",
    '[[metrics]]\ntype = "textfile"\nname = "a"': "[[metrics]] directory: must be set",
    f"{GOOD}max_serie = 3": "[[metrics]] max_serie: unknown option max_serie; did you mean max_series? (known: ",
    f"{GOOD}max_series = 0": "[[metrics]] max_series = 0: must be a whole number from 1 to 100000",
    '[[metrics]]\ntype = "statsd"\nname = "a"\nlisten = ""': "[[metrics]] listen or socket: must be set",
    '[[metrics]]\ntype = "scrape"\nname = "a"\nurl = "http://u:p@h/"': '[[metrics]] url = "http://…@h/": must be http(s)://',
    f"{GOOD}{GOOD}": "[[metrics]] name = a: two sources have this name",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    message = str(caught.value).removeprefix(f"{tmp_path}/shipper.toml: ")
    assert message.startswith(MISTAKES[text])
    assert "\n" not in message
