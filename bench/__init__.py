"""Benchmarks: each a command that prints a table and one JSON line. Results with their machine are in README.md."""
