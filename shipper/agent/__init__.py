"""The agent: main loop, ticks, its own document, status, reload."""
