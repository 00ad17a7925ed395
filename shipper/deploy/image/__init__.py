"""The image for the hosts: one root filesystem, as a tar and as an OCI archive."""
