"""How any part of Rua connects to Kafka: one set of options, from settings or the environment, nothing else."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rua_common.clock import SystemClock
from rua_common.errors import BadConfiguration
from rua_common.settings import Struct

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"]
TOKEN_SECONDS = 300.0
"""How long a token holds that does not say so itself."""


class KafkaOptions(Struct, frozen=True, kw_only=True):
    """Where the brokers are and how to log in. A secret comes from a file, never from the configuration itself.

    Attributes:
        bootstrap: `host:port` of brokers, separated by commas.
        security_protocol: with TLS (SSL) or without, with a login (SASL) or without.
        username: of PLAIN and SCRAM.
        password_file: likewise; read at each start.
        mechanism: how to log in.
        ca_file: certificate authority of the brokers; the system's unless given.
        certificate_file: client certificate (mTLS).
        key_file: its key.
        oauth_token_file: OAUTHBEARER with a token that somebody else keeps fresh in a file.
        oauth_token_endpoint: OAUTHBEARER with tokens from here, for the client below (OpenID Connect).
        oauth_client_id: the client.
        oauth_client_secret_file: its secret; read at each start.
        oauth_scope: what to ask for.
        session_timeout_seconds: a consumer silent for so long loses its partitions.
    """

    bootstrap: str
    security_protocol: Protocol = "PLAINTEXT"
    username: str | None = None
    password_file: str | None = None
    mechanism: Mechanism = "SCRAM-SHA-512"
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    oauth_token_file: str | None = None
    oauth_token_endpoint: str | None = None
    oauth_client_id: str | None = None
    oauth_client_secret_file: str | None = None
    oauth_scope: str | None = None
    session_timeout_seconds: float = 45.0

    def librdkafka(self) -> dict[str, Any]:
        """Client properties for confluent-kafka. Every producer partitions as the Java family does.

        Raises:
            BadConfiguration: the options do not fit together, or a secret's file cannot be read.
        """
        self.check()
        options: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security_protocol,
            "log_level": 3,
        }
        if self.logs_in:
            options["sasl.mechanism"] = self.mechanism
            options |= self._oauth() if self.mechanism == "OAUTHBEARER" else self._login()
        files = {
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.certificate_file,
            "ssl.key.location": self.key_file,
        }
        return options | {name: value for name, value in files.items() if value is not None}

    @property
    def logs_in(self) -> bool:
        """Whether there is a login: SASL."""
        return self.security_protocol.startswith("SASL")

    @property
    def uses_tls(self) -> bool:
        """Whether what goes over the wire is encrypted."""
        return self.security_protocol.endswith("SSL")

    def check(self) -> None:
        """What is given must have an effect, and nothing may be missing: half a login is refused by its name.

        Raises:
            BadConfiguration: names the key.
        """
        oauth = self.mechanism == "OAUTHBEARER"
        if self.logs_in and not oauth and self.username is None:
            raise BadConfiguration("a login needs username and password_file", key="kafka.username")
        if not self.logs_in and (self.username is not None or oauth):
            problem = f"there is no login with {self.security_protocol}"
            raise BadConfiguration(problem, key="kafka.security_protocol", allowed=["SASL_SSL", "SASL_PLAINTEXT"])
        if not self.uses_tls and (self.ca_file is not None or self.certificate_file is not None):
            problem = f"certificates have no effect with {self.security_protocol}"
            raise BadConfiguration(problem, key="kafka.security_protocol", allowed=["SSL", "SASL_SSL"])
        if (self.certificate_file is None) != (self.key_file is None):
            raise BadConfiguration("certificate_file and key_file belong together", key="kafka.certificate_file")
        from_file = self.oauth_token_file is not None
        endpoint = (self.oauth_token_endpoint, self.oauth_client_id, self.oauth_client_secret_file)
        if oauth and (None in endpoint) != from_file:
            needed = "oauth_token_file, or else oauth_token_endpoint, oauth_client_id and oauth_client_secret_file"
            raise BadConfiguration(f"OAUTHBEARER needs {needed}", key="kafka.mechanism")

    def password(self) -> str:
        """The password, read anew each time, so that a rotated secret is seen at the next start."""
        if self.password_file is None:
            raise BadConfiguration("a user name needs password_file", key="kafka.password_file")
        return _secret(self.password_file, "kafka.password_file")

    def _login(self) -> dict[str, Any]:
        return {"sasl.username": self.username, "sasl.password": self.password()}

    def _oauth(self) -> dict[str, Any]:
        if self.oauth_token_file is not None:
            path = self.oauth_token_file
            _token(path)  # a missing file, an old token: told now, in words, and not by the broker
            return {"oauth_cb": lambda _: _token(path)}
        options = {
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": self.oauth_token_endpoint,
            "sasl.oauthbearer.client.id": self.oauth_client_id,
            "sasl.oauthbearer.client.secret": _secret(
                self.oauth_client_secret_file or "", "kafka.oauth_client_secret_file"
            ),
        }
        return options | ({"sasl.oauthbearer.scope": self.oauth_scope} if self.oauth_scope else {})


def _secret(path: str, key: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as why:
        problem = f"cannot be read: {why.strerror}" if isinstance(why, OSError) else "is no text"
        raise BadConfiguration(problem, file=path, key=key) from why


def _token(path: str) -> tuple[str, float]:
    """The token in a file, and when it ends, in seconds since the epoch: librdkafka asks again before that."""
    token, now = _secret(path, "kafka.oauth_token_file"), SystemClock().now_ms() / 1_000
    end = token_end(token) or now + TOKEN_SECONDS
    if end <= now:
        problem = f"its token ended {now - end:.0f} s ago: does whoever keeps it fresh still run?"
        raise BadConfiguration(problem, file=path, key="kafka.oauth_token_file")
    return token, end


def token_end(token: str) -> float | None:
    """When a JSON Web Token ends by its own claim `exp`; None if it is another kind of token, or does not say."""
    from msgspec import DecodeError, json  # noqa: PLC0415 - keeps the import of this module light

    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (DecodeError, ValueError, TypeError, KeyError):
        return None


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
