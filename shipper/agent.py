"""Fields of the agent document: the ledger of all documents, durations, cost, and what could not be read."""

from typing import Final

from shipper.fields import Field, attribute

DATASET: Final = "agent"
FIELDS: tuple[Field, ...] = (attribute("agent.version", "Version of the shipper", "shipper/__init__.py"),)
