"""Files on disk: those that are sent, and the destinations of those that are received."""
