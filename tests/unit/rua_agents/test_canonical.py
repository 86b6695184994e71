"""One person has one spelling."""

from __future__ import annotations

import ipaddress
import unicodedata

import pytest
from hypothesis import given, strategies as st
from rua_agents.canonical import canonical_address, canonical_name, canonical_phone, canonical_text, packed_address

THAI = str.maketrans("0123456789", "๐๑๒๓๔๕๖๗๘๙")
MOBILES = st.from_regex(r"[689][0-9]{8}", fullmatch=True)
SEPARATORS = st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2011"])


@pytest.mark.parametrize(
    "written",
    [
        *("0812345678", "081-234-5678", "081 234 5678", "081.234.5678", "(081) 234-5678", " 081-2345678 "),
        *("+66812345678", "+66 81 234 5678", "+66-81-234-5678", "+66 (0)81 234 5678", "+66081-234-5678"),
        *("0066812345678", "66812345678", "๐๘๑-๒๓๔-๕๖๗๘", "+๖๖ ๘๑ ๒๓๔ ๕๖๗๘"),
    ],
)
def test_every_spelling_of_a_thai_mobile_is_one(written: str) -> None:
    """In E.164."""
    assert canonical_name(written) == "+66812345678"


def test_fixed_lines_and_numbers_from_abroad() -> None:
    """The latter only after a +: without it nobody can tell a number from an id."""
    assert canonical_name("02-123-4567") == canonical_name("+66 2 123 4567") == "+6621234567"
    assert canonical_name("+65 6123 4567") == "+6561234567"
    assert canonical_name("+1 (212) 555-0100") == "+12125550100"


@pytest.mark.parametrize(
    "name",
    [
        *("6561234567", "12345678", "order-0812345678", "0812345678901", "2026-03-02 10:00", "01", "+", "0" * 30),
        *("1-1001-12345-67-8", "66212345678", "10.0.0.1", "bi,tool", "สมชาย"),
    ],
)
def test_what_is_no_number_stays_a_name(name: str) -> None:
    """Two people must not become one."""
    assert canonical_phone(name) is None
    assert canonical_name(name) == canonical_text(name)


def test_email_addresses_have_one_spelling() -> None:
    """Case, brackets, mailto and the domain's script do not make another person; a tag after + does."""
    for written in ("Somchai@Shop.CO.TH", " <somchai@shop.co.th> ", "mailto:somchai@shop.co.th", "somchai@shop.co.th."):
        assert canonical_name(written) == "somchai@shop.co.th"
    assert canonical_name("ana@ไทย.ไทย") == canonical_name("ana@xn--o3cw4h.xn--o3cw4h")
    assert canonical_name("ana+1@shop.co.th") != canonical_name("ana@shop.co.th")
    assert canonical_name(f"ana@{'ก' * 70}.th") == f"ana@{'ก' * 70}.th"


@given(number=MOBILES, cuts=st.lists(st.tuples(st.integers(1, 8), SEPARATORS), max_size=4), thai=st.booleans())
def test_however_a_mobile_is_grouped_it_is_the_same(number: str, cuts: list[tuple[int, str]], thai: bool) -> None:
    """Separators and scripts are no part of a number."""
    parts = list(number)
    for place, separator in cuts:
        parts[place] = separator + parts[place] if len(parts[place]) == 1 else parts[place]
    text = "".join(parts).translate(THAI) if thai else "".join(parts)
    assert {canonical_name(before + text) for before in ("0", "+66", "+66 ", "+66 (0)")} == {"+66" + number}


@given(st.text(max_size=40))
def test_a_canonical_name_is_its_own(name: str) -> None:
    """Normalising twice changes nothing, whatever Unicode holds; and composition never matters."""
    assert canonical_name(canonical_name(name)) == canonical_name(name)
    assert canonical_text(canonical_text(name)) == canonical_text(name)
    for form in ("NFC", "NFD"):
        assert canonical_text(unicodedata.normalize(form, name)) == canonical_text(name)


@given(st.text(alphabet="0๑9+ ()-.6@<>:m", max_size=24))
def test_awkward_numbers_and_addresses_are_stable_too(name: str) -> None:
    """Texts made of what numbers and addresses consist of."""
    assert canonical_name(canonical_name(name)) == canonical_name(name)


@given(st.ip_addresses())
def test_addresses_are_read_as_the_standard_library_does(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Only faster; a mapped IPv4 address is that IPv4 address."""
    mapped = getattr(address, "ipv4_mapped", None)
    assert packed_address(f" {address} ") == (mapped or address).packed
    assert canonical_address(str(address)) == canonical_address(address.exploded)


@pytest.mark.parametrize("odd", ["10.0.0.1\0", "\ud800", "10.0.0", "db.example", "", "::1::", "๑.๑.๑.๑"])
def test_what_is_no_address_is_none(odd: str) -> None:
    """Whatever a user writes there, nothing raises."""
    assert packed_address(odd) is None
