"""Debian's packages, unpacked beside the system for a comparison: nothing is installed, nothing is changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

URI = re.compile(r"'[^']*' ([^_\s]+)_\S+\.deb ")
LIBRARIES = ("usr/lib/*-linux-gnu", "lib/*-linux-gnu", "usr/lib/syslog-ng")


class NoPackages(Exception):
    """The text says why, and what to do."""


def unpacked(*names: str) -> Path:
    """The root under which these packages, and those that they need and the machine lacks, are unpacked.

    Raises:
        NoPackages: no apt here, or it knows no such package.
    """
    root = Path.home() / ".cache" / "rua" / "peers" / "+".join(sorted(names))
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        plan = _run("install", "--print-uris", "--yes", "-qq", "--no-install-recommends", *names)
        wanted = sorted({*names, *URI.findall(plan)})
        # the downloader's own user may not be allowed to write here; ours is
        _run("download", "-qq", "-o", "APT::Sandbox::User=", *wanted, folder=root)
        for package in sorted(root.glob("*.deb")):
            subprocess.run([tool("dpkg"), "--extract", str(package), str(root)], check=True)
            package.unlink()
        (root / "complete").touch()
    return root


def tool(name: str) -> str:
    """Where a program of Debian's is.

    Raises:
        NoPackages: not here.
    """
    path = shutil.which(name)
    if path is None:
        raise NoPackages(f"the peers are Debian's packages, and this machine has no {name}: run it on Debian")
    return path


def _run(*words: str, folder: Path | None = None) -> str:
    done = subprocess.run([tool("apt-get"), *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoPackages(f"apt-get {words[0]}: {done.stderr.strip()[-300:]} (as root: apt-get update, and once more)")
    return done.stdout


def found(root: Path, pattern: str) -> Path:
    """The one file or folder under a root that matches."""
    return next(iter(sorted(root.glob(pattern))))


def environment(root: Path) -> dict[str, str]:
    """The environment in which an unpacked program finds its libraries."""
    folders = [str(folder) for pattern in LIBRARIES for folder in root.glob(pattern)]
    return {**os.environ, "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": ":".join(folders)}
