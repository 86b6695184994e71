"""Apache Kafka, the real thing, as one local node: for development, demonstrations and tests, never for production.

By hand: `python -m rua_local.kafka --data DIR [--port N]` prints the address and runs until Ctrl-C.
"""

from __future__ import annotations

import argparse
import base64
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from rua_common.errors import RuaError

from rua_local import jars
from rua_local.process import Child, Service, ServiceFailed, free_port, listening, require_free

PROPERTIES = Path(__file__).with_name("kafka.properties")


class EmbeddedKafka(Service):
    """A KRaft node of its own on 127.0.0.1, without security. It dies with this process.

    Args:
        data_dir: keeps topics, offsets and transactions over restarts, and the log file `broker.log`.
        port: of the clients; a free one when not given, the same after `stop` or `kill` and `start`.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        super().__init__(Child("Apache Kafka", self.data_dir / "broker.log"))

    def start(self) -> None:
        """Starts the node, at the first time also formats its data directory, and waits until it answers.

        Raises:
            RuaError: the jars cannot be fetched, port or directory are taken, or the node did not come up.
        """
        if self.pid is not None:
            return
        with self._child.starting():
            require_free(self.port, "Apache Kafka")
            self._configure()
            if not (self._topics / "meta.properties").exists():
                self._format()
            command = jars.java("kafka.Kafka", [str(self._properties)], record=self._recording)
            # the node opens its clients' port only when it is registered and has caught up with its metadata
            self._child.start(command, ready=lambda: listening(self.port))

    def stop(self) -> None:
        """Stops it cleanly, and keeps what the first run recorded to start faster."""
        super().stop()
        jars.keep_recording(self._recording)

    @property
    def _topics(self) -> Path:
        return self.data_dir / "topics"

    @property
    def _properties(self) -> Path:
        return self.data_dir / "kafka.properties"

    @property
    def _recording(self) -> str:
        return f"{os.getpid()}-{self.port}"

    def _configure(self) -> None:
        text = PROPERTIES.read_text(encoding="utf-8")
        given = {"{data}": str(self._topics), "{port}": str(self.port), "{controller}": str(free_port())}
        for name, value in given.items():
            text = text.replace(name, value)
        self._properties.write_text(text, encoding="utf-8")

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # an id that begins with "-" would be taken for an option
        command = ["format", "--cluster-id", "A" + cluster[1:], "--config", str(self._properties)]
        done = subprocess.run(
            jars.java("kafka.tools.StorageTool", command), check=False, capture_output=True, text=True, timeout=120
        )
        if done.returncode != 0:
            raise ServiceFailed(f"Apache Kafka cannot prepare {self.data_dir}\n{done.stdout}{done.stderr}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a node until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m rua_local.kafka", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory that keeps everything")
    parser.add_argument("--port", type=int, help="port of 127.0.0.1 (default: a free one)")
    given = parser.parse_args(arguments)
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with EmbeddedKafka(given.data, port=given.port) as kafka:
            sys.stdout.write(f"{kafka.bootstrap}\n")
            sys.stdout.flush()
            signal.sigwait(signals)
    except RuaError as why:
        sys.stderr.write(f"{why}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
