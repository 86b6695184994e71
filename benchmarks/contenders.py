"""Agents that follow one file into one topic: how each is configured and started. Side by side in `agent_peers`."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from benchmarks.debian import environment, found, unpacked

KAFKA = ("compression.codec", "lz4"), ("linger.ms", "50"), ("acks", "all")
"""The peers' Kafka options; Debian's librdkafka knows no zstd. Rua: zstd level 1, idempotent, linger 50 ms."""


class Job(NamedTuple):
    """What to do."""

    log: Path
    bootstrap: str
    topic: str
    folder: Path
    """Where it may write; the same after a kill."""


class Contender(ABC):
    """One way to do it."""

    name: str
    does: str

    @abstractmethod
    def prepare(self, job: Job) -> None:
        """Writes its configuration."""

    @abstractmethod
    def command(self, job: Job) -> tuple[list[str], dict[str, str]]:
        """Command line and environment."""


class Rua(Contender):
    """Ours."""

    name = "rua"
    does = "parses, pseudonymises, chains, Avro"

    def prepare(self, job: Job) -> None:
        """The topic must be named for the platform."""
        key = job.folder / "key"
        if not key.exists():
            key.write_bytes(bytes(range(32)))
            key.chmod(0o400)
        (job.folder / "agent.yaml").write_text(
            f"platform: {job.topic.removeprefix('rua.events.')}\nkey_file: {key}\nstate_dir: {job.folder / 'state'}\n"
            f"kafka: {{bootstrap: '{job.bootstrap}'}}\nagent_id: bench\n"
            f"sources: [{{source: nginx-json, paths: ['{job.log}']}}]\n"
        )

    def command(self, job: Job) -> tuple[list[str], dict[str, str]]:
        """As a service runs it."""
        words = [sys.executable, "-m", "rua_agents", "run", "-c", str(job.folder / "agent.yaml")]
        return words, {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}


class Rsyslog(Contender):
    """imfile and omkafka; `parses` adds mmjsonparse and writes the parsed object again."""

    def __init__(self, *, parses: bool) -> None:
        self.name = "rsyslog json" if parses else "rsyslog raw"
        self.does = "parses, writes JSON" if parses else "forwards the line"
        self._parses = parses
        self._root = unpacked("rsyslog", "rsyslog-kafka")

    def prepare(self, job: Job) -> None:
        """At least once: it never gives up on the broker, and keeps its place each 1,000 lines."""
        options = ", ".join(f'"{name}={value}"' for name, value in KAFKA)
        template = (
            'template(name="out" type="list") { property(name="$!all-json") }'
            if self._parses
            else 'template(name="out" type="string" string="%msg%")'
        )
        parse = 'action(type="mmjsonparse" cookie="")' if self._parses else ""
        (job.folder / "rs.conf").write_text(f"""
global(workDirectory="{job.folder}" maxMessageSize="64k")
module(load="imfile")
module(load="mmjsonparse")
module(load="omkafka")
{template}
input(type="imfile" File="{job.log}" Tag="bench" ruleset="bench" PersistStateInterval="1000")
ruleset(name="bench") {{
  {parse}
  action(type="omkafka" broker=["{job.bootstrap}"] topic="{job.topic}" template="out"
         confParam=[{options}] action.resumeRetryCount="-1" action.resumeInterval="1")
}}
""")

    def command(self, job: Job) -> tuple[list[str], dict[str, str]]:
        """In the foreground."""
        modules = found(self._root, "usr/lib/*/rsyslog")
        program = self._root / "usr/sbin/rsyslogd"
        words = [
            str(program),
            "-n",
            "-f",
            str(job.folder / "rs.conf"),
            "-i",
            str(job.folder / "pid"),
            "-M",
            str(modules),
        ]
        return words, environment(self._root)


class SyslogNg(Contender):
    """file() and kafka-c(); `parses` adds json-parser() and writes the parsed object again."""

    def __init__(self, *, parses: bool) -> None:
        self.name = "syslog-ng json" if parses else "syslog-ng raw"
        self.does = "parses, writes JSON" if parses else "forwards the line"
        self._parses = parses
        self._root = unpacked("syslog-ng-core", "syslog-ng-mod-rdkafka")

    def prepare(self, job: Job) -> None:
        """With flow control, so that nothing is dropped while the broker is slow."""
        options = " ".join(f'"{name}" => "{value}"' for name, value in KAFKA)
        message = (
            "$(format-json --scope none --key .j.* --rekey .j.* --shift-levels 2)" if self._parses else "${MESSAGE}"
        )
        parse = 'parser { json-parser(prefix(".j.")); };' if self._parses else ""
        (job.folder / "sng.conf").write_text(f"""@version: 3.38
options {{ log-msg-size(65536); stats-freq(0); time-reopen(1); }};
source s {{ file("{job.log}" flags(no-parse) log-fetch-limit(1000) log-iw-size(10000)); }};
destination d {{ kafka-c(bootstrap-servers("{job.bootstrap}") topic("{job.topic}") message("{message}")
                         config({options})); }};
log {{ source(s); {parse} destination(d); flags(flow-control); }};
""")

    def command(self, job: Job) -> tuple[list[str], dict[str, str]]:
        """In the foreground."""
        folder, modules = job.folder, found(self._root, "usr/lib/syslog-ng/3.*")
        files = {"-f": "sng.conf", "-R": "persist", "-c": "ctl", "-p": "pid"}
        words = [str(self._root / "usr/sbin/syslog-ng"), "-F", "--no-caps", f"--module-path={modules}"]
        words += [word for flag, name in files.items() for word in (flag, str(folder / name))]
        return words, environment(self._root)


def contenders() -> list[Contender]:
    """All of them. Comparable with ours are those that parse.

    Raises:
        NoPackages: the peers cannot be had here.
    """
    peers = [kind(parses=parses) for parses in (True, False) for kind in (Rsyslog, SyslogNg)]
    return [Rua(), *peers]
