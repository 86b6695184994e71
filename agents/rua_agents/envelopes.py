"""Lines as container runtimes write them around those of a program: CRI (containerd, CRI-O) and Docker's json-file.

A file holds two lanes, stdout and stderr, each with lines and records of its own: whoever reads one passes over the
other. Long lines come in pieces, which are joined. Offsets stay those of the file: a record stands where its first
piece does, and if a piece holds several, so many bytes further as it stands in what is unwrapped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from rua_agents.jsontext import NotJson, read_object
from rua_agents.records import LineSplitter, RawRecord, Splitter

LANES = ("stdout", "stderr")
PIECE_BYTES = 1 << 20
"""Of one physical line: runtimes cut at 16 KiB, JSON's escapes make it six times as long at most."""
MOST_PIECES = 4_096
CRI_FIELDS = 4
"""Time, lane, tags, text."""


class Envelope(NamedTuple):
    """How lines are wrapped, and which lane is meant."""

    format: str
    """`cri` or `docker`."""
    lane: str


def envelopes_of(name: str, lane: str = "both") -> list[Envelope | None]:
    """What the settings `envelope` and `lane` mean: a reader for each lane, or one for the file as it is."""
    return [None] if name == "none" else [Envelope(name, one) for one in LANES if lane in ("both", one)]


class _Inner(Protocol):
    """Makes the splitter of the source itself."""

    def __call__(self, offset: int) -> Splitter: ...


class _Piece(NamedTuple):
    inner: int
    """Where it starts, counted in unwrapped bytes."""
    offset: int
    """Where its physical line starts."""
    skipped: int
    """How many of its first bytes were taken before reading started."""


class EnvelopeSplitter:
    """Unwraps the lines of one lane and cuts what they hold by the source's own splitter.

    Args:
        envelope: format and lane.
        inner: makes the source's splitter for an offset.
        offset: where reading starts: a physical line.
        skip: how much of what that line holds is taken already.
    """

    def __init__(self, envelope: Envelope, inner: _Inner, offset: int, skip: int = 0) -> None:
        self.offset, self.skip = offset, skip
        self._open = UNWRAP[envelope.format]
        self._lane = envelope.lane
        self._lines = LineSplitter(offset, PIECE_BYTES)
        self._inner = inner(offset + skip)
        self._inner_end = offset + skip
        self._to_skip = skip
        self._pieces: deque[_Piece] = deque()
        self._line_end = offset

    def feed(self, chunk: bytes) -> list[RawRecord]:
        """The records that these bytes complete."""
        return [record for line in self._lines.feed(chunk) for record in self._take(line)]

    def settle(self) -> list[RawRecord]:
        """See `Splitter`."""
        return self._placed(self._inner.settle())

    def finish(self) -> list[RawRecord]:
        """What is left when nothing more will come."""
        made = [record for line in self._lines.finish() for record in self._take(line)]
        return made + self._placed(self._inner.finish())

    def _take(self, line: RawRecord) -> list[RawRecord]:
        self._line_end = line.end
        lane, data = self._open(line.data) or (LANES[0], line.data + b"\n")
        if lane != self._lane:
            return self._placed([])
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        self._pieces.append(_Piece(self._inner_end, line.offset, skipped))
        if len(self._pieces) > MOST_PIECES:
            del self._pieces[1]
        self._inner_end += len(data) - skipped
        return self._placed(self._inner.feed(data[skipped:]))

    def _placed(self, records: list[RawRecord]) -> list[RawRecord]:
        """These records with offsets of the file; moves to where the next one starts."""
        made = []
        for record in records:
            offset, skip = self._place(record.offset)
            end = self._line_end if record.end >= self._inner_end else sum(self._place(record.end))
            made.append(record._replace(offset=offset + skip, end=end))
        at = self._inner.offset
        if at >= self._inner_end and not self._to_skip:
            self._pieces.clear()
            self.offset, self.skip = self._line_end, 0
        elif self._pieces:
            self.offset, self.skip = self._place(at)
        return made

    def _place(self, inner: int) -> tuple[int, int]:
        """Where a byte stands: its physical line, and how far into what that holds. Forgets the lines before."""
        while len(self._pieces) > 1 and self._pieces[1].inner <= inner:
            self._pieces.popleft()
        piece = self._pieces[0]
        return piece.offset, piece.skipped + inner - piece.inner


def unwrap_cri(line: bytes) -> tuple[str, bytes] | None:
    """Lane and text of `2026-03-02T10:00:00.1Z stdout F text`; None if it is no such line."""
    parts = line.split(b" ", CRI_FIELDS - 1)
    if len(parts) < CRI_FIELDS - 1 or parts[1] not in (b"stdout", b"stderr") or parts[2][:1] not in b"FP":
        return None
    text = parts[3] if len(parts) == CRI_FIELDS else b""
    return parts[1].decode(), text + (b"\n" if parts[2][:1] == b"F" else b"")


def unwrap_docker(line: bytes) -> tuple[str, bytes] | None:
    r"""Lane and text of `{"log":"text\n","stream":"stdout","time":"…"}`; None if it is no such line."""
    try:
        found, _ = read_object(line)
    except NotJson:
        return None
    lane, text = found.get("stream"), found.get("log")
    if lane not in LANES or not isinstance(text, str):
        return None
    return lane, text.encode()


UNWRAP: Mapping[str, Callable[[bytes], tuple[str, bytes] | None]] = {"cri": unwrap_cri, "docker": unwrap_docker}
