"""A configuration error names file, line, key and what would be allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from rua_agents.collectors import COLLECTORS
from rua_agents.settings import address_of, load
from rua_common.errors import BadConfiguration

GOOD = """\
platform: lazada
key_file: /etc/rua/key
state_dir: /var/lib/rua-agent
kafka: {bootstrap: "127.0.0.1:9092"}
sources:
  - {source: pgaudit-jsonlog, paths: ["/var/log/pg/*.json"], zone: Asia/Bangkok, host: db-1}
  - source: nginx-json
    paths: [/var/log/nginx/a.log]
    options: {query_keys: [type]}
"""


def test_a_good_file_is_read(tmp_path: Path) -> None:
    """The agent's id is the host's name unless it is given."""
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD)
    found = load(path)
    assert found.agent_id
    assert found.sources[1].options == {"query_keys": ["type"]}
    assert found.limits.record_bytes == 1 << 20


@pytest.mark.parametrize(
    ("wrong", "right", "line", "says"),
    [
        ("pgaudit-jsonlog", "pgaudit", 6, f"allowed: {', '.join(sorted(COLLECTORS))}"),
        ("Asia/Bangkok", "Asia/Bangkog", 6, "no such time zone"),
        ("query_keys", "query_key", 9, "allowed: fields, query_keys"),
        ("[type]", "type", 9, "query_keys"),
        ("platform: lazada", "platform: Lazada!", 1, "lower-case"),
        ("state_dir", "statedir", 3, "statedir"),
        ("platform: lazada", "limits: {record_bytes: -5}\nplatform: lazada", 1, "allowed: 1024 to 268435456"),
        ("paths: [/var/log/nginx/a.log]", "paths: []", 8, "names no file"),
        ('"127.0.0.1:9092"', '"127.0.0.1:9092", username: ana', 4, "there is no login with PLAINTEXT"),
        ('"127.0.0.1:9092"', '"127.0.0.1:9092", mechanism: GSSAPI', 4, "SCRAM-SHA-512"),
        ("host: db-1", "socket: /run/a.sock", 6, "listens at no socket"),
        ("host: db-1", "envelope: lxc", 6, "allowed: cri, docker, none"),
        ("platform: lazada", "limits: {nice: 20}\nplatform: lazada", 1, "allowed: 0 to 19"),
        ("platform: lazada", "limits: {cpu_percent: -1}\nplatform: lazada", 1, "allowed: 0 to 10000"),
        ("platform: lazada", "disk: {full: panic}\nplatform: lazada", 1, "allowed: keep_reading, stop_reading"),
        ("platform: lazada", "disk: {min_free_bytes: -1}\nplatform: lazada", 1, "allowed: 0 or more"),
        ("platform: lazada", "http: {listen: 9469}\nplatform: lazada", 1, "http.listen"),
        ("platform: lazada", "http: {listen: 'x:70000'}\nplatform: lazada", 1, "no address with a port"),
        ("platform: lazada", "http: {listen: '0.0.0.0:70000'}\nplatform: lazada", 1, "no address with a port"),
    ],
)
def test_a_bad_one_is_refused(tmp_path: Path, wrong: str, right: str, line: int, says: str) -> None:
    """With its place and its cure."""
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD.replace(wrong, right))
    with pytest.raises(BadConfiguration) as caught:
        load(path)
    assert f"{path}:{line}: " in str(caught.value)
    assert says in str(caught.value)


def test_an_address_may_be_of_either_kind() -> None:
    """With its port, which is what a probe asks."""
    assert address_of("127.0.0.1:9469") == ("127.0.0.1", 9469)
    assert address_of("[::1]:0") == ("::1", 0)
