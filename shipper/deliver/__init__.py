"""From document to acknowledgement: spool, ledger, bulk requests, verdicts."""
