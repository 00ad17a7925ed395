from pathlib import Path

import pytest
from spooling import open_spool

from shipper.deliver.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.load(open_spool(tmp_path / "spool"))
