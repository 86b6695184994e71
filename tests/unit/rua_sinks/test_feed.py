"""What the feed says and hides, without a store."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date

import pytest
from rua_common.errors import BadConfiguration
from rua_sinks.feed_format import DEFINITIONS, Day, Universe, as_csv, as_json
from rua_sinks.feed_privacy import SENSITIVITY, Privacy

UNIVERSE = Universe(("shop", "mall"), ("off-hours", "bulk-export-volume"))
DAY = Day(date(2026, 3, 2))
DRAWS = 4_000


@pytest.fixture(params=["UTC", "Asia/Bangkok", "America/New_York"])
def _process_zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """The zone of the machine must not matter."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("_process_zone")
def test_a_day_is_one_of_the_platforms_zone() -> None:
    """Bangkok is seven hours ahead of UTC all year; a day closes 24 hours after it ended."""
    assert DAY.start_ms == 1_772_384_400_000  # 2026-03-01T17:00:00Z
    assert (DAY.end_ms - DAY.start_ms, DAY.cut_off_ms - DAY.end_ms) == (86_400_000, 86_400_000)


@pytest.mark.parametrize("epsilon", [0.25, 1.0, 4.0])
def test_the_mechanism_promises_exactly_epsilon(epsilon: float) -> None:
    """By OpenDP's own account, for inputs that differ by what one actor can add."""
    assert Privacy(epsilon).mechanism().map(SENSITIVITY) == pytest.approx(epsilon, rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
def test_the_noise_is_discrete_laplace(epsilon: float) -> None:
    """Share of zeros, symmetry and the stated 95 % bound. Tolerances are six standard errors of 4,000 draws."""
    noise, p = Privacy(epsilon).noise(), math.exp(-epsilon)
    drawn = Counter(noise(100) - 100 for _ in range(DRAWS))
    share = {n: count / DRAWS for n, count in drawn.items()}
    for n in (0, 1, -1, 2):
        assert share.get(n, 0) == pytest.approx((1 - p) / (1 + p) * p ** abs(n), abs=0.048)
    assert sum(n * s for n, s in share.items()) == pytest.approx(0, abs=6 * math.sqrt(2 * p / DRAWS) / (1 - p))
    assert sum(s for n, s in share.items() if abs(n) <= Privacy(epsilon).error_95) >= 0.95 - 0.021


@pytest.mark.parametrize(("epsilon", "bound"), [(0.5, 6), (1.0, 3), (2.0, 1)])
def test_the_stated_error_is_the_smallest_that_holds(epsilon: float, bound: int) -> None:
    """P(|noise| > t) = 2 p^(t+1) / (1+p) is at most 5 % at the bound and above it one below."""
    p = math.exp(-epsilon)
    assert Privacy(epsilon).error_95 == bound
    assert 2 * p ** (bound + 1) / (1 + p) <= 0.05 < 2 * p**bound / (1 + p)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 4.01, math.inf, math.nan])
def test_an_epsilon_that_hides_nobody_is_refused(epsilon: float) -> None:
    """The error says what is allowed."""
    with pytest.raises(BadConfiguration, match="at most 4"):
        Privacy(epsilon)


@pytest.mark.parametrize("platforms", [(), ("shop", "shop"), ("Shop",), ("=1+1",), ("a,b",), ("a\nb",), ("ร้าน",)])
def test_a_universe_of_strange_names_is_refused(platforms: tuple[str, ...]) -> None:
    """A spreadsheet must not run a cell, and a name given twice would be two draws of one count."""
    with pytest.raises(BadConfiguration, match="platforms"):
        Universe(platforms, ("off-hours",))


def test_every_cell_is_in_both_files() -> None:
    """In the same order, whatever order the universe was given in."""
    counts = {cell: number for number, cell in enumerate(UNIVERSE.cells())}
    turned = Universe(UNIVERSE.platforms[::-1], UNIVERSE.patterns[::-1])
    texts = [[form(DAY, u, Privacy(), counts) for form in (as_json, as_csv)] for u in (UNIVERSE, turned)]
    assert texts[0] == texts[1]
    cells = [(c["platform"], c["pattern"], c["actors"]) for c in json.loads(texts[0][0])["cells"]]
    rows = list(csv.DictReader(io.StringIO(texts[0][1])))
    assert [(r["platform"], r["pattern"], int(r["actors"])) for r in rows] == cells
    assert {(platform, pattern): n for platform, pattern, n in cells} == counts


def test_the_files_say_what_they_are() -> None:
    """A development release, the method with its numbers, and definitions in both languages."""
    counts = dict.fromkeys(UNIVERSE.cells(), 0)
    document = json.loads(as_json(DAY, UNIVERSE, Privacy(0.5), counts))
    assert (document["release"], document["day"], document["zone"]) == ("development", "2026-03-02", "Asia/Bangkok")
    assert (document["from"], document["cut_off"]) == ("2026-03-01T17:00:00.000Z", "2026-03-03T17:00:00.000Z")
    assert document["privacy"] == {
        "mechanism": "discrete Laplace",
        "library": "OpenDP 0.16.0",
        "epsilon_per_cell": 0.5,
        "epsilon_per_actor_and_day_at_most": 1.0,
        "sensitivity": 1,
        "scale": 2.0,
        "error_95": 6,
        "post_processing": "negative numbers become 0",
    }
    assert DEFINITIONS["en"].keys() == DEFINITIONS["th"].keys()
    assert "null" not in as_json(DAY, UNIVERSE, Privacy(), counts)
    assert all(
        row["release"] == "development" for row in csv.DictReader(io.StringIO(as_csv(DAY, UNIVERSE, Privacy(), counts)))
    )
