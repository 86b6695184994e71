"""Values written by users, made fit to leave in clear."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rua_agents.labels import path_shape, product, registry_id


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
        ("/customers/somchai99.csv", "/customers/{id}.csv"),
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


def test_registry_ids_stay_in_clear() -> None:
    """They are how a third-party app is recognised across platforms."""
    assert registry_id("m-000123") == "m-000123"
    assert registry_id("100012345") == "100012345"
    assert registry_id("two words") is None
