"""The agent's socket: exports of the platform's own processes, each event known again when it is sent again.

An event is named by who sent it (the kernel says the user, the process its stream) and by its number there. Up to where
each process was heard stands in the spool beside the events, so that what it sends again is taken once.
"""

from __future__ import annotations

import json
import logging
import re
import selectors
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rua_agents import identity
from rua_agents.collectors import Draft
from rua_agents.intake.connection import Broken, Connection, Frame
from rua_agents.intake.peers import Allowed, listening, peer_of
from rua_agents.intake.polled import NamedStream
from rua_agents.intake.streams import Streams
from rua_agents.records import RawRecord
from rua_agents.sdk.wire import TALK
from rua_agents.spool.spool import Spool
from rua_agents.stream import Origin

log = logging.getLogger(__name__)
MOST_CONNECTIONS, MOST_PER_USER = 1_024, 768
"""So that one user's processes cannot keep all others out."""
PATIENCE_SECONDS = 10.0
"""How long a process may owe the rest of a frame, or its name."""
MOST_PENDING = 2_000
"""Events that wait for the commit; then no connection is read on in this turn."""
TELL_SECONDS = 60.0
DEAF_SECONDS = 1.0
_STREAM = re.compile(r"[0-9a-f]{32}")
MOST_NUMBER = 1 << 52


class Listener:
    """A feed of the intake."""

    def __init__(
        self, path: Path, origin: Origin, spool: Spool, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._origin, self._spool, self._monotonic = path, origin, spool, monotonic
        options = origin.options
        self._allowed = Allowed(options.uids, options.gids)
        self._socket = listening(path, options.group)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._open: dict[int, Connection] = {}
        self._streams = Streams(spool.marks)
        self._parsers: dict[str, NamedStream] = {}
        self._owed: set[str] = set()
        """Streams with events that are appended and not committed."""
        self.refused: Counter[str] = Counter()
        self._told_at = float("-inf")
        self._deaf_until: float | None = None

    @property
    def problems(self) -> dict[str, str]:
        """Nothing can be wrong once it listens."""
        return {}

    def wait(self, seconds: float) -> None:
        """Until somebody has something to say, but no longer than this."""
        self._selector.select(seconds)

    def take(self, now_ms: int) -> None:
        """Reads every connection that has something, a bounded piece of each."""
        now = self._monotonic()
        if self._deaf_until is not None and now >= self._deaf_until:
            self._selector.register(self._socket, selectors.EVENT_READ)
            self._deaf_until = None
        for key, _ in self._selector.select(0):
            if key.fileobj is self._socket:
                self._accept(now)
            elif self._spool.pending < MOST_PENDING:
                self._read(self._open[key.fd], now, now_ms)
        for connection in [c for c in self._open.values() if _owes(c, now)]:
            self._close(connection, "too_slow")
        self._tell(now)

    def committed(self) -> None:
        """Tells every process up to where it may forget."""
        self._streams.committed(self._owed)
        for connection in list(self._open.values()):
            if connection.stream in self._owed:
                self._acknowledge(connection)
        self._owed.clear()

    def close(self) -> None:
        """Closes the socket and all connections; what was not acknowledged will be sent again."""
        for connection in list(self._open.values()):
            self._close(connection)
        self._selector.close()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _accept(self, now: float) -> None:
        while True:
            try:
                made, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as why:  # descriptors are short: who waits goes on waiting, and would wake us all the time
                self.refused[why.strerror or type(why).__name__] += 1
                self._selector.unregister(self._socket)
                self._deaf_until = now + DEAF_SECONDS
                return
            peer = peer_of(made)
            mine = sum(one.peer.uid == peer.uid for one in self._open.values())
            if not self._allowed(peer):
                self.refused[f"user {peer.uid} may not: see options.uids"] += 1
                made.close()
            elif len(self._open) >= MOST_CONNECTIONS or mine >= MOST_PER_USER:
                self.refused["too_many"] += 1
                made.close()
            else:
                made.setblocking(False)
                self._open[made.fileno()] = Connection(made, peer, now)
                self._selector.register(made, selectors.EVENT_READ)

    def _read(self, connection: Connection, now: float, now_ms: int) -> None:
        try:
            frames = connection.read()
            self._heard(connection, frames, now_ms)
            connection.heard(now, frames=bool(frames))
        except Broken as why:
            self._close(connection, str(why))
        except OSError:
            self._close(connection)
        else:
            if connection.ended:
                self._close(connection)

    def _heard(self, connection: Connection, frames: list[Frame], now_ms: int) -> None:
        made: list[Draft] = []
        taken = again = False
        try:
            for number, body in frames:
                if number == TALK:
                    self._talk(connection, body, now_ms)
                elif connection.stream is None or number > MOST_NUMBER:
                    raise Broken("number" if connection.stream else "no_name")
                elif self._streams.takes(connection.stream, number, now_ms):
                    taken = True
                    self._origin.tally.read_bytes += len(body)
                    made += self._parser(connection.stream).feed(RawRecord(number, body, number + 1), now_ms)
                else:
                    again = True  # it has not heard the acknowledgement
        finally:
            if taken and connection.stream is not None:
                self._owed.add(connection.stream)
                self._spool.append(made, self._streams.mark(connection.stream))
        if again:
            self._acknowledge(connection)

    def _talk(self, connection: Connection, body: bytes, now_ms: int) -> None:
        try:
            said = json.loads(body)
            name, dropped = said.get("stream"), said.get("dropped")
        except (ValueError, AttributeError, RecursionError) as why:
            raise Broken("talk") from why
        if connection.stream is None:
            self._named(connection, name, now_ms)
        elif type(dropped) is int and dropped <= MOST_NUMBER:
            self._lost(connection.stream, self._streams.dropped(connection.stream, dropped))

    def _named(self, connection: Connection, name: object, now_ms: int) -> None:
        if not isinstance(name, str) or not _STREAM.fullmatch(name):
            raise Broken("no_name")
        connection.stream = f"{connection.peer.uid}:{name}"
        if forgotten := self._streams.opened(connection.stream, now_ms, self._names()):
            self._spool.append([], forgotten)
        self._acknowledge(connection)

    def _lost(self, stream: str, count: int) -> None:
        if count:
            self._origin.tally.dropped["sdk_overflow"] += count
            user = stream.partition(":")[0]
            log.error("a process of user %s dropped %d exports before it could hand them over", user, count)
            self._spool.append([], self._streams.mark(stream))

    def _parser(self, stream: str) -> NamedStream:
        if stream not in self._parsers:
            user = int(stream.partition(":")[0])
            origin = replace(self._origin, options=self._origin.options.of_user(user))
            source_id = identity.source_id(origin.platform, origin.collector.name, origin.host, stream.encode())
            self._parsers[stream] = NamedStream(origin, stream, source_id)
        return self._parsers[stream]

    def _acknowledge(self, connection: Connection) -> None:
        if connection.stream is None:
            return
        try:
            connection.acknowledge(self._streams.durable(connection.stream))
        except OSError:
            self._close(connection)

    def _names(self) -> set[str | None]:
        return {connection.stream for connection in self._open.values()}

    def _close(self, connection: Connection, why: str | None = None) -> None:
        if why is not None:
            self.refused[why] += 1
        if connection.socket.fileno() < 0:
            return
        self._selector.unregister(connection.socket)
        del self._open[connection.socket.fileno()]
        connection.socket.close()
        if connection.stream is not None and connection.stream not in self._names():
            self._parsers.pop(connection.stream, None)

    def _tell(self, now: float) -> None:
        """Once a minute at most: whoever is refused must not fill the log."""
        if self.refused and now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            log.warning("%s: connections refused or ended: %s", self._path, dict(self.refused))
            self.refused.clear()


def _owes(connection: Connection, now: float) -> bool:
    return connection.waits_since is not None and now - connection.waits_since > PATIENCE_SECONDS
