"""Microbenchmarks of the engine's hot functions: ``make bench-micro``.

In ``make test`` each runs once, untimed, so that none of them rots.
"""
