"""Files that hold keys: who may read them, and which key holds when."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rua_agents import keyfile
from rua_agents.keyfile import DAY_MS, KeyEpoch, create_key_file, read_keys, read_secret, single, write_secret
from rua_common.errors import BadConfiguration

KEY = b"k" * 32
OTHER = b"o" * 32
SUMMER_MS = 1_782_838_800_000  # 2026-07-01 00:00 in Bangkok


def file_of(folder: Path, content: bytes | str, mode: int = 0o400) -> Path:
    """A key file."""
    path = folder / "key"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def listed(*entries: Mapping[str, Any]) -> str:
    """The list that a person would write."""
    return "".join("- " + "\n  ".join(f"{k}: {v}" for k, v in entry.items()) + "\n" for entry in entries)


FIRST = {"epoch": 1, "from": "2026-01-01", "key": KEY.hex()}
SECOND = {"epoch": 2, "from": "2026-07-01T00:00:00+07:00", "overlap_days": 30, "key": OTHER.hex()}


@pytest.mark.parametrize("content", [KEY, KEY.hex(), KEY.hex() + "\n", listed(FIRST | {"from": "1970-01-01"})])
def test_one_key_is_epoch_one_however_it_is_written(tmp_path: Path, content: bytes | str) -> None:
    """Raw, as hex digits, or as a list that may grow."""
    assert read_keys(file_of(tmp_path, content)) == single(KEY)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Bangkok"])
def test_a_list_says_which_key_holds_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """A date without a zone is UTC's, whatever the zone of the process: hosts must not differ."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", zone)
        time.tzset()
        found = read_keys(file_of(tmp_path, "# ours\n" + listed(FIRST, SECOND)))
    time.tzset()
    assert found == (KeyEpoch(1, 1_767_225_600_000, KEY), KeyEpoch(2, SUMMER_MS, OTHER, 30 * DAY_MS))


def test_a_destroyed_key_leaves_its_epoch(tmp_path: Path) -> None:
    """So the numbers of the others stay what they are."""
    found = read_keys(file_of(tmp_path, listed(FIRST | {"key": "destroyed"}, SECOND)))
    assert [(one.epoch, one.key) for one in found] == [(1, None), (2, OTHER)]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([FIRST, SECOND | {"epoch": 1}], "does not follow"),
        ([FIRST, SECOND | {"from": "2025-01-01"}], "does not follow"),
        ([FIRST, SECOND | {"key": "destroyed"}], "last epoch has no key"),
        ([FIRST, SECOND | {"key": KEY.hex()}], "has the key of epoch 1"),
        ([FIRST, SECOND | {"key": "00" * 31}], "epoch 2: its key is not 64"),
        ([FIRST, SECOND | {"key": "zz" * 32}], "epoch 2: its key is not 64"),
        ([FIRST, SECOND | {"from": "soon"}], "from is no date.*2026-07-01"),
        ([FIRST, SECOND | {"overlap_days": 5_000}], "out of range.*366"),
        ([FIRST, SECOND | {"overlap_days": "-1"}], "out of range.*366"),
        ([FIRST, SECOND | {"epoch": "two"}], "an epoch is a number"),
        ([FIRST | {"epoch": 0}, SECOND], "an epoch is a number"),
        ([FIRST, SECOND | {"epoch": 1 << 31}], "an epoch is a number"),
        ([FIRST, SECOND | {"until": "2027"}], "each with epoch, from and key"),
        ([{"epoch": 1, "key": KEY.hex()}], "each with epoch, from and key"),
    ],
)
def test_a_list_that_nobody_can_follow_is_refused(tmp_path: Path, entries: list[Mapping[str, Any]], says: str) -> None:
    """With what would be right, and without a digit of a key."""
    with pytest.raises(BadConfiguration, match=f"(?s){says}") as caught:
        read_keys(file_of(tmp_path, listed(*entries)))
    assert str(tmp_path / "key") in str(caught.value)
    assert not any(key.hex()[:8] in str(caught.value) for key in (KEY, OTHER))


@pytest.mark.parametrize("text", ["epoch: [", "\tepoch:", "epoch: 1\nkey: " + KEY.hex(), "- epoch: 1\n- " + KEY.hex()])
def test_what_is_no_list_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    """A parser's error would show the line, and the line is a key."""
    with pytest.raises(BadConfiguration) as caught:
        read_keys(file_of(tmp_path, text))
    assert KEY.hex()[:8] not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("mode", "content", "says"), [(0o644, KEY, "chmod"), (0o440, KEY, "chmod"), (0o600, b"short", "32")]
)
def test_a_key_that_others_can_read_or_guess_is_refused(tmp_path: Path, mode: int, content: bytes, says: str) -> None:
    """The text names the cure."""
    with pytest.raises(BadConfiguration, match=says):
        read_keys(file_of(tmp_path, content, mode))


def test_a_key_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who owns it could put another key there, whose pseudonyms he can read; root may own it."""
    path = file_of(tmp_path, KEY)
    for owner, accepted in ((os.geteuid(), True), (0, True), (4_711, False)):
        found = SimpleNamespace(st_mode=0o400, st_uid=owner)
        monkeypatch.setattr(keyfile, "os", SimpleNamespace(fstat=lambda _, found=found: found, geteuid=os.geteuid))
        if accepted:
            assert read_secret(path, "key_file") == KEY
            continue
        with pytest.raises(BadConfiguration, match=r"uid 4711.*chown"):
            read_secret(path, "key_file")


def test_a_file_that_is_not_there_is_named_with_its_setting(tmp_path: Path) -> None:
    """The one that has to be mended."""
    with pytest.raises(BadConfiguration, match="signing_key_file"):
        read_secret(tmp_path / "none", "signing_key_file")


def test_a_fresh_key_file_can_be_read_by_nobody_else_and_is_never_replaced(tmp_path: Path) -> None:
    """A lost key cannot be made again."""
    path = tmp_path / "key"
    create_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o400
    (only,) = made = read_keys(path)
    assert (only.epoch, only.from_ms, len(only.key or b"")) == (1, 0, 32)
    with pytest.raises(BadConfiguration, match="stays as it is"):
        create_key_file(path)
    assert read_keys(path) == made
    with pytest.raises(BadConfiguration, match="cannot be made"):
        write_secret(tmp_path / "no" / "key", b"")
