"""The image for the nodes: one root file system, as a tar and as an OCI archive."""
