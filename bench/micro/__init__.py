"""The engine's hot functions, timed: ``make bench-micro``.

In ``make test`` each runs once, untimed, so that none of them rots.
"""
