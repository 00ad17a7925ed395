"""The mistakes that people make most: in the host, the container, the spool, and on the way to the server."""
