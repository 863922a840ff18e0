"""Sockets and time: the only place that touches either."""
