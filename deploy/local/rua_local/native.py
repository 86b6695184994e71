"""The two blocks of ClickHouse's Native format that chDB does not write itself."""

from __future__ import annotations

from collections.abc import Iterable

# BlockInfo of a server of revision 51903 or later: field 1 is_overflows = 0, field 2 bucket = -1, end
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"


def empty_block(columns: Iterable[tuple[str, str]]) -> bytes:
    """A block of no rows: a server names columns and types of an empty result; chDB writes nothing at all."""
    names = list(columns)
    return _varint(len(names)) + _varint(0) + b"".join(_string(name) + _string(kind) for name, kind in names)


def hello(version: str, timezone: str, *, with_block_info: bool) -> bytes:
    """The answer to clickhouse-go's first question (Grafana's plug-in asks it).

    That client always decodes the answer as protocol revision 54460, then later blocks as the revision that this
    answer names. Revision 0 makes it expect exactly the plain Native that chDB writes.
    """
    columns = (
        ("displayName()", "String", _string("chdb")),
        ("version()", "String", _string(version)),
        ("revision()", "UInt32", (0).to_bytes(4, "little")),
        ("timezone()", "String", _string(timezone)),
    )
    serialization = b"\x00" if with_block_info else b""  # "not a custom one", a byte per column since 54454
    body = b"".join(_string(name) + _string(kind) + serialization + value for name, kind, value in columns)
    return (_BLOCK_INFO if with_block_info else b"") + _varint(len(columns)) + _varint(1) + body


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return _varint(len(encoded)) + encoded
