"""Names of data streams and indices."""

from datetime import UTC, datetime

from shipper.settings.config import Index


def stream(dataset: str, namespace: str) -> str:
    """The time series data stream of a dataset."""
    return f"metrics-shipper.{dataset}-{namespace}"


def late_stream(dataset: str, namespace: str) -> str:
    """The plain stream for documents that are older than the time series stream accepts."""
    return f"metrics-shipper.{dataset}.late-{namespace}"


def indices(index: Index, dataset: str) -> list[str]:
    """The names in which documents of ``dataset`` are searched."""
    if index.layout == "dated":
        return [f"shipper-{dataset}-*"]
    return [stream(dataset, index.namespace), late_stream(dataset, index.namespace)]


def dated_index(dataset: str, when_ms: int) -> str:
    """The index of the document's own day in UTC; ``when_ms`` is its ``@timestamp``."""
    return f"shipper-{dataset}-{datetime.fromtimestamp(when_ms / 1000, UTC):%Y.%m.%d}"
