"""One module per command, imported only when chosen: ``HELP``, ``add_arguments(parser)``, ``run(args, config) -> int``.

A module may have ``SECTIONS``, the sections of the configuration that it reads (all, if it has none); an empty tuple
means that it needs no configuration and gets the defaults.
"""
