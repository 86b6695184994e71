"""What makes an event the same event when its record is read again (architecture, "Identity of a record")."""

from __future__ import annotations

import os

from rua_common.blake import blake2b
from rua_schemas.events import POSITIONS_PER_RECORD

ID_BYTES = 16


def source_id(platform: str, source: str, host: str, first_record: bytes, twin_of: str = "") -> str:
    """Names a file by its first record, which must hold a time.

    Args:
        platform: tenant.
        source: the collector's name.
        host: configured host.
        first_record: bytes of the first complete record.
        twin_of: path, if another live file already has the id without it.
    """
    parts = [platform.encode(), source.encode(), host.encode(), first_record]
    return _digest([*parts, twin_of.encode()] if twin_of else parts)


def random_source_id() -> str:
    """For a file whose first record holds no time. Lives in the checkpoint."""
    return os.urandom(ID_BYTES).hex()


def position(offset: int, index: int = 0) -> int:
    """Place of an event in its source; see `source_position` in the schema."""
    return offset * POSITIONS_PER_RECORD + (min(index, POSITIONS_PER_RECORD - 1) if index else 0)


class EventIds:
    """Ids of the events of one source."""

    def __init__(self, platform: str, source_id: str) -> None:
        self._start = blake2b(_framed([platform.encode(), source_id.encode()]), digest_size=ID_BYTES)

    def event_id(self, at: int, record: bytes) -> str:
        """BLAKE2b-128 of platform, source_id, source_position and the record's bytes."""
        made = self._start.copy()
        made.update(at.to_bytes(8, "big"))
        made.update(record)
        return made.hexdigest()


def _framed(parts: list[bytes]) -> bytes:
    return b"".join(len(p).to_bytes(8, "big") + p for p in parts)


def _digest(parts: list[bytes]) -> str:
    return blake2b(_framed(parts), digest_size=ID_BYTES).hexdigest()
