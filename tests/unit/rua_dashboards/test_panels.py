"""House style: colours that everybody can read."""

from __future__ import annotations

import pytest
from rua_dashboards.panels import SEVERITY_COLOURS
from rua_schemas.events import SEVERITIES

WHITE, BLACK, PANEL = "#F7F8FA", "#202226", "#181B1F"  # Grafana's text on colours, and its dark panel
TEXT_CONTRAST, GRAPHIC_CONTRAST = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11


def channels(colour: str) -> list[int]:
    """Red, green, blue of `#RRGGBB`."""
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def luminance(colour: str) -> float:
    """Relative luminance after WCAG."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """1 (none) to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def text_on(colour: str) -> str:
    """Which text Grafana puts on a colour: by its brightness, not by contrast."""
    red, green, blue = channels(colour)
    return BLACK if (299 * red + 587 * green + 114 * blue) / 1000 > 180 else WHITE


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_severity_can_be_read_on_its_colour(severity: str) -> None:
    """The word in the cell, and the bar on the panel."""
    colour = SEVERITY_COLOURS[severity]
    assert contrast(colour, text_on(colour)) >= TEXT_CONTRAST
    assert contrast(colour, PANEL) >= GRAPHIC_CONTRAST


def test_grafanas_own_orange_would_not_do() -> None:
    """Its `dark-orange` and `blue` with white text: found by axe-core on the drawn board."""
    assert contrast("#FA6400", text_on("#FA6400")) < TEXT_CONTRAST
    assert contrast("#5794F2", text_on("#5794F2")) < TEXT_CONTRAST
