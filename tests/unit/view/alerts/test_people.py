"""Notifications by apprise reach a real HTTP server; unchanged alerts are not sent."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from shipper.base.errors import ConfigError, UserError
from shipper.view.alerts import people
from shipper.view.alerts.model import Found
from shipper.view.alerts.rules import RULES
from shipper.view.alerts.watch import Lasting, Round
from shipper.view.thresholds import Level

SENT: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        SENT.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    SENT.clear()
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"json://127.0.0.1:{server.server_address[1]}/alerts"
        server.shutdown()
        thread.join()


def _lasting() -> Lasting:
    rule = next(rule for rule in RULES if rule.name == "host-cpu")
    culprits = ("containers: web-1 3.2 cores",)
    alert = Found(rule, 0, {"host.name": "node-1"}, 0.97, Level.BAD, rule.steps, culprits=culprits)
    return Lasting(alert, 0)


def test_people_receive_what_begins_and_ends_once(address: str) -> None:
    tell, one = people.People([address]), _lasting()
    tell(Round(0, (one,), began=(one,)))
    tell(Round(60_000, (one,)))
    tell(Round(120_000, (), ended=(one,)))
    assert [message["title"] for message in SENT] == ["Shipper: 1 began, 0 ended", "Shipper: 0 began, 1 ended"]
    assert "critical: node-1: CPU busy: 97 %" in SENT[0]["message"]
    assert "containers: web-1 3.2 cores" in SENT[0]["message"]


def test_people_learn_once_that_the_rules_cannot_be_judged(address: str) -> None:
    tell = people.People([address])
    for _ in range(3):
        tell(Round(0, (), trouble="no route to host"))
    tell(Round(0, ()))
    tell(Round(0, (), trouble="no route to host"))
    assert [message["message"] for message in SENT] == ["unknown: no route to host"] * 2


def test_an_address_that_nobody_answers_is_an_error_without_the_address() -> None:
    tell, one = people.People(["json://user:secret@127.0.0.1:1/"]), _lasting()
    with pytest.raises(UserError) as caught:
        tell(Round(0, (one,), began=(one,)))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"), [("# none\n\n", "has no address"), ("json://127.0.0.1\nnonsense:secret\n", "address 2 of")]
)
def test_a_file_that_cannot_be_used_is_named_without_its_secrets(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "notify").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        people.People(people.read(tmp_path / "notify"))
    assert "secret" not in str(caught.value)
