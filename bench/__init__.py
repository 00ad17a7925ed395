"""Benchmarks: each a command that prints a table and one JSON line."""
