"""What is unusual and innocent, and therefore always there: a new joiner, a monthly report, an on-call night."""

from __future__ import annotations

from rua_demo.scene import HOUR_MS, Day, Platform
from rua_demo.statements import grant

ROWS_OF_A_MONTHLY_REPORT = 10  # times the usual


def welcome(at: Platform, day: Day) -> None:
    """The new joiner gets the rights of the job, by ticket."""
    dba, start = at.staff.dbas[0], day.midnight_ms + 9 * HOUR_MS + 120_000
    number = at.ticket("change", dba.login, start - HOUR_MS, 9)
    session = at.db.session(dba.login, f"{dba.tool} {number}", dba.office, start)
    session.run(start + 4_000, grant("analyst_role", at.staff.joiner.login), 0)
    session.close(start + 30_000)


def monthly_report(at: Platform, day: Day) -> None:
    """The finance analyst's report: ten times an ordinary day's rows, through the same tool, by ticket."""
    person = at.staff.analysts[0]
    usual = max(person.most_rows_a_day * 0.7, 100)
    start = day.midnight_ms + int(at.rng.uniform(person.first_hour + 1, person.last_hour - 2) * HOUR_MS)
    number = at.ticket("change", person.login, start - 2 * HOUR_MS, 12)
    session = at.db.session(person.login, f"{person.tool} {number}", person.office, start)
    for k in range(8):
        rows = int(usual * ROWS_OF_A_MONTHLY_REPORT / 8)
        session.run(start + 10_000 + k * 300_000, at.sql.queries[k % 3], rows, at.literal())
        person.rows_today += rows
    session.close(start + HOUR_MS)


def on_call_night(at: Platform, day: Day) -> None:
    """A DBA is woken: a ticket is open, and a few hundred rows are taken out to repair something."""
    person, start = at.staff.dbas[0], day.midnight_ms + int(at.rng.uniform(1, 3.5) * HOUR_MS)
    number = at.ticket("on-call", person.login, start - 900_000, 6)
    session = at.db.session(person.login, f"{person.tool} {number}", person.vpn, start)
    session.run(start + 5_000, at.sql.set_role, 0)
    for k in range(6):
        session.run(start + 60_000 + k * 45_000, at.sql.lookups[1], at.rng.randrange(1, 30), at.literal())
    session.run(start + 600_000, at.sql.export_orders, at.rng.randrange(200, 600), at.literal())
    session.run(start + 700_000, at.sql.change, 3, at.literal())
    session.run(start + 720_000, at.sql.reset_role, 0)
    session.close(start + 800_000)
