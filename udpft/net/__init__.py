"""Sockets and clocks: the only package that touches either."""
