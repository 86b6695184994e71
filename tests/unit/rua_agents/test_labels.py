"""Values written by users, made fit to leave in clear."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rua_agents.labels import name_shape, path_shape, product, registry_id, table_shape


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/export/customers.csv", "/export/customers.csv"),
        ("/api/v2/orders/1234567/items", "/api/v2/orders/{n}/items"),
        ("/u/ana%40example.com/x", "/u/{email}/x"),
        ("/u/ana%2540example.com", "/u/{encoded}"),
        ("/d/8097c84c-9182-4e99-a55a-88bc4b167edf", "/d/{uuid}"),
        ("/t/eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "/t/{token}"),
        ("/p/081-234-5678", "/p/{n}"),
        ("/p/+66812345678/a", "/p/+{n}/a"),
        ("/r/orders-2026-03-02.csv.gz", "/r/orders-{n}.csv.gz"),
        ("/k/%E0%B8%AA%E0%B8%A1%E0%B8%8A%E0%B8%B2%E0%B8%A2.csv", "/k/{text}.csv"),
        ("/users/somchai/orders", "/users/{id}/orders"),
        ("/customers/export.csv", "/customers/export.csv"),
        ("/customers/somchai99.csv", "/customers/{id}"),
        ("/profile/somchai.jaidee", "/profile/{id}"),
        ("/profile/new.jaidee", "/profile/{id}"),
        ("/profile/abc1234567890.jaidee", "/profile/{id}"),
        ("/name/Somchai", "/name/{id}"),
        ("/api/search/somchai/items", "/api/search/{id}/items"),
        ("/q/Jaidee", "/q/{id}"),
        ("/keyword/nid%20noi", "/keyword/{id}"),
        ("/customers/search", "/customers/search"),
        ("/search/orders", "/search/orders"),
        ("/users/s", "/users/{id}"),
        ("/a;jsessionid=ABC?token=abc#x", "/a"),
    ],
)
def test_a_path_keeps_its_shape_only(path: str, shape: str) -> None:
    """What names one person or thing becomes a placeholder."""
    assert path_shape(path) == shape


@given(st.from_regex(r"0[689]\d{8}|\d{13}|[a-z]{3,9}@[a-z]{3,9}\.com", fullmatch=True))
def test_no_phone_number_national_id_or_e_mail_address_survives(personal: str) -> None:
    """In a path, a product or a registry id."""
    assert personal not in path_shape(f"/users/{personal}/x")
    assert personal not in (product(personal) or "")
    assert registry_id(personal) is None


def test_product_names_are_kept_and_nothing_else() -> None:
    """A program is one; a sentence or a number is not."""
    assert product("curl/7.88.1") == "curl"
    assert product("pos-sync") == "pos-sync"
    assert product("Mozilla/5.0 (X11) AppleWebKit/537.36 Chrome/141.0 Safari/537.36") == "Chrome"
    assert product("ana@example.com") is None
    assert product("call0812345678") is None
    assert product("call-081-234-5678/1.0") is None
    assert product("pos-2024-11-15/1.0") == "pos-2024-11-15"
    assert product("081bot/1.0") is None


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ('public."zq122leak@mail.example"', 'public."{email}"'),
        ('"a@b.example"."Tel 081-234-5678"', '"{email}"."Tel {n}"'),
        ("public.t_0812345678", "public.t_{n}"),
        ('public."we ird,""tbl"', 'public."we ird,""tbl"'),
        ('public."Orders_20240101"', 'public."Orders_20240101"'),
        ("shop.orders_202411", "shop.orders_202411"),
    ],
)
def test_a_table_named_by_a_person_keeps_its_shape_only(name: str, shape: str) -> None:
    """E-mail addresses and telephone numbers go as they go from a path; every other name stays as it is."""
    assert table_shape(name) == shape


def test_a_database_named_by_a_person_keeps_its_shape_only() -> None:
    """It is not quoted, whatever it holds."""
    assert name_shape("ana@mail.example") == "{email}"
    assert name_shape("shop_2024") == "shop_2024"


def test_registry_ids_stay_in_clear() -> None:
    """They are how a third-party app is recognised across platforms."""
    assert registry_id("m-000123") == "m-000123"
    assert registry_id("100012345") == "100012345"
    assert registry_id("two words") is None
