"""The only room that opens files of the kernel: the host root, parsers of their text, the host's identity."""
