"""The collector of cgroups: containers, services, machines, scopes, pods and slices."""
