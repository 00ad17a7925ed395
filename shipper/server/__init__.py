"""Set-up and checks of a server: templates, data streams, keys, removal."""
