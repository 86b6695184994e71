"""The two files of a feed release. Pure, and the same bytes for the same release.

Nothing but numbers and the names of the fixed universe goes in: no pseudonym, no text of an alert, no exact count.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from rua_common.clock import iso
from rua_common.errors import BadConfiguration

from rua_sinks.feed_privacy import SENSITIVITY, Privacy, library

FORMAT = "rua-feed/1"
RELEASE = "development"
ZONE = "Asia/Bangkok"
GRACE_HOURS = 24
"""A day is closed so long after it ended: alerts of an outage of up to a day still arrive."""

PLAIN = re.compile(r"^[a-z0-9][a-z0-9._-]{0,99}$")
Cell = tuple[str, str]
"""Platform and pattern."""


@dataclass(frozen=True, slots=True)
class Universe:
    """Every cell that a release holds, whether anything happened there or not.

    It must not be taken from what was observed: that a cell exists would tell that somebody was in it.
    """

    platforms: tuple[str, ...]
    patterns: tuple[str, ...]

    def __post_init__(self) -> None:
        for key, names in (("platforms", self.platforms), ("patterns", self.patterns)):
            if not names or len(set(names)) != len(names) or not all(map(PLAIN.match, names)):
                raise BadConfiguration("give each name once: small letters, digits, . _ -", key=f"feed.{key}")

    def cells(self) -> list[Cell]:
        """Sorted."""
        return [(platform, pattern) for platform in sorted(self.platforms) for pattern in sorted(self.patterns)]


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day in the platforms' zone, in milliseconds since the epoch."""

    date: date

    @property
    def start_ms(self) -> int:
        """Its first millisecond."""
        return _midnight_ms(self.date)

    @property
    def end_ms(self) -> int:
        """The first millisecond of the next day."""
        return _midnight_ms(self.date + timedelta(days=1))

    @property
    def cut_off_ms(self) -> int:
        """From here on the day is closed."""
        return self.end_ms + GRACE_HOURS * 3_600_000


def as_json(day: Day, universe: Universe, privacy: Privacy, counts: Mapping[Cell, int]) -> str:
    """Header and cells."""
    document = {
        "format": FORMAT,
        "release": RELEASE,
        "day": day.date.isoformat(),
        "zone": ZONE,
        "from": iso(day.start_ms),
        "to": iso(day.end_ms),
        "cut_off": iso(day.cut_off_ms),
        "definitions": DEFINITIONS,
        "privacy": _privacy(universe, privacy),
        "universe": {"platforms": sorted(universe.platforms), "patterns": sorted(universe.patterns)},
        "cells": [
            {"platform": platform, "pattern": pattern, "actors": counts[platform, pattern]}
            for platform, pattern in universe.cells()
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def as_csv(day: Day, universe: Universe, privacy: Privacy, counts: Mapping[Cell, int]) -> str:
    """One line a cell. What the numbers mean is in the JSON file."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(["release", "day", "platform", "pattern", "actors", "epsilon"])
    for cell in universe.cells():
        lines.writerow([RELEASE, day.date.isoformat(), *cell, counts[cell], privacy.epsilon])
    return out.getvalue()


def _privacy(universe: Universe, privacy: Privacy) -> dict[str, object]:
    return {
        "mechanism": "discrete Laplace",
        "library": library(),
        "epsilon_per_cell": privacy.epsilon,
        "epsilon_per_actor_and_day_at_most": round(privacy.epsilon * len(universe.patterns), 6),
        "sensitivity": SENSITIVITY,
        "scale": privacy.scale,
        "error_95": privacy.error_95,
        "post_processing": "negative numbers become 0",
    }


def _midnight_ms(day: date) -> int:
    return int(datetime.combine(day, time(), ZoneInfo(ZONE)).timestamp()) * 1_000


DEFINITIONS = {
    "en": {
        "title": "Actors behind incidents, for each platform and pattern, on one day",
        "release": "Development release: format and method may still change. Do not base decisions on it.",
        "actors": "Number of distinct pseudonymous actors with at least one incident of the pattern at the platform, "
        "with noise. An actor counts once in a cell, however many incidents they caused.",
        "pattern": "Id of the detector that raised the incident.",
        "day": "Calendar day in the stated zone on which the incident was first raised. A day is released once, after "
        "the cut-off, and never again with other numbers; what arrives later is not counted.",
        "privacy": "Every cell of the fixed universe is present and carries its own discrete Laplace noise; 95 of 100 "
        "cells are off by at most error_95. An actor can be in several patterns, and days add up: the "
        "guarantee is for one actor on one day.",
        "zero": "Negative numbers are shown as 0, which uses nothing but the noisy number. Sums of many small "
        "cells are therefore too high: 0 and small numbers do not say whether anything happened.",
    },
    "th": {
        "title": "จำนวนผู้กระทำที่เกี่ยวข้องกับเหตุการณ์ แยกตามแพลตฟอร์มและรูปแบบ ในหนึ่งวัน",
        "release": "ฉบับสำหรับการพัฒนา: รูปแบบและวิธีการอาจเปลี่ยนแปลง ห้ามใช้ประกอบการตัดสินใจ",
        "actors": "จำนวนผู้กระทำ (นามแฝง) ที่ไม่ซ้ำกันซึ่งมีเหตุการณ์ตามรูปแบบนั้นบนแพลตฟอร์มนั้นอย่างน้อยหนึ่งครั้ง "
        "โดยบวกสัญญาณรบกวนแล้ว ผู้กระทำหนึ่งรายนับเพียงครั้งเดียวต่อช่อง ไม่ว่าจะก่อเหตุการณ์กี่ครั้ง",
        "pattern": "รหัสของตัวตรวจจับที่แจ้งเหตุการณ์",
        "day": "วันตามปฏิทินในเขตเวลาที่ระบุ ซึ่งเหตุการณ์ถูกแจ้งเป็นครั้งแรก แต่ละวันเผยแพร่เพียงครั้งเดียวหลังเวลาปิดรับข้อมูล "
        "และไม่เผยแพร่ซ้ำด้วยตัวเลขอื่น ข้อมูลที่มาถึงภายหลังจะไม่ถูกนับ",
        "privacy": "ทุกช่องของชุดที่กำหนดไว้ล่วงหน้าปรากฏเสมอ และมีสัญญาณรบกวนลาปลาซแบบไม่ต่อเนื่องของตนเอง "
        "95 ใน 100 ช่องคลาดเคลื่อนไม่เกิน error_95 ผู้กระทำหนึ่งรายอาจอยู่ในหลายรูปแบบ และผลของหลายวันสะสมกัน "
        "การรับประกันเป็นของผู้กระทำหนึ่งรายในหนึ่งวัน",
        "zero": "ค่าติดลบแสดงเป็น 0 โดยใช้เพียงค่าที่บวกสัญญาณรบกวนแล้ว ผลรวมของช่องเล็กจำนวนมากจึงสูงเกินจริง "
        "ค่า 0 และค่าน้อยไม่ได้บอกว่ามีเหตุการณ์เกิดขึ้นหรือไม่",
    },
}
