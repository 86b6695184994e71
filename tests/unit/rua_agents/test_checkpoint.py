"""The checkpoint: the old one or the new one, never a torn one."""

from __future__ import annotations

from pathlib import Path

import pytest
from rua_agents.checkpoint import Checkpoint, CheckpointFile, FileState
from rua_common.errors import RuaError

STATE = FileState(path="/a", source="nginx-json", offset=5, stream={"source_id": None}, device=1, inode=2)
MADE = Checkpoint("lazada", 7, [STATE], watermark_ms=9)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """And only the owner may read it."""
    file = CheckpointFile(tmp_path)
    assert file.read("lazada") is None
    file.write(MADE)
    assert file.read("lazada") == MADE
    assert file.path.stat().st_mode & 0o077 == 0
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.json"]


def test_a_damaged_one_is_put_aside_and_everything_is_read_again(tmp_path: Path) -> None:
    """The agent starts anyway, and says so."""
    file = CheckpointFile(tmp_path)
    for damaged in (b"", b"{", b'{"platform":5}', b"\xff\xfe"):
        file.path.write_bytes(damaged)
        assert file.read("lazada") is None
        assert file.path.with_suffix(".damaged").read_bytes() == damaged


def test_one_that_is_torn_at_any_byte_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a power cut leaves it: shorter, or as long and filled with zeros; the agent starts and says so."""
    file = CheckpointFile(tmp_path)
    file.write(MADE)
    whole = file.path.read_bytes()
    for at in range(len(whole)):
        for torn in (whole[:at], whole[:at] + b"\0" * (len(whole) - at)):
            file.path.write_bytes(torn)
            assert file.read("lazada") is None
    assert caplog.text.count("is damaged") == 2 * len(whole)


def test_a_half_written_new_one_does_not_touch_the_old_one(tmp_path: Path) -> None:
    """As a power cut leaves it."""
    file = CheckpointFile(tmp_path)
    file.write(MADE)
    file.path.with_suffix(".new").write_bytes(b'{"half')
    assert file.read("lazada") == MADE


def test_another_platforms_checkpoint_is_refused(tmp_path: Path) -> None:
    """Its pseudonyms are of another key."""
    file = CheckpointFile(tmp_path)
    file.write(MADE)
    with pytest.raises(RuaError, match="another state_dir"):
        file.read("shopee")
