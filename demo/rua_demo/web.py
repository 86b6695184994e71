"""An ordinary day of a platform's web server: back office, sellers, partners' apps, noise."""

from __future__ import annotations

from collections.abc import Callable

from rua_demo.people import Merchant, Person
from rua_demo.profiles import APPS
from rua_demo.scene import CSV, DAY_MS, HOUR_MS, Day, Platform

ODD_AGENTS = (
    *("curl/8.14.1", "python-requests/2.32", "okhttp/4.12.0", "ShopApp/9.8 (iOS 19)"),
    'bad \\"quote\\" \\\\ back',  # as nginx escapes it
)


def requests(at: Platform, day: Day) -> None:
    """Everything that the web server logs on one day."""
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
