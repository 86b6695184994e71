"""sudo's own log file as text, wrapped at 80 columns: `Nov 24 23:14:31 : ana : PWD=/srv ; USER=root ; COMMAND=…`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from rua_agents.blocks import BlockSplitter
from rua_agents.collectors import host, sudo
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Parser, Place
from rua_agents.records import RawRecord, Splitter
from rua_agents.syslog import Stamps

INDENT = "    "
_HOST = re.compile(r"( : )HOST=\S+ : ")


class SudoLogfile(LineCollector):
    """The collector."""

    name = "sudo-logfile"

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """A line that is indented goes on with the record before it; sudo escapes line ends in what users type."""
        del options
        return BlockSplitter(offset, limit_bytes, lambda line: line.startswith(INDENT.encode()))

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The stamp, in the host's zone."""
        del options
        return Stamps(zone).event(_text(record), now_ms)[0]

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        return _Parser(place)


def _text(record: RawRecord) -> str:
    text = record.data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    return _HOST.sub(r"\1", text.replace("\r\n", "\n").replace("\n" + INDENT, " "), count=1)


class _Parser(host.StampedParser):
    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The event of a record."""
        text = _text(record)
        at_ms, message = self.stamps.event(text, observed_at)
        deed = sudo.deed(message)
        self.place.tally.replaced += text.count("\N{REPLACEMENT CHARACTER}")
        return [host.event_of(deed, self.place, record, observed_at, at_ms)]
