"""Files on disk: what a server may read, and how a download comes to its name."""
