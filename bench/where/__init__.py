"""Places for the two ends: in containers, in network namespaces, on another host, or both here."""
