"""What the spool may take of the disk, and what happens when it has taken that."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from rua_common.settings import Struct


class SpoolSettings(Struct, frozen=True):
    """What is kept in `state_dir`/spool: events of sources that keep nothing themselves.

    Attributes:
        bytes: The most that its segments may take.
        when_full: `stop`: nothing more is taken in until there is room; files wait in their logs, SDKs keep what they
            can. `drop_oldest`: the oldest segment is given up, and how many events that were is counted and told.
    """

    bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 1 << 30
    when_full: Literal["stop", "drop_oldest"] = "stop"
