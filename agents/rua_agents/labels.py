"""Values written by users, made fit to leave in clear: product names, registry ids, paths."""

from __future__ import annotations

import re
from urllib.parse import unquote

from rua_agents.canonical import BLANKS_AND_DASHES, western_digits
from rua_agents.memo import memo

MAX_CHARACTERS = 256
MAX_STEM_CHARACTERS = 64
TOKEN_CHARACTERS = 12
WORD_CHARACTERS = 24
FILES = frozenset(
    (
        *("csv", "tsv", "xls", "xlsx", "ods", "json", "jsonl", "ndjson", "xml", "sql", "dump", "bak"),
        *("parquet", "avro", "zip", "gz", "tgz", "tar", "zst", "bz2", "xz", "7z", "rar", "pdf"),
        *("db", "sqlite"),
    )
)
"""Extensions of files that hold data."""
# ITIL's kinds as ServiceNow and Jira number them. Any word would let names out, more digits telephone numbers.
_TICKET = re.compile(r"\b(?:INC|CHG|REQ|RITM|PRB|TASK)-?\d{1,8}\b", re.ASCII)
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]{0,39}", re.ASCII)
_LONG_NUMBER = re.compile(r"\d{5,}")
_BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
_REGISTRY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)
# Thai telephone numbers, other countries' with +, and the 13 digits of a Thai national id
_PERSONAL_NUMBER = re.compile(r"\+\d{8,}|(?:0|66)[1-9]\d{7,8}|\d{13}", re.ASCII)
_NUMBER_RUN = re.compile(rf"\+?[0-9](?:[._:(){BLANKS_AND_DASHES}]*[0-9])+")
_NAME_PART = re.compile(r'"((?:[^"]|"")*)"|[^".]+')
_SEPARATORS = re.compile(rf"[._:(){BLANKS_AND_DASHES}]")
_VERSION = re.compile(r"v\d{1,2}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", re.ASCII)
_PIECES = re.compile(r"[-_.+~]")
_DIGITS = re.compile(r"\d+(?:[ ._:-]*\d+)+|\d{2,}")
_EXTENSION = re.compile(r"(.*?)((?:\.[A-Za-z][A-Za-z0-9]{0,7}){1,2})", re.ASCII)
# what follows one of these is somebody, or what somebody typed, unless it is a common word
_PEOPLE = frozenset(
    (
        *("user", "users", "customer", "customers", "member", "members", "account", "accounts", "profile"),
        *("profiles", "buyer", "buyers", "people", "person", "employee", "employees", "staff", "u"),
        *("username", "guest", "guests", "patient", "patients", "contact", "contacts", "client", "clients"),
        *("owner", "author", "name", "names", "firstname", "lastname", "fullname", "nickname", "surname"),
        *("email", "emails", "phone", "phones", "mobile", "tel", "search", "find", "q", "query", "keyword"),
        *("keywords", "term"),
    )
)
_COMMON = frozenset(
    (
        *("export", "exports", "download", "downloads", "dump", "backup", "search", "query", "list", "me"),
        *("self", "new", "edit", "bulk", "batch", "count", "import", "all", "orders", "addresses"),
        *("settings", "login", "logout", "index", "products", "items", "customers", "users", "results"),
        "suggest",
    )
)
_PLACEHOLDER = re.compile(r"\{\w+\}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


@memo(8_192)
def product(text: str) -> str | None:
    """Name of a program from its own text (`curl/7.88.1` → curl), or None if that could hold something personal."""
    if text.startswith("Mozilla/"):
        return next((name for mark, name in _BROWSERS if f"{mark}/" in text), "Mozilla")
    first = text.strip().partition("/")[0].partition(" ")[0]
    return first if _PRODUCT.fullmatch(first) and not (_LONG_NUMBER.search(first) or is_personal(first)) else None


def is_personal(text: str) -> bool:
    """Whether an e-mail address, a telephone number or a national id stands in it, however its digits are grouped."""
    runs = _NUMBER_RUN.findall(western_digits(text))
    return "@" in text or any(_PERSONAL_NUMBER.fullmatch(_SEPARATORS.sub("", run)) for run in runs)


@memo(8_192)
def name_shape(name: str) -> str:
    """A name of a database, as it is unless it holds something personal: then as a path's segment would be."""
    return segment_shape(name) if is_personal(name) else name


@memo(8_192)
def table_shape(name: str) -> str:
    """A qualified SQL name, each of its parts likewise: any text can be a quoted identifier."""
    return _NAME_PART.sub(_part_shape, name) if is_personal(name) else name


def _part_shape(part: re.Match[str]) -> str:
    return name_shape(part[0]) if part[1] is None else f'"{name_shape(part[1])}"'


@memo(8_192)
def ticket(text: str) -> str | None:
    """The first ticket that a program's text names (`psql INC-4711` → INC-4711). Nothing else of the text leaves."""
    named = _TICKET.search(text)
    return named.group() if named else None


@memo(8_192)
def registry_id(text: str) -> str | None:
    """The id of a merchant or an app, or None if it looks like a person's number or address instead."""
    return text if _REGISTRY_ID.fullmatch(text) and not is_personal(text) else None


@memo(16_384)
def path_shape(path: str) -> str:
    """A URL's path without what names one person or thing: numbers, uuids, e-mail addresses, tokens, other scripts."""
    path = path.partition("?")[0].partition("#")[0]
    parts = [unquote(s) if "%" in s else s for s in path[: 8 * MAX_CHARACTERS].split("/")]
    pairs = zip(["", *parts], parts, strict=False)
    shapes = [_of_person(part) if before.lower() in _PEOPLE else segment_shape(part) for before, part in pairs]
    return "/".join(shapes)[:MAX_CHARACTERS]


def segment_shape(segment: str) -> str:  # noqa: PLR0911 - a table of cases
    """One segment of a path, likewise."""
    if segment.isalpha() and segment.isascii() and len(segment) <= WORD_CHARACTERS:
        return segment
    segment = segment.partition(";")[0]
    if segment.isdigit():
        return "{n}"
    if not segment or _VERSION.fullmatch(segment):
        return segment
    if "@" in segment or "%" in segment:
        return "{email}" if "@" in segment else "{encoded}"
    if _UUID.fullmatch(segment):
        return "{uuid}"
    found = _EXTENSION.fullmatch(segment)
    stem, extension = (found[1], found[2]) if found else (segment, "")
    if len(stem) > MAX_STEM_CHARACTERS or "=" in stem or any(_is_token(piece) for piece in _PIECES.split(stem)):
        return "{token}" + extension
    stem = _DIGITS.sub("{n}", _UNPRINTABLE.sub("{text}", stem))
    return ("{n}" if stem.isdigit() else stem) + extension


def _of_person(segment: str) -> str:
    """A segment that may be somebody's name: nobody can tell names from words, nor surnames from extensions."""
    shape = segment_shape(segment)
    stem, dot, extension = shape.partition(".")
    common = not stem or (stem.lower() in _COMMON and (not dot or extension.lower() in FILES))
    return shape if common or _PLACEHOLDER.fullmatch(shape) else "{id}"


def _is_token(piece: str) -> bool:
    """Letters and digits mixed at length, or longer than words are."""
    mixed = len(piece) >= TOKEN_CHARACTERS and not piece.isalpha() and not piece.isdigit()
    return (mixed or len(piece) > WORD_CHARACTERS) and piece.isascii()
