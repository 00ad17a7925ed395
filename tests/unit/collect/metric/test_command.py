"""Commands: what they print becomes samples; limits of time, memory and output hold, and nothing is left behind."""

import os
import pwd
import time
from pathlib import Path
from typing import Any

import pytest

from shipper.collect.metric.command import Command, from_json
from shipper.collect.metric.samples import Batch, Sample
from shipper.kernel.source import Root
from shipper.settings.sources import Exec

ME = pwd.getpwuid(os.geteuid()).pw_name


def run(*words: str, **options: Any) -> Batch:
    return Command(Exec(name="s", command=words, user=options.pop("user", ME), **options), Root()).read()


def numbers(*words: str, **options: Any) -> dict[str, float]:
    return {one.name: one.value for one in run(*words, **options).samples}


def python(code: str) -> tuple[str, ...]:
    return ("/usr/bin/env", "python3", "-c", code)


def test_text_and_json_are_recognised() -> None:
    assert numbers("printf", "a 1\nb_total 2\n") == {"a": 1, "b_total": 2}
    assert numbers("echo", '{"queue": {"length": 3}, "healthy": true, "name": "x", "none": null}') == {
        "queue.length": 3,
        "healthy": 1,
    }


def test_a_list_in_json_has_labels_and_types() -> None:
    text = b'[{"name": "jobs", "value": 7, "labels": {"queue": "a", "n": 1}, "type": "counter"}, {"name": "b", "value": 1e999}]'  # noqa: E501
    assert list(from_json(text)) == [Sample("jobs", (("queue", "a"), ("n", "1")), 7.0, counter=True)]


@pytest.mark.parametrize("text", ["{", "[1]", '[{"name": "a"}]', "[" * 100_000, '[{"labels": 3}]'])
def test_other_json_is_a_problem(text: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_text(text)
    batch = run("cat", str(tmp_path / "out"))
    assert list(batch.samples) == []
    assert batch.problems["output"].startswith("not the JSON of docs/own-metrics.md: ")


def test_no_shell_no_input_and_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIPPER_ELASTICSEARCH_API_KEY", "secret")
    code = "import os, sys; sys.exit(f'{sorted(os.environ)} {sys.argv[1]} {len(sys.stdin.read())} {os.getcwd()}')"
    with pytest.raises(OSError, match=r"status 1: \['LANG', 'PATH'\] \$HOME;x 0 /$"):
        run(*python(code), "$HOME;x")


FAULTS: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "missing": (("/no/such",), {}, "the command ended with exit status 1: /no/such: No such file or directory"),
    "killed": (python("import os; os.kill(os.getpid(), 9)"), {}, "the command ended with signal SIGKILL"),
    "slow": (("sleep", "60"), {"deadline_s": 1}, "the command takes longer than 1 s"),
    "endless": (("yes",), {}, "the command prints more than max_bytes = 1048576"),
    "large": (python("x = bytearray(1 << 30)"), {}, "the command ended with exit status 1: Traceback"),
    "user": (("true",), {"user": "no-such-user"}, "user no-such-user: no such user here"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_in_words(name: str) -> None:
    words, options, message = FAULTS[name]
    with pytest.raises(OSError, match=message.replace("(", r"\(")):
        run(*words, **options)


def test_nothing_is_left_behind() -> None:
    """A process in the background ends with the command; its own number tells it."""
    quiet = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    code = f"import subprocess; print('pid', subprocess.Popen(['sleep', '600'], {quiet}).pid)"
    pid = int(numbers(*python(code))["pid"])
    end = time.monotonic() + 30
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.root
def test_root_names_a_user_and_the_command_is_that_user() -> None:
    with pytest.raises(OSError, match="user must be set, because the shipper runs as root"):
        run("true", user="")
    assert numbers("/usr/bin/printf", "uid %d\n", "7", user="nobody") == {"uid": 7}
    code = "import os; print('uid', os.getuid()); print('gid', os.getgid()); print('groups', len(os.getgroups()))"
    nobody = pwd.getpwnam("nobody")
    found = numbers(*python(code), user="nobody")
    assert (found["uid"], found["gid"]) == (nobody.pw_uid, nobody.pw_gid)
    assert found["groups"] <= 1
