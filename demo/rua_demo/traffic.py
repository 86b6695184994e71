"""An ordinary day at a platform, its unusual but innocent events included."""

from __future__ import annotations

from rua_demo.oddities import ROWS_OF_A_MONTHLY_REPORT, monthly_report, on_call_night, welcome
from rua_demo.people import Person
from rua_demo.scene import DAY_MS, HOUR_MS, Day, Platform
from rua_demo.web import requests
from rua_demo.writers import PgSession


def ordinary(at: Platform, day: Day) -> None:
    """Everything innocent that happens on one day."""
    _server(at, day)
    for person in at.staff.people:
        if day.number >= person.joined and (not day.weekend or person.weekend):
            _work(at, day, person)
    _services(at, day)
    requests(at, day)
    if day.number == at.staff.joiner.joined:
        welcome(at, day)
    if day.attack_day:
        monthly_report(at, day)
        on_call_night(at, day)
    for person in at.staff.people:
        person.close_day()


def _server(at: Platform, day: Day) -> None:
    for k in range(at.times(8)):
        at_ms = day.midnight_ms + int((k + at.rng.random()) * DAY_MS / (at.times(8) + 1)) % DAY_MS
        at.db.server(at_ms, "checkpoint starting: time")
        at.db.server(at_ms + 9_000, f"checkpoint complete: wrote {at.rng.randrange(9, 900)} buffers (0.4%)")


def _work(at: Platform, day: Day, person: Person) -> None:
    """A working day in a few sittings, each from the office or, now and then, through the VPN."""
    rng = at.rng
    person.days_at_work += 1
    address = person.vpn if rng.random() < 0.2 or (day.number - person.joined) in (1, 6) else person.office
    mood = min(max(rng.lognormvariate(0, 0.25), 0.5), 1.6)
    sittings = 3
    length_ms = (person.last_hour - person.first_hour) * HOUR_MS // sittings
    for k in range(sittings):
        start = day.midnight_ms + person.first_hour * HOUR_MS + k * length_ms + int(rng.random() * length_ms * 0.5)
        queries = max(round(person.queries * mood * at.scale / sittings), 1)
        _sitting(at, person, start, address, queries=queries, span_ms=length_ms // 2)
    if rng.random() < person.exports:
        start = day.midnight_ms + int(rng.uniform(person.first_hour + 0.2, person.last_hour - 0.5) * HOUR_MS)
        _export(at, person, start, address, int(person.rows * rng.uniform(2, 5)))


def _sitting(at: Platform, person: Person, start: int, address: str, *, queries: int, span_ms: int) -> None:
    session = at.db.session(person.login, person.tool, address, start)
    now, usual = start, at.sql.lookups if person.role == "support" else at.sql.queries
    for _ in range(queries):
        now += 2_000 + int(at.rng.random() * span_ms / queries)
        rows = max(int(person.rows * at.rng.uniform(0.4, 1.6)), 1)
        sql = at.rng.choice(usual)
        session.run(now, sql, rows, at.literal(), watched=person.role == "analyst" and at.rng.random() < 0.3)
        person.rows_today += rows
    _extras(at, person, session, now)
    session.close(now + 60_000)


def _extras(at: Platform, person: Person, session: PgSession, now: int) -> None:
    rng = at.rng
    if rng.random() < 0.2:
        session.note(now + 30, "SELECT", f"duration: {rng.uniform(0.2, 900):.3f} ms")
    if rng.random() < 0.05:
        session.fails(
            now + 900, "42703", 'column "emial" does not exist', "SELECT emial FROM x WHERE emial='a@b.example'"
        )
    if person.role == "dba" and rng.random() < 0.3:
        session.run(now + 1_000, at.sql.maintain, 0, at.literal())


def _export(at: Platform, person: Person, start: int, address: str, rows: int) -> None:
    person.days_with_export += 1
    session = at.db.session(person.login, person.tool, address, start)
    session.run(start + 1_500, at.rng.choice((at.sql.export, at.sql.export_orders)), rows, at.literal())
    person.rows_today += rows
    session.close(start + 9_000)


def _services(at: Platform, day: Day) -> None:
    rng, night = at.rng, day.midnight_ms
    home = f"{at.profile.network}.1."
    etl = at.db.session("svc_etl", "airflow", home + "20", night + HOUR_MS + rng.randrange(60_000))
    for k in range(at.times(30)):
        etl.run(
            etl.start_ms + 5_000 + k * 90_000, rng.choice(at.sql.batch), int(rng.uniform(8_000, 20_000)), at.literal()
        )
    etl.close(etl.start_ms + HOUR_MS)
    _backup(at, night + 2 * HOUR_MS + 1_800_000 + rng.randrange(60_000), home + "21")
    factor = ROWS_OF_A_MONTHLY_REPORT if day.attack_day else 1
    report = at.db.session("svc_report", "report-runner", home + "22", night + 5 * HOUR_MS + rng.randrange(60_000))
    for k in range(at.times(6)):
        rows = int(rng.uniform(900, 1_300) * factor)
        report.run(report.start_ms + 4_000 + k * 120_000, at.sql.export_orders, rows, at.literal())
    report.close(report.start_ms + HOUR_MS // 2)
    _cursor(at, night + 6 * HOUR_MS, home + "23")
    for k in range(at.times(18)):
        _application(at, night + int((k + rng.random()) * DAY_MS / (at.times(18) + 2)) % DAY_MS, home + "24")


def _backup(at: Platform, start: int, address: str) -> None:
    session = at.db.session("svc_backup", "pg_dump", address, start)
    session.run(start + 400, at.sql.lock, 0)
    session.run(start + 9_000, at.sql.copy_table, 0)
    session.close(start + 90_000)


def _cursor(at: Platform, start: int, address: str) -> None:
    session = at.db.session("svc_search", "indexer", address, start)
    session.run(start + 100, at.sql.begin, 0)
    session.run(start + 200, at.sql.declare, 0)
    for k in range(at.times(10)):
        session.run(start + 1_000 + k * 700, at.sql.fetch, 0)
    session.run(start + 60_000, at.sql.commit, 0)
    session.close(start + 61_000)


def _application(at: Platform, start: int, address: str) -> None:
    session = at.db.session("svc_app", "api-server", address, start)
    now = start
    for _ in range(12):
        now += at.rng.randrange(200, 40_000)
        sql = at.sql.change if at.rng.random() < 0.1 else at.rng.choice(at.sql.lookups)
        session.run(now, sql, 1 + at.rng.randrange(3), at.literal())
    session.close(now + 500)
