"""Whether a pattern of paths can find anything at all: a directory that may not be read hides its files in silence."""

from __future__ import annotations

import glob
import os
from pathlib import Path


def directory_of(pattern: str) -> Path:
    """The deepest directory that the pattern names without a wildcard."""
    path = Path(pattern).parent
    while glob.has_magic(str(path)):
        path = path.parent
    return path


def problem_of(pattern: str) -> str | None:
    """Why nothing can be found there, with its cure; None if it can. A pattern may well match no file for now."""
    directory = directory_of(pattern)
    if not directory.is_dir():
        return f"{pattern}: the directory {directory} does not exist, or may not be seen by this user"
    if not os.access(directory, os.R_OK | os.X_OK):
        return f"{pattern}: the directory {directory} is not readable by this user: add it to the directory's group"
    return None
