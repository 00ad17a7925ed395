"""Names, images and labels of cgroups, from the files of container runtimes and systemd."""
