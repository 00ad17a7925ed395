"""Collectors of processes."""
