"""Debian's packages for tests, unpacked beside the system: nothing is installed, nothing of the machine is changed.

Where they are kept: `RUA_PACKAGES`, by default a folder of the user in the temporary directory. With
`RUA_APT_INSTALL=1` a missing package may be installed instead (as root, in a container that is thrown away).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

_URI = re.compile(r"'[^']*' ([^_\s]+)_[^\s]+\.deb ")
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "lib/aarch64-linux-gnu")


def _run(*words: str, cwd: Path | None = None) -> str:
    """A program's output; the test fails with what it said if it fails."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(words)}: {done.stderr.strip()[-600:]}", pytrace=False)
    return done.stdout


def _needs_apt() -> None:
    missing = [name for name in ("apt-get", "apt-cache", "dpkg") if shutil.which(name) is None]
    if missing:
        pytest.fail(
            f"make test-sources takes real servers from Debian's packages, and this machine has no {missing[0]}: "
            "run it on Debian or Ubuntu, e.g. in a container of debian:12",
            pytrace=False,
        )


def newest(pattern: str) -> str:
    """The package with the highest number in its name that matches, e.g. `^postgresql-[0-9]+-pgaudit$`."""
    _needs_apt()
    found = _run("apt-cache", "search", "--names-only", pattern).split("\n")
    names = [line.split(" ")[0] for line in found if line]
    if not names:
        pytest.fail(f"apt knows no package {pattern}: run apt-get update first", pytrace=False)
    return max(names, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])


def unpacked(*names: str) -> Path:
    """The root under which these packages, and those that they need and the machine lacks, are unpacked."""
    _needs_apt()
    if os.environ.get("RUA_APT_INSTALL") == "1":
        _run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *names)
        return Path("/")
    default = Path(tempfile.gettempdir()) / f"rua-packages-{os.getuid()}"
    root = Path(os.environ.get("RUA_PACKAGES", default)) / "+".join(sorted(names))
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        _unpack(root, names)
        (root / "complete").touch()
    return root


def _unpack(root: Path, names: Sequence[str]) -> None:
    plan = _run("apt-get", "install", "--print-uris", "--yes", "--quiet=2", "--no-install-recommends", *names)
    wanted = sorted({*names, *_URI.findall(plan)})
    # the downloader's own user may not be allowed to write here; ours is
    _run("apt-get", "download", "--quiet=2", "-o", "APT::Sandbox::User=", *wanted, cwd=root)
    for package in sorted(root.glob("*.deb")):
        _run("dpkg", "--extract", str(package), str(root))
        package.unlink()


def environment(root: Path) -> dict[str, str]:
    """The environment in which an unpacked program finds its libraries."""
    found = [str(root / folder) for folder in LIBRARIES if (root / folder).is_dir()] if root != Path("/") else []
    return {**os.environ, "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": ":".join(found)}


def unprivileged(words: Sequence[str]) -> list[str]:
    """The same command as a user without rights: servers refuse to run as root."""
    if os.getuid() != 0:
        return list(words)
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--", *words]


def folder_of_nobody() -> Path:
    """A new folder that the user of `unprivileged` owns, and everybody may enter; its path is short enough for sockets.

    The caller removes it.
    """
    made = Path(tempfile.mkdtemp(prefix="rua-"))
    made.chmod(0o755)
    if os.getuid() == 0:
        shutil.chown(made, "nobody", "nogroup")
    return made
