"""What this process uses."""

from __future__ import annotations

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STATM = Path("/proc/self/statm")


def rss_bytes() -> int:
    """Memory that is resident now; 0 where the system does not tell."""
    try:
        return int(STATM.read_bytes().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def cpu_seconds() -> float:
    """User and system time of all threads since the start."""
    used = os.times()
    return used.user + used.system
