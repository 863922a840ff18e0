"""Places for the two ends: in containers, in network namespaces, or both on this host."""
