"""Which release of Rua this is, without `importlib.metadata`, which loads a mail parser (2 MB) to read one line."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

NAME = "rua"


@cache
def release() -> str:
    """The installed distribution's version: it stands in the name of the folder that describes it."""
    for folder in filter(None, sys.path):
        for found in Path(folder).glob(f"{NAME}-*.dist-info"):
            return found.name.removeprefix(f"{NAME}-").removesuffix(".dist-info")
    from importlib.metadata import version  # noqa: PLC0415 - installed in a way that is not a folder

    return version(NAME)
