"""Logging to stderr, one line a record, as text or JSON, with secrets masked."""

from __future__ import annotations

import json
import logging
import re
import sys

from rua_common.clock import iso

_SECRET = re.compile(
    r"(?i)\b(password|secret|token|api[_-]?key|authorization)\b([\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|\S+)"
)


def mask(text: str) -> str:
    """The text with the values of anything that looks like a secret replaced."""
    return _SECRET.sub(r"\1\2***", text)


class _Line(logging.Formatter):
    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self.as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        message = mask(record.getMessage())
        if record.exc_info:
            message += "\n" + mask(self.formatException(record.exc_info))
        at = iso(int(record.created * 1_000))
        if self.as_json:
            fields = {"at": at, "level": record.levelname.lower(), "logger": record.name, "message": message}
            return json.dumps(fields, ensure_ascii=False)
        return f"{at} {record.levelname:<7} {record.name}: {message}"


def configure(level: str = "INFO", *, as_json: bool = False) -> None:
    """Sends every logger to stderr. Call once, at the start of a process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(as_json=as_json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
