# ruff: noqa: E501 - a fault and what it replaces stand beside each other
"""Proves the tests of the detection engine: each planted fault must make them fail.

    python -m benchmarks.mutants [WORD …]     only faults whose text holds one of the words

About ten minutes. Exits with 1 and names the faults that lived.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE, TESTS = Path("streams/rua_streams"), Path("tests/unit/rua_streams")
FILES = ("test_cuts.py", "detectors", "test_engine.py", "test_state.py", "test_fence.py")
FIRST = {
    "fence.py": "test_fence.py",
    "state.py": "test_state.py",
    "facts.py": "test_engine.py",
}  # most likely to notice

MUTANTS: tuple[tuple[str, str, str], ...] = (
    # Sum
    ("features.py", "value = np.where(own > now - size, run[self.measure], 0)", "value = run[self.measure]"),
    ("features.py", "stays = leaves >= run.end[who]", "stays = leaves >= len(run)"),
    ("features.py", "ring, now[run.end - 1]", "ring, now[run.first]"),
    ("features.py", "who * SPAN + bucket + size)", "who * SPAN + bucket + size, side='right')"),
    ("features.py", "np.searchsorted(run.key * SPAN + now,", "np.searchsorted(now,"),
    ("features.py", "carried = head[key] - (head[key] - slot) % size", "carried = head[key] - slot"),
    ("features.py", "np.add.at(before, key, amount[: len(key)])", "pass"),
    # Daily
    ("features.py", "% size < (today - old[turned])[:, None]", "% size <= (today - old[turned])[:, None]"),
    ("features.py", "kept = np.where(gone, 0, ring[row])", "kept = ring[row]"),
    ("features.py", "held = day[run.key] - own_day < size", "held = day[run.key] - own_day <= size"),
    ("features.py", "flat[by_day.rows] = sums[by_day.end - 1]", "flat[by_day.rows] += sums[by_day.end - 1]"),
    ("features.py", "Days(np.where(held, total, 0), active", "Days(total, active"),
    ("features.py", "ring.shape[1] - 1 - active // 2", "ring.shape[1] - active // 2 - 2"),
    ("features.py", "squares = np.cumsum(np.where(ranked > 0,", "squares = np.cumsum(np.where(ranked >= 0,"),
    # Active
    ("features.py", "np.minimum(day - old, self.days)[turned]", "np.minimum(day - old, 1)[turned]"),
    ("features.py", "run[self.where] & (age < self.days)", "age < self.days"),
    ("features.py", "& np.uint64((1 << self.days) - 1)", "& np.uint64((2 << self.days) - 1)"),
    ("features.py", "np.uint64(1) << age[marks]", "np.uint64(1) << 0 * age[marks]"),
    # Since, Firsts
    ("features.py", 'state["seen"][run.row[mask]] = run.clock[mask]', 'state["seen"][run.rows] = run.clock[run.first]'),
    ("marks.py", "seen[uses.rows], tag[uses.rows]\n", "0, tag[uses.rows]\n"),
    ("marks.py", "begins = (held != own) |", "begins = (before == 0) |"),
    ("marks.py", "tag[uses.rows] = own[last]", "pass"),
    ("marks.py", "2 * items.rows + way[items.rows]]", "2 * items.rows]"),
    ("marks.py", "way[items.rows] = ways[items.end - 1]", "pass"),
    ("marks.py", "slots[order] = 2 * (items.row % self.sets) + ways", "slots[order] = 2 * (items.row % self.sets)"),
    # Latest, Opening
    ("marks.py", "inside = index >= run.first[run.key]", "inside = index >= 0"),
    ("marks.py", "state[name][run.row[mask]] = run[name][mask]", "state[name][run.row] = run[name]"),
    ("marks.py", "opens = mask & (step - before >= size)", "opens = mask & (step - before > size)"),
    ("marks.py", "counts = at >= bound", "counts = at > 0"),
    ("marks.py", 'counts &= run["wall"] // DAY == step', "pass"),
    ("marks.py", 'state["step"][run.row[mask]] = step[mask]', 'state["step"][run.row] = step'),
    ("marks.py", "uses.clock - before > self.forget", "uses.clock - before >= self.forget"),
    ("marks.py", "since = np.where(inside, uses.clock[start], began[uses.row])", "since = uses.clock[start]"),
    ("marks.py", "passed[first][uses.key] - taken[uses.row]", "passed[first][uses.key]"),
    ("marks.py", "base = np.where(inside, passed[start],", "base = np.where(inside, passed[first][uses.key],"),
    # Hours
    ("habits.py", "live = own // DAY == run.wall // DAY", "live = own > 0"),
    ("habits.py", "weekday = (old + 3) % 7", "weekday = (old + 2) % 7"),
    ("habits.py", "steps = np.minimum((day + 3) // 7 - (old + 3) // 7, 16)", "steps = np.minimum((day - old) // 7, 16)"),
    ("habits.py", "HELD = (1 << (WEEKS + 1)) - 1", "HELD = (1 << WEEKS) - 1"),
    ("habits.py", 'state["day"][rows], state["today"][rows] = day, 0', 'state["day"][rows] = day'),
    ("habits.py", "np.array([-1, 0, 1])", "np.array([0, 0, 1])"),
    ("habits.py", "np.where(weekday < 5, working, weekend)", "np.where(weekday < 6, working, weekend)"),
    ("habits.py", "(bits > 0).astype(np.uint16)", "(bits > 1).astype(np.uint16)"),
    # Episodes
    ("engine.py", 'before[run.first] = columns["hit"][rows]', "before[run.first] = 0"),
    ("engine.py", 'np.where(opens[run.first], 0, columns["level"][rows])', 'columns["level"][rows]'),
    ("engine.py", "inside = opened >= run.first[run.key]", "inside = opened >= 0"),
    ("engine.py", "run.clock - before > detector.rule.quiet", "run.clock - before >= detector.rule.quiet"),
    ("engine.py", "held = np.where(begins, carried,", "held = np.where(begins, 0,"),
    ("engine.py", "begins[run.first] = True", "pass"),
    ("engine.py", 'columns[f"{kind}_{name}"][rows] = values[last]', "pass"),
    ("engine.py", "run.clock[last], top[last]", "run.clock[last], level[last]"),
    ("engine.py", "min(int(begun), int(opener.at_ms[i]), at)", "int(begun)"),
    ("engine.py", "min(first.at_ms[i], cause.at_ms[row])", "first.at_ms[i]"),
    ("engine.py", "None if first.offset[i] < 0 else seen(first, i)", "seen(first, i)"),
    ("engine.py", "if where is None or where[row]", "if True"),
    ("engine.py", "(raw.bin.size() != 16).fill_null(value=True)", "raw.is_null()"),
    # Keys, clocks, subjects, rounds
    ("engine.py", 'run.clock = run.highest(run.clock, stored["clock"][rows])', "run.clock = run.highest(run.clock, 0 * rows)"),
    ("engine.py", 'run.wall = run.highest(run.wall, stored["wall"][rows])', "run.wall = run.highest(run.wall, 0 * rows)"),
    ("engine.py", "(events.rounds if feature.daily else [events])", "[events]"),
    ("engine.py", "np.array_equal(lane.clock, runs[\"actor\"].clock)", "True"),
    ("engine.py", "state.touch(rows)", "state.touch(rows[1:])"),
    ("engine.py", "frame = frame.filter(USABLE)", "pass"),
    ("engine.py", 'pl.when(pl.col("actor").str.len_bytes() > 0).then("actor")', 'pl.col("actor")'),
    ("engine.py", 'pl.lit(f"\\0{kind}:") + pl.col(column)', "pl.col(column)"),
    ("engine.py", "if not since[row]:", "if True:"),
    ("engine.py", "sorted(found, key=lambda f: (f[0], f[1].rule.id))", "sorted(found, key=lambda f: f[1].rule.id)"),
    ("runs.py", "np.where(before >= self.first[self.key], before, -1)", "before"),
    ("runs.py", "turns[self.first] = False", "pass"),
    ("runs.py", "raised[self.first] = np.maximum(raised[self.first], carried)", "raised[self.first] = carried"),
    ("runs.py", 'order = np.argsort(code, kind="stable")', 'order = np.argsort(-code, kind="stable")[::-1]'),
    # Facts
    ("facts.py", 'pl.col("observed_at") + AHEAD_MS', 'pl.col("observed_at") + MAX_TIME_MS'),
    ("facts.py", 'otherwise("observed_at")', 'otherwise("occurred_at")'),
    ("facts.py", ".clip(0, LIMIT)", ""),
    ("facts.py", "(date.dt.day() <= 3) | ", ""),
    ("facts.py", "date.dt.days_in_month() - date.dt.day() < 3", "date.dt.days_in_month() - date.dt.day() < 2"),
    ("features.py", "np.where(on_sale(number), 0, kept)", "kept"),
    ("features.py", "(over == 0) | (over == 1)", "over == 0"),
    ("facts.py", "EXPORT | (EGRESS & (ROWS >= MASS_ROWS)))", "EXPORT | (EGRESS & (ROWS > MASS_ROWS)))"),
    ("facts.py", "(EGRESS & (ROWS >= MASS_ROWS)).fill_null", "(EGRESS & (ROWS > MASS_ROWS)).fill_null"),
    ("facts.py", 'pl.coalesce("destination", pl.lit("client:") + pl.col("source_network"))', 'pl.col("destination")'),
    # What detectors share
    ("judging.py", 'view["person"] | (view.of(people) > 0)', 'view["person"]'),
    ("judging.py", 'view["ticket"] | (view.of(tickets) <= DAY)', 'view["ticket"]'),
    ("judging.py", 'view["season"] & ((job & ~person) | asked_for)', 'view["season"]'),
    ("judging.py", "(spread <= JOB_HOURS) | (spread >= SERVICE_HOURS)", "True"),
    ("habits.py", "reshape(-1, 7, 24).any(1).sum(1)", "reshape(-1, 7, 24).any(1).sum(1) * 0"),
    ("judging.py", "if value < LIMIT else", "if True else"),
    ("facts.py", "AT > BEHIND_S", "AT >= BEHIND_S + 300"),
    ("facts.py", '& ~OUTCOME.is_in(["denied", "failed"])\nEXPORT', '\nEXPORT'),
    # Fence, state
    ("fence.py", "fresh[order] = position > held", "fresh[order] = position >= held"),
    ("fence.py", "held[starts] = before", "held[starts] = -1"),
    ("fence.py", "Source(highest, max(day, one.seen))", "Source(one.highest, max(day, one.seen))"),
    ("fence.py", "np.maximum(lifted[starts], carried)", "lifted[starts]"),
    ("state.py", "gone[self.rows[PARTITION]] = False", "pass"),
    ("state.py", "self.touched, self.sizes = moved(self.touched)", "self.touched, self.sizes = np.zeros(capacity, np.bool_)"),
    ("state.py", "self.touched[rows] = False", "pass"),
    ("state.py", "if column in mine:", "if True:"),
    # Detectors
    ("detectors/bulk_export_volume.py", "cold & view[\"perhaps_machine\"] &", "cold &"),
    ("detectors/bulk_export_volume.py", "np.where(by_calendar(view, self.people, self.hours, self.tickets), self.season, self.usual_peak)", "self.usual_peak"),
    ("detectors/baseline_deviation.py", "season * usual.peak + 1)", "0)"),
    ("detectors/baseline_deviation.py", "np.where(known >= self.min_days,", "np.where(known > self.min_days,"),
    ("detectors/baseline_deviation.py", "np.maximum(factor * usual.peak, floor)", "floor"),
    ("detectors/off_hours.py", "& ~view[\"ticket\"]", ""),
    ("detectors/off_hours.py", "np.where(rare, np.ceil(self.part * usual.median), usual.peak + 1)", "self.part * usual.median"),
    ("detectors/privilege_then_export.py", "since <= self.within", "since < self.within"),
    ("detectors/first_seen_destination.py", "| program)", ")"),
    ("detectors/first_seen_destination.py", "np.where(client, view.of(self.told), view.of(self.activity))", "view.of(self.told)"),
    ("detectors/first_seen_destination.py", "used.age <= self.fresh", "used.age >= 0"),
    ("detectors/first_seen_destination.py", "(~client | (view.of(self.copies).peak == 0))", "True"),
)  # fmt: skip


def killed(name: str, old: str, new: str) -> bool:
    """Whether the tests notice the fault.

    Raises:
        ValueError: the text to replace does not occur exactly once.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / SOURCE, copy / "rua_streams")
        shutil.copytree(ROOT / TESTS, copy / TESTS)
        target = copy / "rua_streams" / name
        text = target.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{name}: {old!r} occurs {text.count(old)} times")
        target.write_text(text.replace(old, new), encoding="utf-8")
        run = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
        environment = {**os.environ, "RUA_MUTANT": "1", "PYTHONPATH": folder}
        first = FIRST.get(name, name.partition("/")[0])
        tests = [str(TESTS / file) for file in sorted(FILES, key=lambda file: file != first)]
        return (
            subprocess.run([*run, *tests], cwd=folder, capture_output=True, env=environment, check=False).returncode
            == 1
        )


def main(words: list[str]) -> int:
    """Plants each fault in turn."""
    chosen = [m for m in MUTANTS if not words or any(word in " ".join(m) for word in words)]
    lived = []
    for mutant in chosen:
        if not killed(*mutant):
            lived.append(mutant)
            print("lives:", *mutant, sep="\n  ", flush=True)
    print(f"{len(chosen) - len(lived)} of {len(chosen)} planted faults found")
    return 1 if lived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
