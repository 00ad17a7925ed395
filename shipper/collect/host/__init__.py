"""Collectors of the host as a whole and of its devices: one file per subsystem of the kernel."""
