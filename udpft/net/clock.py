"""Monotonic clock of all protocols."""

from __future__ import annotations

import time

clock = time.monotonic
"""Seconds since some moment, never set back."""
