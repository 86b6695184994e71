"""The agent against a Kafka with TLS, logins and rights: right ways work, wrong ones are told with their cure."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from confluent_kafka.admin import AdminClient
from rua_agents.broker import BrokerHealth
from rua_agents.emitter import Emitter, SendingFailed
from rua_agents.settings import Limits
from rua_common.clock import SystemClock
from rua_common.errors import BadConfiguration
from rua_common.kafka import KafkaOptions
from rua_schemas import topics
from rua_schemas.diagnose import CURES, diagnose, newest_ms

from tests.agent_rig import START_MS, parse, web_line
from tests.secured_kafka import SecuredKafka

pytestmark = pytest.mark.kafka
PLATFORM, OTHER, USER = "shop", "shop2", "agent-shop"
RIGHT = "correct horse"
WAIT_SECONDS = 30.0
WRITES = [topics.events_topic(PLATFORM), topics.HEARTBEATS, topics.DLQ]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """With the topics of two platforms, and a user who may write one of them."""
    node = SecuredKafka(tmp_path_factory.mktemp("secured"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("JDK_JAVA_OPTIONS", node.java_options)
        node.start()
    try:
        topics.apply(AdminClient({"bootstrap.servers": node.bootstrap}), [PLATFORM, OTHER], replication=1)
        node.add_users(**{USER: RIGHT})
        node.permit(USER, WRITES)
        yield node
    finally:
        node.stop()


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """The file with the right password."""
    path = tmp_path / "password"
    path.write_text(RIGHT + "\n")
    return str(path)


def right(secured: SecuredKafka, secret: str, **changed: str | None) -> KafkaOptions:
    """How an agent should connect, but for what a test changes."""
    given: dict[str, str | None] = {
        "bootstrap": secured.address("clients"),
        "security_protocol": "SASL_SSL",
        "username": USER,
        "password_file": secret,
        "ca_file": secured.ca_file,
    }
    return KafkaOptions(**{k: v for k, v in (given | changed).items() if v is not None})  # type: ignore[arg-type]


def emitter(options: KafkaOptions, platform: str = PLATFORM) -> tuple[Emitter, BrokerHealth]:
    """An emitter with one event on its way."""
    health = BrokerHealth(options)
    one = Emitter(options, platform, "agent-1", Limits(), clock=SystemClock(), health=health)
    one.begin(START_MS)
    one.send(parse("nginx-json", web_line(START_MS))[0])
    return one, health


def delivered(options: KafkaOptions) -> bool:
    """Whether the event arrives."""
    one, _ = emitter(options)
    end = time.monotonic() + WAIT_SECONDS
    while not one.drain(0.1) and time.monotonic() < end:
        pass
    return one.acked == 1


def trouble(options: KafkaOptions, words: str) -> str:
    """What the running agent says until these words occur in it; the event stays where it is."""
    one, health = emitter(options)
    end = time.monotonic() + WAIT_SECONDS
    while words not in str(health.problem) and time.monotonic() < end:
        one.poll(0.05)
        health.watch(one.answers, one.waiting_messages, time.monotonic())
    assert one.acked == 0
    one.close()
    return str(health.problem)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
def test_a_right_login_sends_and_check_finds_nothing(
    secured: SecuredKafka, secret: str, tmp_path: Path, mechanism: str
) -> None:
    """Over TLS, by any mechanism."""
    if mechanism == "PLAIN":
        (tmp_path / "password").write_text("plain word")
    options = right(secured, secret, mechanism=mechanism)
    assert diagnose(options, writes=WRITES) == []
    assert newest_ms(options, topics.HEARTBEATS) is None  # the right to write is enough to ask
    assert delivered(options)


def test_a_client_certificate_is_a_login(secured: SecuredKafka) -> None:
    """mTLS: the user is the certificate's name."""
    certificate, key = secured.client_certificate(USER)
    mutual = KafkaOptions(
        bootstrap=secured.address("mutual"),
        security_protocol="SSL",
        ca_file=secured.ca_file,
        certificate_file=certificate,
        key_file=key,
    )
    assert diagnose(mutual, writes=WRITES) == []
    assert delivered(mutual)
    without = KafkaOptions(bootstrap=secured.address("mutual"), security_protocol="SSL", ca_file=secured.ca_file)
    assert CURES["client_cert"] in "".join(diagnose(without, writes=WRITES))
    assert CURES["client_cert"] in trouble(without, CURES["client_cert"])


def test_a_token_from_a_file_is_a_login_and_an_old_one_is_refused(secured: SecuredKafka, tmp_path: Path) -> None:
    """OAUTHBEARER; somebody else keeps the file fresh."""
    file = tmp_path / "token"
    file.write_text(secured.token(USER))
    options = right(
        secured,
        "",
        bootstrap=secured.address("tokens"),
        mechanism="OAUTHBEARER",
        username=None,
        password_file=None,
        oauth_token_file=str(file),
    )
    assert delivered(options)
    file.write_text(secured.token(USER, seconds=-3_600))
    with pytest.raises(BadConfiguration, match=r"its token ended 3\d\d\d s ago"):
        emitter(options)
    file.write_text(secured.token("agent-unknown"))
    assert CURES["topic_denied"].format(operation="WRITE") in "".join(diagnose(options, writes=WRITES))


class _TokenEndpoint(BaseHTTPRequestHandler):
    """Gives a token to whoever knows the secret."""

    token = ""

    def do_POST(self) -> None:
        """As OpenID Connect's client credentials."""
        self.rfile.read(int(self.headers["Content-Length"]))
        known = "YWdlbnQ6czNjcmV0" in self.headers.get("Authorization", "")  # agent:s3cret
        body = f'{{"access_token":"{self.token}","token_type":"Bearer","expires_in":300}}' if known else "{}"
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_a_token_from_an_endpoint_is_a_login(secured: SecuredKafka, tmp_path: Path) -> None:
    """OAUTHBEARER with OpenID Connect: the client's secret comes from a file."""
    _TokenEndpoint.token = secured.token(USER)
    (tmp_path / "secret").write_text("s3cret\n")
    with HTTPServer(("127.0.0.1", 0), _TokenEndpoint) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        options = right(
            secured,
            "",
            bootstrap=secured.address("tokens"),
            mechanism="OAUTHBEARER",
            username=None,
            password_file=None,
            oauth_token_endpoint=f"http://127.0.0.1:{server.server_port}/token",
            oauth_client_id="agent",
            oauth_client_secret_file=str(tmp_path / "secret"),
        )
        assert delivered(options)
        server.shutdown()


def test_a_wrong_password_is_told_and_never_logged(
    secured: SecuredKafka, secret: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By check and by a running agent, which waits: the password may be put right. Nor is the right one."""
    caplog.set_level(logging.DEBUG)
    (tmp_path / "wrong").write_text("hunter2-wrong")
    options = right(secured, secret, password_file=str(tmp_path / "wrong"))
    found = "".join(diagnose(options, writes=WRITES))
    assert CURES["login"] in found
    assert "password_file" in trouble(options, "password_file")
    assert "hunter2" not in caplog.text + found
    assert RIGHT not in caplog.text


@pytest.mark.parametrize(
    ("changed", "cure"),
    [
        ({"ca_file": "stranger"}, "unknown_ca"),
        ({"bootstrap": "foreign"}, "hostname"),
        ({"security_protocol": "PLAINTEXT", "username": None, "password_file": None, "ca_file": None}, "tls"),
        ({"bootstrap": "inside"}, "not_tls"),
    ],
)
def test_what_is_wrong_with_tls_is_told_apart(
    secured: SecuredKafka, secret: str, changed: dict[str, str | None], cure: str
) -> None:
    """Librdkafka has one text for most of these; check and the running agent name each with its cure."""
    changed = dict(changed)
    if changed.get("ca_file"):
        changed["ca_file"] = secured.strange_ca_file
    if "bootstrap" in changed:
        changed["bootstrap"] = secured.address(str(changed["bootstrap"]))
    options = right(secured, secret, **changed)
    assert CURES[cure] in "".join(diagnose(options, writes=WRITES))
    assert CURES[cure] in trouble(options, CURES[cure])


def test_another_platforms_topic_is_refused(secured: SecuredKafka, secret: str) -> None:
    """The topic proves the platform, so the right to write it is all that counts; `shop` does not open `shop2`."""
    options = right(secured, secret)
    denied = diagnose(options, writes=[topics.events_topic(OTHER)])
    assert denied == [f"topic {topics.events_topic(OTHER)}: {CURES['topic_denied'].format(operation='WRITE')}"]
    one, _ = emitter(options, OTHER)
    with pytest.raises(SendingFailed, match="grant this agent's user WRITE on the topic, LITERAL"):
        deque(map(one.poll, 600 * [0.05]), maxlen=0)
