"""Host and container metrics for Elasticsearch: kernel file → document → spool → bulk."""

__version__ = "0.1.0"
