"""Keys rotate, whatever the source: each event is named by the key of its own time, and by no other."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rua_agents.collectors import COLLECTORS, Draft
from rua_agents.keyfile import DAY_MS, KeyEpoch, Keys
from rua_agents.parse import drafts
from rua_agents.pseudonyms import KeyRing
from rua_agents.tally import Tally
from rua_common.clock import ManualClock

from tests.agent_rig import KEY, START_MS, origin, sample_of, web_line, zone_name

NEW = b"n" * 32


def read(source: str, data: bytes, keys: Keys) -> list[Draft]:
    """The events of these bytes, named with these keys."""
    place = replace(origin(source, Tally(), zone=zone_name(source)), keys=KeyRing(keys, "lazada"))
    return list(drafts(io.BytesIO(data), place, ManualClock(START_MS)))


@pytest.mark.parametrize("source", COLLECTORS)
def test_every_pseudonym_that_leaves_follows_the_time_of_its_event(source: str) -> None:
    """As if only the key of its epoch had ever existed: sessions, statements, files and people alike."""
    data = sample_of(source)
    old, new = read(source, data, (KeyEpoch(1, 0, KEY),)), read(source, data, (KeyEpoch(2, 0, NEW),))
    times = sorted({event.occurred_at for event in old})
    for change in times[:: max(1, len(times) // 4)]:
        found = read(source, data, (KeyEpoch(1, 0, KEY), KeyEpoch(2, change, NEW)))
        assert found == [
            after if before.occurred_at >= change else before for before, after in zip(old, new, strict=True)
        ]


def test_in_the_overlap_a_stream_tells_both_names_also_when_silence_ends_it() -> None:
    """And before and after it only one."""
    days = (-1, 0, 29, 31)
    data = b"".join(web_line(START_MS + day * DAY_MS, user="ana") for day in days)
    keys = (KeyEpoch(1, 0, KEY), KeyEpoch(2, START_MS, NEW, 30 * DAY_MS))
    found = read("nginx-json", data, keys)
    before = {
        day: {label.key for label in one.labels if "previous" in label.key}
        for day, one in zip(days, found, strict=True)
    }
    assert not before[-1]
    assert not before[31]
    assert before[0] == before[29] == {"previous.actor", "previous.source_ip"}
    (told,) = (label.value for label in found[1].labels if label.key == "previous.actor")
    assert told == found[0].actor != found[1].actor
