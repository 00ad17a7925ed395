"""Modules that every room may use and that use no other room: errors, log, findings, deadlines, durable files."""
