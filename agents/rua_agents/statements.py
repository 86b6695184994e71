"""SQL texts to facts. The text never leaves: its literals are removed by the grammar, the rest is a keyed hash.

sqlglot's tokenizer takes about 50 µs a statement, so texts that differ in simple literals only share one entry of a
cache. A text that cannot be tokenised has no fingerprint: it is dropped.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec
from sqlglot.tokenizer_core import Token

from rua_agents.pseudonyms import Pseudonymiser
from rua_agents.sqlfacts import MAX_NAMES, NOTHING, SUPERUSERS, FactReader, Facts
from rua_agents.sqltext import DEFAULT_DIALECT, shape_of, tokenise, without_simple_literals

__all__ = ["MAX_NAMES", "NOTHING", "SUPERUSERS", "Facts", "Statements", "shape_of", "tokenise"]

CACHED = 4_096
CACHED_CHARACTERS = 16_384
MAX_CHARACTERS = 1 << 16
"""Of a text are looked at: the tokenizer takes 2 µs each, and any login can write statements of megabytes."""
# facts of these come from no literal
_SHARED = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)
_NAMES_A_PLACE = re.compile(r"FILE|FUNCTION", re.IGNORECASE)
# what may be open where the head of a long text ends
CLOSERS = ("", "'", '"', "*/", "$$", "`")


class Statements:
    """Facts of statement texts of one SQL dialect (a name that sqlglot knows), cached."""

    def __init__(self, pseudonymiser: Pseudonymiser, dialect: str = DEFAULT_DIALECT) -> None:
        self._pseudonym, self._dialect = pseudonymiser.pseudonym, dialect
        self._reader = FactReader(self._pseudonym, dialect)
        self._last = "", NOTHING
        self._fingerprint = lru_cache(CACHED)(self._fingerprint_of)
        self._facts = lru_cache(CACHED)(self._facts_of)

    def fingerprint(self, text: str) -> str | None:
        """Keyed hash of the text's shape, or None if it cannot be tokenised."""
        return self.plain(text).fingerprint

    def plain(self, text: str) -> Facts:
        """The fingerprint alone: all that a SELECT or a change of data tells where the source names its table."""
        if text != self._last[0]:  # OBJECT and SESSION records repeat the text
            self._last = text, Facts(self._shared(text) if len(text) <= MAX_CHARACTERS else None)
        return self._last[1]

    def _shared(self, text: str) -> str | None:
        """Of a text whose simple literals are replaced first, so that many texts share one entry of the cache."""
        text = without_simple_literals(text, self._dialect)
        return self._fingerprint(text) if len(text) <= CACHED_CHARACTERS else self._fingerprint_of(text)

    def facts(self, text: str) -> Facts:
        """All that a statement (COPY, FETCH, GRANT, SELECT … INTO OUTFILE …) tells; of a long one, what its head tells.

        A file's or a user's name may be a literal: only texts without such share entries of the cache as in `plain`.
        """
        if _SHARED.match(text) and not _NAMES_A_PLACE.search(text, 0, MAX_CHARACTERS):
            text = without_simple_literals(text, self._dialect) if len(text) <= MAX_CHARACTERS else text
        if len(text) <= CACHED_CHARACTERS:
            return self._facts(text)
        if len(text) <= MAX_CHARACTERS:
            return self._facts_of(text)
        return self.head(text)

    def head(self, text: str) -> Facts:
        """What the head of a text tells that is long, or was cut by its source: there is no fingerprint of a part."""
        heads = (self._tokens(text[:MAX_CHARACTERS] + closer) for closer in CLOSERS)
        return msgspec.structs.replace(self._reader.read(next(filter(None, heads), [])), partial=True)

    def _tokens(self, text: str) -> list[Token]:
        return tokenise(text, self._dialect)

    def _fingerprint_of(self, text: str) -> str | None:
        tokens = self._tokens(text)
        return self._pseudonym("statement", shape_of(tokens)) if tokens else None

    def _facts_of(self, text: str) -> Facts:
        tokens = self._tokens(text)
        if not tokens:
            return NOTHING
        fingerprint = self._pseudonym("statement", shape_of(tokens))
        return msgspec.structs.replace(self._reader.read(tokens), fingerprint=fingerprint)
