"""Collectors of the kernel's log: counts, and one document per event."""
