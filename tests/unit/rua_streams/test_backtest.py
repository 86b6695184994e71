"""A stored log judged again gives the alerts that were raised live, however it is stored, cut or shared out."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rua_common.errors import BadConfiguration
from rua_schemas.codec import encode
from rua_schemas.columns import ColumnCodec
from rua_schemas.container import write
from rua_schemas.events import Alert
from rua_streams.alerts import alert_of
from rua_streams.backtest import spread
from rua_streams.backtest.judge import Judge, Share, Span
from rua_streams.backtest.logs import Log, LooseFiles, PartitionFiles, Slice, file_name, logs_in
from rua_streams.backtest.rules import Rules
from rua_streams.backtest.spread import backtest, shared_out
from rua_streams.detectors import DETECTORS
from rua_streams.engine import Engine
from rua_streams.fence import Fence
from rua_streams.intake import take_in
from rua_streams.runs import DAY
from rua_streams.state import State
from rua_streams.testing import at, event, frame

from tests.streams_rig import Record

TOPIC = "rua.events.lazada"
SHIPPED = Rules("shipped")
PARTITIONS, EVENTS = 3, 1_500


@dataclass(frozen=True)
class Sized:
    """A log of so many bytes, with nothing in it."""

    size: int

    def slices(self, _: Collection[str]) -> Iterator[Slice]:
        """Nothing."""
        return iter(())


def messages(seed: int = 2) -> dict[int, list[Record]]:
    """The log of a platform: four weeks of work, thefts, agents that send again, a foreign name, and garbage."""
    rng, logs = random.Random(seed), defaultdict[int, list[Record]](list)
    start = at("2026-03-02 00:00")

    def send(partition: int, value: bytes | None) -> None:
        log = logs[partition]
        log.append(Record(TOPIC, partition, len(log), start, 0, None, value))

    for number in range(EVENTS):
        seconds = number * 28 * DAY // EVENTS + rng.randrange(600)
        actor = rng.randrange(12)
        theft = rng.random() < 0.02
        late = rng.choice((0, 0, 0, 5 * 3_600))
        one = event(
            start + 1_000 * (seconds - late),
            observed=start + 1_000 * seconds,
            event_id=f"{number + 1:032x}",
            source_id=f"{actor % 4:032x}",
            source_position=1_024 * number,
            actor=f"actor-{actor}",
            rows=rng.randrange(20_000, 400_000) if theft else rng.randrange(1, 90),
            destination=f"client:203.0.{rng.choice((1, 1, 1, 1, 2))}.0/24",
            platform="shopee" if number % 397 == 7 else "lazada",
        )
        send(actor % PARTITIONS, encode(one))
        if number % 100 == 50:
            for copy in list(logs[actor % PARTITIONS][-rng.randrange(2, 20) :]):
                send(actor % PARTITIONS, copy.value)
        if number % 500 == 3:
            send(actor % PARTITIONS, b"\xc3\x01 garbage")
    return dict(logs)


def live(logs: dict[int, list[Record]]) -> list[Alert]:
    """What the detect role raises, in batches as a broker gives them."""
    engine, codec, rng, raised = Engine(DETECTORS), ColumnCodec(), random.Random(7), list[Alert]()
    for partition, records in logs.items():
        state, fence, start = State(engine.layout), Fence(), 0
        while start < len(records):
            batch = records[start : start + rng.randrange(1, 400)]
            intake = take_in(codec, batch)
            fresh = intake.frame.filter(fence.admit(intake.frame))
            raised += [alert_of(finding, TOPIC, partition) for finding in engine.apply(fresh, state)]
            start += len(batch)
    return in_time(raised)


def in_time(alerts: Iterable[Alert]) -> list[Alert]:
    """As a backtest gives them."""
    return sorted(alerts, key=lambda a: (a.raised_at, a.alert_id, a.revision))


def stored(folder: Path, logs: dict[int, list[Record]], pieces: int = 1) -> Path:
    """The log as files, by partition and in pieces, foreign names and copies included."""
    for partition, records in logs.items():
        decoded = ColumnCodec().decode([record.value for record in records])
        placed = decoded.frame.with_columns(pl.Series("offset", decoded.places, pl.Int64))
        size = -(-placed.height // pieces)
        for start in range(0, placed.height, size):
            part = placed[start : start + size]
            write(folder / file_name(TOPIC, partition, part["offset"][0]), [part])
    return folder


@pytest.fixture(scope="module")
def log() -> dict[int, list[Record]]:
    """One for all tests."""
    return messages()


@pytest.fixture(scope="module")
def raised(log: dict[int, list[Record]]) -> list[Alert]:
    """What was raised live; a log that raises nothing would prove nothing."""
    found = live(log)
    assert len({alert.detector for alert in found}) >= 3
    assert len(found) > 10
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, log: dict[int, list[Record]]) -> Sequence[Log]:
    """The log, stored."""
    return logs_in(stored(tmp_path_factory.mktemp("log"), log))


def test_files_of_partitions_give_exactly_the_live_alerts(
    tmp_path: Path, log: dict[int, list[Record]], files: Sequence[Log], raised: list[Alert]
) -> None:
    """Every field, the offsets of the evidence too; in one file for each partition, or in several."""
    told = backtest(files, [SHIPPED])
    assert told.alerts == [raised]
    assert backtest(logs_in(stored(tmp_path, log, 4)), [SHIPPED]) == told
    good = sum(take_in(ColumnCodec(), records).frame.height for records in log.values())
    assert told.events + told.copies == good
    assert told.copies > 50


def test_without_the_fence_the_alerts_would_be_others(
    files: Sequence[Log], raised: list[Alert], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard's twin: what is sent again would count twice."""
    monkeypatch.setattr(Fence, "admit", lambda _, frame: np.ones(frame.height, np.bool_))
    assert backtest(files, [SHIPPED]).alerts != [raised]


@pytest.mark.parametrize("parts", [2, 3])
def test_shares_of_the_subjects_give_together_what_one_pass_gives(
    files: Sequence[Log], raised: list[Alert], parts: int
) -> None:
    """Although what a partition has been watched for, and the fence, are everybody's."""
    found, events = list[Alert](), 0
    for part in range(parts):
        judge = Judge([SHIPPED], "Asia/Bangkok", Span(), Share(part, parts))
        for one in files:
            for _ in judge.judge(one):
                pass
        found += judge.told.alerts[0]
        events += judge.told.events
    assert in_time(found) == raised
    assert events == backtest(files, [SHIPPED]).events


def test_a_share_knows_how_long_its_partition_was_watched_by_the_events_of_all(tmp_path: Path) -> None:
    """Eight accounts come a week after the first event, which is another's: live they are new no more."""
    first = event("2026-03-02 10:00", rows=1)
    others = [event("2026-03-12 10:00", actor=f"a{n}", actor_type="unknown", rows=60_000) for n in range(8)]
    write(tmp_path / file_name(TOPIC, 0, 0), [frame([first, *others])])
    (log,) = logs_in(tmp_path)
    found = list[Alert]()
    for part in range(2):
        judge = Judge([SHIPPED], "Asia/Bangkok", Span(), Share(part, 2))
        assert [told.events for told in judge.judge(log)] not in ([0], [9])
        found += judge.told.alerts[0]
    assert in_time(found) == backtest([log], [SHIPPED]).alerts[0]
    assert len(found) == 8


def test_processes_give_the_same_and_count_together(
    files: Sequence[Log], raised: list[Alert], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them, each with partitions of its own."""
    monkeypatch.setattr(spread, "SMALL_BYTES", 0)
    counts: list[int] = []
    assert len(shared_out(files, 2)) == 2
    told = backtest(files, [SHIPPED], processes=2, progress=counts.append)
    assert told.alerts == [raised]
    assert counts[-1] == told.events


def test_a_file_from_anywhere_is_one_partition_of_each_platform(tmp_path: Path) -> None:
    """Two platforms in two files, whose names say nothing: the earlier events come first."""
    history = [event(f"2026-03-{day:02} 10:00", rows=500, platform=p) for day in range(2, 24) for p in ("a", "b")]
    theft = [event("2026-03-24 10:10", rows=60_000, platform="b")]
    for name, events in (("z-first", history), ("a-last", theft)):
        write(tmp_path / f"{name}.avro", [frame(events)])
    (loose,) = logs_in(tmp_path)
    assert isinstance(loose, LooseFiles)
    found = backtest([loose], [SHIPPED]).alerts[0]
    assert {(alert.platform, alert.evidence[0].topic) for alert in found} == {("b", "rua.events.b")}


def test_offsets_are_counted_from_the_name_where_the_file_holds_none(tmp_path: Path) -> None:
    """As Kafka Connect writes them."""
    path = tmp_path / f"{TOPIC}+2+0000000100.avro"
    write(path, [frame([event("2026-03-24 10:00", rows=60_000)], 7)])
    (log,) = logs_in(path)
    assert isinstance(log, PartitionFiles)
    with_offsets = backtest([log], [SHIPPED]).alerts[0][0].evidence[0]
    path.write_bytes(path.read_bytes().replace(b'"offset"', b'"places"'))
    without = backtest(logs_in(path), [SHIPPED]).alerts[0][0].evidence[0]
    assert (with_offsets.offset, without.offset, without.partition) == (7, 100, 2)


def test_only_what_was_raised_in_the_time_is_told_and_what_came_before_is_known(
    files: Sequence[Log], raised: list[Alert]
) -> None:
    """With all of the history, exactly the live alerts of that time; with none, others."""
    since, until = at("2026-03-16"), at("2026-03-20")
    wanted = [alert for alert in raised if since <= alert.raised_at < until]
    assert wanted
    assert backtest(files, [SHIPPED], span=Span(None, since, until)).alerts == [wanted]
    assert backtest(files, [SHIPPED], span=Span(since, since, until)).alerts != [wanted]


def test_one_detector_gives_its_own_alerts_of_all(files: Sequence[Log], raised: list[Alert]) -> None:
    """Though it reads fewer columns and keeps less."""
    for detector in DETECTORS:
        told = backtest(files, [replace(SHIPPED, ids=(detector.rule.id,))])
        assert told.alerts == [[alert for alert in raised if alert.detector == detector.rule.id]]


def test_two_versions_in_one_pass_give_what_each_gives_alone(files: Sequence[Log]) -> None:
    """Their states are apart."""
    other = Rules("other", changes=("bulk-export-volume.rows=1000", "off-hours.min_rows=50"))
    both = backtest(files, [SHIPPED, other]).alerts
    assert both == [backtest(files, [one]).alerts[0] for one in (SHIPPED, other)]
    assert both[0] != both[1]


def test_largest_logs_are_given_out_first_and_few_are_shared(tmp_path: Path) -> None:
    """Four alike for two processes: two each; one alone: half of its subjects each; a small one: no process at all."""
    big = [Sized(40 << 20) for _ in range(4)]
    assert [(len(logs), share) for logs, share in shared_out(big, 2)] == [(2, Share()), (2, Share())]
    assert shared_out(big[:1], 2) == [((big[0],), Share(0, 2)), ((big[0],), Share(1, 2))]
    assert shared_out([Sized(5)], 2) == [((Sized(5),), Share())]


def test_nothing_to_judge_is_said(tmp_path: Path) -> None:
    """An empty folder, a file that is not there, two files that begin at the same place."""
    with pytest.raises(BadConfiguration, match=r"holds no \.avro file"):
        logs_in(tmp_path)
    with pytest.raises(BadConfiguration, match="there is no such file"):
        logs_in(tmp_path / "x.avro")
    (tmp_path / "b").mkdir()
    for folder in (tmp_path, tmp_path / "b"):
        write(folder / file_name(TOPIC, 0, 0), [frame([event("2026-03-24 10:00")])])
    with pytest.raises(BadConfiguration, match="keep one of them"):
        logs_in(tmp_path)


def test_judging_does_not_import_pandas(tmp_path: Path) -> None:
    """Which is installed, since the feed needs it: it would cost each process, live ones too, a second and 40 MB."""
    write(tmp_path / "e.avro", [frame([event("2026-03-24 10:00", rows=60_000)])])
    code = (
        "import sys; from pathlib import Path\n"
        "from rua_streams.backtest.logs import logs_in; from rua_streams.backtest.rules import Rules\n"
        "from rua_streams.backtest.spread import backtest\n"
        "told = backtest(logs_in(Path(sys.argv[1])), [Rules('x')], processes=1)\n"
        "print(told.events, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout == "1 False\n"
