"""Files of the checkpoint that are not there, or not known again yet, and those that were read to their end.

Whoever appears and is one of them goes on where it was read: after a restart, on another device, as a copy, as gzip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from rua_agents.checkpoint import FileState

MOST = 10_000
MOST_FINISHED = 1_000
KEPT_MS = 7 * 86_400_000


class Absent:
    """States by what they may be known by. The oldest are forgotten when there are too many."""

    def __init__(self) -> None:
        self._states: dict[int, FileState] = {}
        self._by: dict[tuple[object, ...], list[int]] = {}
        self._next = 0

    def __iter__(self) -> Iterator[FileState]:
        return iter(list(self._states.values()))

    def __len__(self) -> int:
        return len(self._states)

    def add(self, state: FileState) -> None:
        """Keeps one; but none that says no more than that a file was empty."""
        if not state.offset and not state.prefix_bytes:
            return
        number, self._next = self._next, self._next + 1
        self._states[number] = state
        for key in _keys(state):
            self._by.setdefault(key, []).append(number)

    def take(self, keys: Iterable[tuple[object, ...]], fits: Callable[[FileState], bool]) -> FileState | None:
        """The first one that is known by one of the keys and fits; it is no longer absent."""
        for key in keys:
            for number in self._by.get(key, []):
                if fits(self._states[number]):
                    return self._remove(number)
        return None

    def forget(self, now_ms: int) -> None:
        """Those that were last seen too long ago, or that are too many. A clock that jumps forgets nobody at once."""
        finished = [n for n, state in self._states.items() if state.finished]
        for number in finished[:-MOST_FINISHED]:
            self._remove(number)
        for number in list(self._states)[:-MOST]:
            self._remove(number)
        for number, state in list(self._states.items()):
            if not state.seen_at_ms or state.seen_at_ms > now_ms:
                state.seen_at_ms = now_ms
            elif now_ms - state.seen_at_ms > KEPT_MS:
                self._remove(number)

    def _remove(self, number: int) -> FileState:
        state = self._states.pop(number)
        for key in _keys(state):
            left = self._by[key]
            left.remove(number)
            if not left:
                del self._by[key]
        return state


def place_keys(source: str, lane: str, key: tuple[int, int], path: str) -> Iterator[tuple[object, ...]]:
    """By device and inode, or by path: to be confirmed by the file's start."""
    yield (source, lane, "inode", *key)
    yield (source, lane, "path", path)


def id_key(source: str, lane: str, source_id: str | None) -> tuple[object, ...]:
    """By the id that the first record gives."""
    return (source, lane, "id", source_id)


def _keys(state: FileState) -> list[tuple[object, ...]]:
    """Each differs, so that a state is known by one of them once."""
    by_place = place_keys(state.source, state.lane, (state.device, state.inode), state.path)
    known = state.stream.get("source_id")
    return [*by_place, *([id_key(state.source, state.lane, known)] if known else [])]
