"""Demonstration data only: made-up staff, shops and traffic under the names of five platforms.

Nothing here was measured at, or comes from, any of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """What distinguishes one platform in the simulation.

    Attributes:
        name: Platform id.
        title: For people.
        database: Name of its database.
        customers, orders, addresses: Tables that hold personal data, as written in SQL.
        network: First two numbers of its private addresses.
        pace: Traffic in proportion to the others.
    """

    name: str
    title: str
    database: str
    customers: str
    orders: str
    addresses: str
    network: str
    pace: float


PROFILES: tuple[Profile, ...] = (
    Profile("lazada", "Lazada (demo data)", "shop", "customers", "orders", "addresses", "10.21", 1.7),
    Profile("shopee", "Shopee (demo data)", "mall", "buyers", "checkouts", "shipping_addresses", "10.22", 1.9),
    Profile("jd", "JD (demo data)", "retail", "members", "orders", '"ที่อยู่"', "10.23", 1.3),
    Profile(
        "shopback", "ShopBack (demo data)", "cashback", "members", "cashback_orders", "payout_accounts", "10.24", 1.2
    ),
    Profile(
        "thailandpostmart", "Thailand Postmart (demo data)", "postmart", '"ลูกค้า"', "parcels", '"ที่อยู่"', "10.25", 1.2
    ),
)
APPS = ("app-chomchob", "app-sellsuk", "app-orderlink", "app-chatdee", "app-stockrua")
FIRST_NAMES = (
    *("somchai", "malee", "arthit", "ploy", "niran", "suda", "kittisak", "wanida", "prasert", "anong"),
    *("chaiwat", "duangjai", "ekachai", "fahsai", "jirayu", "kanya", "lalita", "manop", "nattapong", "orawan"),
    *("pichai", "ratana", "sakda", "thida", "udom", "veera", "waraporn", "yupa", "boonmee", "chompoo"),
)
THAI_NAMES = ("ศิริพร", "มะลิ", "อาทิตย์", "สุดา", "นิรันดร์")
