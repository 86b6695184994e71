"""A small simulated world that many tests read and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from rua_demo.simulator import simulate

SEED, DAYS, SCALE = 7, 3, 0.1


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three past days of a tenth of the traffic, and the day of the attacks."""
    folder = tmp_path_factory.mktemp("world")
    simulate(folder, SEED, days=DAYS, scale=SCALE)
    return folder
