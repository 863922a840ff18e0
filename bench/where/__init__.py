"""Where the two ends are: in containers, in network namespaces, or both on this host."""
