"""Where data goes, in words that may leave: kinds and host names of companies in clear, everything else keyed."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from rua_agents.labels import is_personal
from rua_agents.pseudonyms import Pseudonymiser

MOST_CHARACTERS = 2_048
_DOMAIN = re.compile(r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}", re.ASCII)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{1,14})://", re.ASCII | re.IGNORECASE)
STORES = frozenset(("s3", "s3a", "gs", "gcs", "azure", "abfs", "abfss", "wasb", "wasbs", "oss", "cos", "hdfs"))
"""Schemes whose first part is a bucket, not a host."""


def of_text(text: str, names: Pseudonymiser) -> str | None:
    """A URL, an address, a path or any name: `https:partner.example`, `s3:<pseudonym>`, `client:…`, `file:…`, `name:…`.

    None if there is nothing.
    """
    text = text.strip()[:MOST_CHARACTERS]
    if not text:
        return None
    found = _SCHEME.match(text)
    if found:
        return of_url(found[1].lower(), text, names)
    network = names.network(text)
    if network is not None:
        return f"client:{network}"
    if "/" in text or "\\" in text:
        return of_file(text, names)
    return f"name:{names.pseudonym('destination', text)}"


def of_url(scheme: str, url: str, names: Pseudonymiser) -> str:
    """A bucket as a pseudonym; a host by its domain name, if it has one, else by its network."""
    if scheme == "file":
        return of_file(url.partition("://")[2], names)
    try:
        host = (urlsplit(url).hostname or "").lower()
    except ValueError:
        host = ""
    if scheme in STORES or not host:
        return f"{scheme}:{names.pseudonym('destination', host or url)}"
    network = names.network(host)
    if network is not None:
        return f"{scheme}:{network}"
    # a domain names a company; a host inside the network, or what holds a number of somebody, may name a person
    clear = _DOMAIN.fullmatch(host) and not is_personal(host)
    return f"{scheme}:{host if clear else names.pseudonym('destination', host)}"


def of_file(path: str, names: Pseudonymiser) -> str:
    """A file on some disk."""
    return f"file:{names.pseudonym('file', path)}"
