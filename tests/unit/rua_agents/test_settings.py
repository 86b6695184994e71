"""A configuration error names file, line, key and what would be allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from rua_agents.settings import load
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
        ("pgaudit-jsonlog", "pgaudit", 6, "allowed: nginx-json, pgaudit-jsonlog"),
        ("Asia/Bangkok", "Asia/Bangkog", 6, "no such time zone"),
        ("query_keys", "query_key", 9, "allowed: fields, query_keys"),
        ("[type]", "type", 9, "query_keys"),
        ("platform: lazada", "platform: Lazada!", 1, "lower-case"),
        ("state_dir", "statedir", 3, "statedir"),
        ("platform: lazada", "limits: {record_bytes: -5}\nplatform: lazada", 1, "allowed: 1024 to 268435456"),
        ("paths: [/var/log/nginx/a.log]", "paths: []", 8, "names no file"),
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
