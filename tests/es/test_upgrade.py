"""From the state that the previous version left (``tests/previous``): its spool, its configuration, its unit."""

import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import shipper_eslocal

from shipper import cli
from shipper.base.log import Log
from shipper.collect import OPTIONS
from shipper.deliver import client
from shipper.deliver.bulk import FILTER_PATH, Delivery
from shipper.deliver.ledger import Ledger
from shipper.deliver.spool import Spool
from shipper.server import setup
from shipper.settings.config import Bulk, Config, Elasticsearch, Index, load

PREVIOUS = Path(__file__).parents[1] / "previous"
WAITING = 51  # documents, as the previous version said when it stopped


def test_what_waits_in_its_spool_is_delivered(es9: shipper_eslocal.Cluster, tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    shutil.copytree(PREVIOUS / "spool", directory)
    ledger = Ledger.load(Spool(str(directory), 1 << 30))
    assert (ledger.unreadable, ledger.spooled, ledger.counts.collected) == ("", WAITING, WAITING)
    config = Config(elasticsearch=Elasticsearch(hosts=(es9.url,)), index=Index(replicas=0))
    with client.connect(config) as connection:
        setup.install(connection, config, lambda _line: None)
        send = partial(client.bulk, connection, filter_path=FILTER_PATH)
        delivery = Delivery(ledger, send, Bulk(), Log(journal=False))
        delivery.start()
        delivery.stop(60)
    ledger.close()
    counts = ledger.counts
    assert (counts.stored + counts.late, counts.rejected, counts.dropped, ledger.spooled) == (WAITING, 0, 0, 0)


def test_its_configuration_is_read_and_means_the_same(tmp_path: Path) -> None:
    file = tmp_path / "shipper.toml"
    text = (PREVIOUS / "shipper.toml").read_text()
    file.write_text(re.sub(r"(?m)^#(?=[a-z ]+[a-z_]* = |  \")(?! [A-Z])", "", text))  # every default is set
    loaded = load(str(file), {}, {}, OPTIONS)
    defaults = Config(collectors=tuple(kind() for kind in OPTIONS))
    assert loaded.origins
    assert replace(loaded, collect=defaults.collect) == defaults
    assert set(loaded.collect.datasets) <= set(defaults.collect.datasets)


def test_its_unit_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = tmp_path / "etc/systemd/system/shipper-host.service"
    unit.parent.mkdir(parents=True)
    shutil.copy(PREVIOUS / unit.name, unit)
    assert cli.main(["units", "install", "host", "--root", str(tmp_path)]) == 0
    assert "replaced   /etc/systemd/system/shipper-host.service" in capsys.readouterr().out.splitlines()
