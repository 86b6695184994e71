"""Clock, logging, metrics and Kafka options."""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path

import pytest
from rua_common import kafka
from rua_common.clock import ManualClock, SystemClock, iso
from rua_common.errors import BadConfiguration
from rua_common.logging import configure, mask
from rua_common.metrics import CATALOGUE, Metrics


def test_times_are_written_with_milliseconds_and_z() -> None:
    """One spelling everywhere."""
    assert iso(1_772_445_600_500) == "2026-03-02T10:00:00.500Z"


def test_a_manual_clock_moves_only_when_told() -> None:
    """And the system's clock runs by itself."""
    clock = ManualClock(1_000)
    clock.advance(2.5)
    assert clock.now_ms() == 3_500
    assert SystemClock().now_ms() > 1_700_000_000_000


def test_secrets_are_masked_in_logs() -> None:
    """Whatever spelling they come in."""
    assert mask("password=hunter2 host=db") == "password=*** host=db"
    assert mask('{"token": "abc def"}') == '{"token": ***}'
    assert mask("nothing to hide") == "nothing to hide"


def test_log_records_are_one_json_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thai text is kept readable."""
    out = io.StringIO()
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr("sys.stderr", out)
    configure("INFO", as_json=True)
    logging.getLogger("rua.test").warning("รั้ว api_key=%s", "k1")
    line = json.loads(out.getvalue())
    assert line["message"] == "รั้ว api_key=***"
    assert line["level"] == "warning"


def test_metrics_are_written_in_prometheus_text() -> None:
    """Counters add, gauges are set, labels are escaped."""
    metrics = Metrics()
    metrics.add("rua_agent_events_total", 2, fate="acked")
    metrics.add("rua_agent_events_total", 3, fate="acked")
    metrics.set("rua_agent_lag_bytes", 7, file='a"b')
    assert 'rua_agent_events_total{fate="acked"} 5\n' in metrics.text()
    assert 'rua_agent_lag_bytes{file="a\\"b"} 7\n' in metrics.text()


def test_a_metric_outside_the_catalogue_or_with_other_labels_is_refused() -> None:
    """The catalogue is the only place where metrics are made."""
    with pytest.raises(KeyError):
        Metrics().add("rua_made_up")
    with pytest.raises(KeyError):
        Metrics().add("rua_agent_events_total", colour="red")


def test_metric_names_are_unique_and_counters_end_in_total() -> None:
    """Prometheus' own naming rules."""
    assert len({m.name for m in CATALOGUE}) == len(CATALOGUE)
    assert all(m.name.endswith("_total") == (m.kind == "counter") for m in CATALOGUE)


def test_kafka_options_come_from_the_environment(tmp_path: Path) -> None:
    """The password comes from a file and is never part of the options."""
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    options = kafka.from_environment(
        {
            "RUA_KAFKA_BOOTSTRAP": "k:9093",
            "RUA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "RUA_KAFKA_USERNAME": "detect",
            "RUA_KAFKA_PASSWORD_FILE": str(secret),
        }
    )
    assert options.librdkafka()["sasl.password"] == "s3cret"
    assert "s3cret" not in repr(options)


def test_a_missing_address_or_password_file_is_named(tmp_path: Path) -> None:
    """Before any connection is tried."""
    with pytest.raises(BadConfiguration, match="RUA_KAFKA_BOOTSTRAP"):
        kafka.from_environment({})
    login: kafka.Protocol = "SASL_SSL"
    none = str(tmp_path / "none")
    absent = kafka.KafkaOptions(bootstrap="k:1", security_protocol=login, username="u", password_file=none)
    with pytest.raises(BadConfiguration, match="password_file"):
        absent.librdkafka()


def test_an_unknown_protocol_is_refused() -> None:
    """With the allowed ones in the text."""
    with pytest.raises(BadConfiguration, match="Invalid enum value"):
        kafka.from_environment({"RUA_KAFKA_BOOTSTRAP": "k:1", "RUA_KAFKA_SECURITY_PROTOCOL": "SASL_TLS"})


def test_every_producer_partitions_as_the_java_family_does() -> None:
    """An actor's state must never be split over partitions."""
    assert kafka.PRODUCER["partitioner"] == "murmur2_random"
    assert kafka.PRODUCER["enable.idempotence"] is True


def options(folder: Path, **given: str) -> kafka.KafkaOptions:
    """Kafka options; a value that ends in `_file` is what stands in that file."""
    for name, text in given.items():
        if name.endswith("_file"):
            (folder / name).write_text(text)
            given[name] = str(folder / name)
    return kafka.KafkaOptions(bootstrap="b:1", **given)  # type: ignore[arg-type]  # checked by the options themselves


def test_each_login_becomes_what_librdkafka_wants(tmp_path: Path) -> None:
    """PLAIN, SCRAM, mTLS; a secret's line end is none of it."""
    scram = options(tmp_path, security_protocol="SASL_SSL", username="u", password_file="p w\n", ca_file="ca")
    assert (
        scram.librdkafka().items()
        >= {
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "u",
            "sasl.password": "p w",
            "ssl.ca.location": str(tmp_path / "ca_file"),
        }.items()
    )
    mutual = options(tmp_path, security_protocol="SSL", certificate_file="c", key_file="k").librdkafka()
    assert mutual["ssl.certificate.location"] == str(tmp_path / "certificate_file")
    assert "sasl.mechanism" not in mutual
    oidc = options(
        tmp_path,
        security_protocol="SASL_SSL",
        mechanism="OAUTHBEARER",
        oauth_token_endpoint="https://idp/token",
        oauth_client_id="agent",
        oauth_client_secret_file="s3cret\n",
        oauth_scope="kafka",
    ).librdkafka()
    assert {name: value for name, value in oidc.items() if "oauthbearer" in name} == {
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": "https://idp/token",
        "sasl.oauthbearer.client.id": "agent",
        "sasl.oauthbearer.client.secret": "s3cret",
        "sasl.oauthbearer.scope": "kafka",
    }


def test_a_token_is_read_from_its_file_each_time_and_tells_its_own_end(tmp_path: Path) -> None:
    """Somebody else keeps it fresh; one that does not say when it ends is read again after minutes."""
    one = options(tmp_path, security_protocol="SASL_SSL", mechanism="OAUTHBEARER", oauth_token_file="opaque\n")
    ask = one.librdkafka()["oauth_cb"]
    found, end = ask("")
    assert found == "opaque"
    assert 0 < end - SystemClock().now_ms() / 1_000 <= kafka.TOKEN_SECONDS
    claims = base64.urlsafe_b64encode(b'{"exp":4000000000}').decode().rstrip("=")
    (tmp_path / "oauth_token_file").write_text(f"h.{claims}.s")
    assert ask("") == (f"h.{claims}.s", 4_000_000_000.0)
    claims = base64.urlsafe_b64encode(b'{"exp":1700000000}').decode().rstrip("=")
    (tmp_path / "oauth_token_file").write_text(f"h.{claims}.s")
    with pytest.raises(BadConfiguration, match="its token ended"):
        ask("")
    (tmp_path / "oauth_token_file").unlink()
    with pytest.raises(BadConfiguration, match="cannot be read"):
        ask("")


@pytest.mark.parametrize("token", ["", "a.b", "a.!.c", "a.e30.c", "a.W10.c", "a.eyJleHAiOiJ4In0.c", "a.b.c.d"])
def test_another_kind_of_token_has_no_end(token: str) -> None:
    """And breaks nothing."""
    assert kafka.token_end(token) is None


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"username": "u"}, "kafka.security_protocol"),
        ({"mechanism": "OAUTHBEARER"}, "kafka.security_protocol"),
        ({"ca_file": "x"}, "kafka.security_protocol"),
        ({"security_protocol": "SASL_SSL"}, "kafka.username"),
        ({"security_protocol": "SASL_SSL", "username": "u"}, "kafka.password_file"),
        ({"security_protocol": "SSL", "certificate_file": "x"}, "kafka.certificate_file"),
        ({"security_protocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}, "kafka.mechanism"),
        (
            {"security_protocol": "SASL_SSL", "mechanism": "OAUTHBEARER", "oauth_token_endpoint": "https://i"},
            "kafka.mechanism",
        ),
    ],
)
def test_half_a_login_is_refused_by_its_key(tmp_path: Path, given: dict[str, str], key: str) -> None:
    """What is given must have an effect: a user name without SASL would go unnoticed until somebody wonders."""
    with pytest.raises(BadConfiguration) as caught:
        options(tmp_path, **given).librdkafka()
    assert caught.value.key == key
