"""How any part of Rua connects to Kafka: one set of options, from settings or the environment, nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rua_common.errors import BadConfiguration
from rua_common.settings import Struct

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]


class KafkaOptions(Struct, frozen=True, kw_only=True):
    """Where the brokers are and how to log in. A password comes from a file, never from the configuration itself."""

    bootstrap: str
    security_protocol: Protocol = "PLAINTEXT"
    username: str | None = None
    password_file: str | None = None
    mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] = "SCRAM-SHA-512"
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    session_timeout_seconds: float = 45.0

    def librdkafka(self) -> dict[str, Any]:
        """Client properties for confluent-kafka. Every producer partitions as the Java family does."""
        options: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security_protocol,
            "log_level": 3,
        }
        if self.username is not None:
            options |= {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.username,
                "sasl.password": self.password(),
            }
        files = {
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.certificate_file,
            "ssl.key.location": self.key_file,
        }
        return options | {name: value for name, value in files.items() if value is not None}

    def password(self) -> str:
        """The password, read anew each time, so that a rotated secret is seen at the next start."""
        if self.password_file is None:
            raise BadConfiguration("a user name needs password_file", key="kafka.password_file")
        try:
            return Path(self.password_file).read_text(encoding="utf-8").strip()
        except OSError as why:
            raise BadConfiguration(
                f"cannot be read: {why.strerror}", file=self.password_file, key="kafka.password_file"
            ) from why


def from_environment(environ: Mapping[str, str] = os.environ) -> KafkaOptions:
    """Options from `RUA_KAFKA_BOOTSTRAP`, and where needed `RUA_KAFKA_USERNAME`, `RUA_KAFKA_PASSWORD_FILE` and so on.

    Raises:
        BadConfiguration: the address is missing or a value is not allowed.
    """
    from msgspec import ValidationError, convert  # noqa: PLC0415 - keeps the import of this module light

    names = {f: f"RUA_KAFKA_{f.upper()}" for f in KafkaOptions.__struct_fields__}
    given = {field: environ[name] for field, name in names.items() if name in environ}
    if not given.get("bootstrap"):
        raise BadConfiguration("set it to host:port of a broker, or use `rua up`", key=names["bootstrap"])
    try:
        return convert(given, KafkaOptions, strict=False)
    except ValidationError as why:
        raise BadConfiguration(str(why), key="RUA_KAFKA_…") from why


PRODUCER: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "zstd",
    # librdkafka's default agrees with the Java family on few keys; an actor's state must never be split
    "partitioner": "murmur2_random",
}
