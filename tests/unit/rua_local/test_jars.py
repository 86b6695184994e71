"""Kafka's jars come whole and checked, or not at all; a small repository stands in for the real one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from rua_common.errors import RuaError
from rua_local import jars
from rua_local.process import free_port

CONTENT = {"one": b"PK one", "two": b"PK two" * 10_000}


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and counts what it was asked for."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        """Says nothing, but remembers the path."""
        self.asked.append(self.path)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two jars in a repository, a lock that names them, an empty cache; the requests that come."""
    lines = []
    for name, content in CONTENT.items():
        folder = tmp_path / "remote" / "org" / "example" / name / "1.0"
        folder.mkdir(parents=True)
        (folder / f"{name}-1.0.jar").write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  org.example:{name}:1.0\n")
    (tmp_path / "kafka.lock").write_text("".join(lines))
    monkeypatch.setattr(jars, "LOCK", tmp_path / "kafka.lock")
    monkeypatch.setenv("RUA_CACHE", str(tmp_path / "cache"))
    Quiet.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "remote"))) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("RUA_MAVEN_REPOSITORY", f"http://127.0.0.1:{server.server_address[1]}")
        yield Quiet.asked
        server.shutdown()


def files(library: Path) -> dict[str, bytes]:
    """Name and content of each jar."""
    return {path.name.removesuffix("-1.0.jar"): path.read_bytes() for path in library.iterdir()}


def test_they_are_fetched_once_whoever_asks(repository: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Two at once: one fetches, the other waits; afterwards nobody asks the network."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: jars.fetched(), range(2))
    assert first == second
    assert files(first) == CONTENT
    assert sum(path.endswith(".jar") for path in repository) == 2
    assert capsys.readouterr().err.count("fetching Apache Kafka") == 1
    before = len(repository)
    assert jars.fetched() == first
    assert len(repository) == before


def test_a_missing_jar_is_fetched_again(repository: list[str]) -> None:
    """And an AOT cache of the former files goes, and what an interrupted fetch left."""
    library = jars.fetched()
    (library / "one-1.0.jar").unlink()
    (library.parent / "classes.aot").touch()
    (library.parent / "fetching").mkdir()
    assert files(jars.fetched()) == CONTENT
    assert {path.name for path in library.parent.iterdir()} == {".lock", "lib"}
    assert repository


def test_another_file_than_the_locked_one_is_refused(repository: list[str], tmp_path: Path) -> None:
    """Whatever the repository says about it."""
    (tmp_path / "remote/org/example/two/1.0/two-1.0.jar").write_bytes(b"PK evil")
    with pytest.raises(RuaError, match=r"two-1\.0\.jar: its SHA-256"):
        jars.fetched()
    assert not (jars.cache() / "lib").exists()
    assert repository


@pytest.mark.usefixtures("repository")
def test_without_a_network_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy, mirror, a copied cache, or a Kafka that exists."""
    monkeypatch.setenv("RUA_MAVEN_REPOSITORY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(RuaError, match=r"(?s)cannot fetch.*RUA_MAVEN_REPOSITORY.*RUA_KAFKA_BOOTSTRAP"):
        jars.fetched()


def test_the_lock_names_every_jar_once() -> None:
    """With a whole SHA-256 and the version of Kafka that the code names."""
    locked = jars.locked()
    assert len({jar.file for jar in locked}) == len(locked)
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in locked)
    assert {jar.version for jar in locked if jar.group == "org.apache.kafka"} == {jars.KAFKA}
