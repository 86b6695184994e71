"""The agent against everything that goes wrong on a platform's hosts; the long versions: `make test-faults SEED=7`.

Every test compares what came out of a real Kafka with what `parse` reads from the files afterwards.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer
from rua_agents.settings import Limits
from rua_local.kafka import EmbeddedKafka

from tests.agent_rig import web_line
from tests.faults_rig import Audited, Chained, Contained, Copied, Events, Log, Rig, Writer, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(2_400)]
HOURS_27_MS = 27 * 3_600_000
QUIET_SECONDS = 15.0
HOT_LINES = 10_000
"""Then a log is rotated at once."""
AHEAD = 15_000
"""How many lines the writer may be ahead of what has come out: the agent never idles."""
FLAT_BYTES = 3 << 20
AWAY_SECONDS = 10.0


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Given, or random; printed either way."""
    given: int | None = request.config.getoption("--fault-seed")
    return random.SystemRandom().randrange(10_000) if given is None else given


@pytest.fixture
def rig(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Rig]:
    """A platform whose agent is gone after the test."""
    rig = Rig(kafka_bootstrap, tmp_path)
    yield rig
    rig.kill()


@pytest.fixture
def events(rig: Rig) -> Iterator[Events]:
    """What comes out."""
    events = Events(rig.bootstrap, rig.topic)
    yield events
    events.close()


def logs_of(folder: Path) -> dict[Log, int]:
    """Every kind of rotation, and how many of a hundred lines each gets."""
    return {
        Log(folder, "renamed"): 40,
        Chained(folder, "chained"): 20,
        Copied(folder, "copied"): 20,
        Audited(folder, "audited"): 10,
        Contained(folder, "contained"): 10,
    }


def settle(rig: Rig, events: Events, lines: int, seconds: float = 90) -> None:
    """Waits until all lines have come out, or nothing has for a while, and stops the agent."""
    end, last = time.monotonic() + seconds, 0.0
    while len(events.ids) < lines and time.monotonic() < end and rig.alive:
        before = len(events.ids)
        events.fetch()
        last = time.monotonic() if len(events.ids) > before else last
        if last and time.monotonic() - last > QUIET_SECONDS:
            break
        time.sleep(0.05)
    assert rig.stop() == 0
    check(rig, events, lines)


def settled(rig: Rig, events: Events, lines: int) -> bool:
    """Whether all lines have come out, each with an id of its own."""
    events.fetch()
    return len(events.ids) >= lines and rig.alive


def acknowledged(rig: Rig, wanted: int) -> bool:
    """Whether the running agent's checkpoint covers so many events."""
    return rig.acked_seq() >= wanted


def check(rig: Rig, events: Events, lines: int) -> None:
    """Nothing lost, nothing under two ids.

    Raises:
        AssertionError: something was.
    """
    events.fetch()
    expected = rig.expected()
    assert len(expected) == lines
    assert len(events.ids - expected.keys()) == 0, "events under a second id"
    assert Counter(expected[one] for one in expected.keys() - events.ids) == {}, "events lost"


@pytest.mark.parametrize(
    ("kills", "lines"), [(3, 9_000), pytest.param(100, 400_000, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_kill_9_loses_nothing_and_every_double_is_recognisable(
    rig: Rig, events: Events, seed: int, kills: int, lines: int
) -> None:
    """While all kinds of logs grow and rotate. A kill counts only if it hit between sending and checkpoint."""
    chance = random.Random(seed)
    each = 2 * lines // kills
    schedule = [chance.randrange(each // 10, each) for _ in range(kills)]
    print(f"\nfault seed {seed}: killed after so many acknowledged events: {schedule}")
    shares = logs_of(rig.folder / "logs")
    rig.add(*shares).start()
    replays: list[int] = []
    idle = base = 0
    ahead, rotate_at = (AHEAD, HOT_LINES) if kills > 9 else (AHEAD // 2, HOT_LINES // 5)
    writer = Writer(shares, chance, lambda: base + rig.acked_seq(), ahead=ahead, rotate_at=rotate_at)
    writer.start()
    while len(replays) < kills:
        wanted = schedule[len(replays)]
        wait_for(f"{wanted} acknowledged events", partial(acknowledged, rig, wanted))
        epoch, covered = killed(rig, events)
        base += covered
        events.fetch()
        replay = events.newest.get(epoch, 0) - covered
        if replay > 0:
            replays.append(replay)
        idle += replay <= 0
        rig.start()
    wait_for(f"{lines} lines", lambda: writer.written >= lines or settled(rig, events, lines))
    written = writer.stop()
    settle(rig, events, written)
    rotations = sum(log.rotations for log in shares)
    print(
        f"{written} lines in {sum(len(log.paths()) for log in shares)} files, {rotations} rotations, {len(replays)} "
        f"kills that hit ({idle} idle ones not counted), {sum(replays)} events due to be sent again, "
        f"{events.messages} messages: 0 lost, {events.messages - len(events.ids)} doubles, all with the id of the first"
    )
    assert idle <= kills
    assert events.messages > len(events.ids)


def killed(rig: Rig, events: Events) -> tuple[int, int]:
    """Kills the agent while it sends; its epoch, and up to which of its events the checkpoint goes."""
    sent, end = events.end(), time.monotonic() + 1.0
    while events.end() == sent and time.monotonic() < end:
        pass
    rig.kill()
    found = rig.checkpoint()
    assert found is not None
    return found.agent_epoch, found.agent_seq


@pytest.mark.parametrize(
    ("seconds", "lines"), [(3.0, 1_000), pytest.param(30.0, HOT_LINES, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_hot_rotation_of_every_kind_loses_nothing(
    rig: Rig, events: Events, seed: int, seconds: float, lines: int
) -> None:
    """Ten thousand lines, rotated at once, every quarter of a second; copies stay in sight."""
    print(f"\nfault seed {seed}")
    folder, written, start_ms = rig.folder / "logs", 0, int(time.time() * 1_000)
    logs = [Log(folder, "renamed"), Chained(folder, "chained"), Copied(folder, "copied"), Contained(folder, "cri")]
    rig.add(*logs).start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        log = logs[written // lines % len(logs)]
        log.write(range(written, written + lines), start_ms)
        log.rotate()
        written += lines
        time.sleep(0.25)
    settle(rig, events, written)
    print(f"{written} lines, {sum(log.rotations for log in logs)} hot rotations: 0 lost, 0 under two ids")


def test_copies_that_nobody_can_see_are_a_loss_that_is_told(rig: Rig, events: Events) -> None:
    """Copytruncate into another place loses what was not read yet: the agent says so, and counts it."""

    class Hidden(Copied):
        def rotate(self) -> None:
            self.rotations += 1
            os.truncate(self.path, 0)

    log, start_ms = Hidden(rig.folder / "logs", "hidden"), int(time.time() * 1_000)
    rig.add(log).start()
    log.write(range(100), start_ms)
    wait_for("the first lines", lambda: settled(rig, events, 100))
    log.write(range(100, 200), start_ms)
    log.rotate()
    log.write(range(200, 210), start_ms)

    def told() -> bool:
        status = rig.status()
        return status is not None and status.dropped.get("source_gap", 0) == 1

    wait_for("the loss to be told", told)
    assert rig.stop() == 0
    assert "was truncated and no copy of it is in sight" in rig.told()


@pytest.mark.parametrize(
    ("how", "long"),
    [
        ("killed", False),
        pytest.param("killed", True, marks=pytest.mark.slow),
        pytest.param("paused", True, marks=pytest.mark.slow),
    ],
    ids=["short", "killed", "paused"],
)
def test_a_broker_that_is_away_costs_no_memory_and_no_event(
    request: pytest.FixtureRequest, tmp_path: Path, seed: int, how: str, long: bool
) -> None:
    """Input goes on; memory stays flat; afterwards everything comes out."""
    (tmp_path / "rig").mkdir()
    away = 60 * request.config.getoption("--fault-minutes") if long else AWAY_SECONDS
    print(f"\nfault seed {seed}: the broker is {how} for {away:g} s")
    with EmbeddedKafka(tmp_path / "kafka") as kafka:
        rig = Rig(kafka.bootstrap, tmp_path / "rig", read_bytes=1 << 20)
        try:
            events = Events(kafka.bootstrap, rig.topic)
            shares: dict[Log, int] = {Log(rig.folder / "logs", "renamed"): 1}
            pace, began = 500 if long else 3_000, time.monotonic()
            rig.add(*shares).start()
            writer = Writer(
                shares,
                random.Random(seed),
                lambda: int((time.monotonic() - began) * pace),
                ahead=0,
                rotate_at=HOT_LINES,
            )
            writer.start()
            wait_for("the first events", lambda: settled(rig, events, 5_000 if not long else 500))
            (kafka.kill if how == "killed" else kafka.pause)()
            peak = steady = 0
            gone = time.monotonic()
            while (passed := time.monotonic() - gone) < away:
                # what finds the words for the fault is loaded once, when the broker's client has noticed it
                steady = max(steady, rig.rss_bytes()) if passed < max(away / 5, AWAY_SECONDS / 2) else steady
                peak = max(peak, rig.rss_bytes())
                time.sleep(0.2)
            assert rig.alive
            (kafka.start if how == "killed" else kafka.resume)()
            written = writer.stop()
            settle(rig, events, written)
            print(
                f"{written} lines, memory {steady / 1e6:.1f} MB in the first part, at most {peak / 1e6:.1f} MB later; "
                f"{events.messages - len(events.ids)} doubles, 0 lost"
            )
            assert peak - steady <= FLAT_BYTES
            events.close()
        finally:
            rig.kill()


def test_a_full_disk_stops_reading_and_nothing_else(rig: Rig, events: Events) -> None:
    """The agent lives, says so, and goes on by itself when there is room again; the logs kept everything."""
    rig.state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(rig.state)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        full_disk(rig, events)
    finally:
        rig.kill()
        subprocess.run(["umount", str(rig.state)], check=True)


def fill(path: Path) -> None:
    """Writes until there is no room."""
    with path.open("wb", buffering=0) as file:
        while file.write(b"x" * 4_096):
            pass


def full_disk(rig: Rig, events: Events) -> None:
    """Fills it, waits, makes room."""
    log, start_ms = Log(rig.folder / "logs", "renamed"), int(time.time() * 1_000)
    rig.more = "disk: {reserve_bytes: 200000, min_free_bytes: 400000}\n"
    rig.add(log).start()
    log.write(range(1_000), start_ms)
    wait_for("the first lines", lambda: settled(rig, events, 1_000))
    filler = rig.state / "filler"
    with pytest.raises(OSError, match="No space left"):
        fill(filler)
    time.sleep(1.5)  # the agent looks once a second
    log.write(range(1_000, 3_000), start_ms)
    time.sleep(1.5)
    assert rig.alive
    log.rotate()
    log.write(range(3_000, 4_000), start_ms)
    events.fetch()
    assert len(events.ids) < 4_000
    filler.unlink()
    settle(rig, events, 4_000)


@pytest.mark.parametrize(
    "skew_ms",
    [
        HOURS_27_MS,
        pytest.param(-HOURS_27_MS, marks=pytest.mark.slow),
        pytest.param(-int(time.time() * 1_000) - 86_400_000, marks=pytest.mark.slow),
    ],
    ids=["ahead", "behind", "before 1970"],
)
def test_a_wrong_clock_costs_no_event(rig: Rig, events: Events, skew_ms: int) -> None:
    """27 hours ahead, behind, before 1970; set back in the middle: files are found, rotated, read and acknowledged."""
    logs: list[Log] = [Log(rig.folder / "logs", "renamed"), Audited(rig.folder / "logs", "audited")]
    start_ms = int(time.time() * 1_000)
    rig.add(*logs).start(skew_ms=skew_ms)
    for log in logs:
        log.write(range(100), start_ms)
    wait_for("the first lines", lambda: settled(rig, events, 200), 30)
    rig.skew.write_text(str(-skew_ms if abs(skew_ms) == HOURS_27_MS else 0))
    for n, log in enumerate(logs):
        log.write(range(100, 200), start_ms)
        log.rotate()
        log.write(range(200 + n, 300 + n), start_ms)
    wait_for("all lines to come out", lambda: settled(rig, events, 600), 30)
    rig.kill()
    rig.start(skew_ms=0)
    for log in logs:
        log.write(range(400, 410), start_ms)
    wait_for("lines after a restart", lambda: settled(rig, events, 620), 30)
    assert rig.stop() == 0
    check(rig, events, 620)


def test_the_broker_takes_what_comes_from_a_host_whose_clock_is_a_day_ahead(rig: Rig) -> None:
    """Kafka 4 refuses messages an hour ahead of its own clock, for ever, unless the topic takes the broker's time."""
    refused: list[object] = []
    producer = Producer({"bootstrap.servers": rig.bootstrap})
    at_ms = int(time.time() * 1_000) + HOURS_27_MS
    producer.produce(rig.topic, b"", timestamp=at_ms, on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(20) == 0
    assert refused == [None]


def test_what_is_no_text_costs_no_record(rig: Rig, events: Events) -> None:
    """Invalid UTF-8, runs of NULs, lines of one and of sixteen megabytes."""
    log, start_ms = Log(rig.folder / "logs", "odd"), int(time.time() * 1_000)
    limit = Limits().record_bytes
    odd = [
        log.line(0, start_ms),
        log.line(1, start_ms).replace(b"curl", b"\xff\xfe\xed\xa0\x80"),
        b"\0" * 70_000 + log.line(2, start_ms),
        log.line(3, start_ms).replace(b"curl", b"a" * (1 << 20)),
        web_line(start_ms + 4, ua="b" * (16 << 20), body_bytes_sent=4),
        b"\xef\xbb\xbf" + log.line(5, start_ms),
        log.line(6, start_ms).replace(b"\n", b"\r\n"),
        log.line(7, start_ms),
    ]
    log.path.write_bytes(b"".join(odd))
    rig.add(log).start()
    wait_for("all lines to come out", lambda: settled(rig, events, 7), 30)
    assert limit < 16 << 20
    wait_for("the file's end", lambda: (found := rig.checkpoint()) and found.files[0].offset == log.path.stat().st_size)
    assert rig.stop() == 0
    check(rig, events, len(events.ids))


def test_a_torn_checkpoint_costs_a_second_reading_only(rig: Rig, events: Events) -> None:
    """A power cut leaves half of it, or zeros: the agent starts anyway, says so, and the ids are the same."""
    log, start_ms = Log(rig.folder / "logs", "renamed"), int(time.time() * 1_000)
    log.write(range(500), start_ms)
    rig.add(log).start()
    wait_for("the lines", lambda: settled(rig, events, 500))
    assert rig.stop() == 0
    path = rig.state / "checkpoint.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\0" * 512)
    before = events.fetch()
    rig.start()
    wait_for("all to be read again", lambda: events.fetch() >= before + 500)
    assert rig.stop() == 0
    check(rig, events, 500)
    assert rig.told().count("is damaged") == 1
