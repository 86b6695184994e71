"""`rua agent` with a clock that is wrong by as many milliseconds as the first argument's file says, at any moment."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rua_agents.__main__ import main

_skew = Path(sys.argv[1])
_real = time.time_ns


def _skewed_ns() -> int:
    return _real() + int(_skew.read_text() or "0") * 1_000_000


time.time_ns = _skewed_ns
time.time = lambda: _skewed_ns() / 1e9
sys.exit(main(sys.argv[2:]))
