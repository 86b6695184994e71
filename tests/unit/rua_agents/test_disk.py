"""A full disk: nothing is added to it, the checkpoint is still written, and all goes on when there is room."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rua_agents.checkpoint import replace
from rua_agents.disk import Disk, Reserve
from rua_agents.settings import DiskSettings

KIB = 1_024


class SmallDisk:
    """A disk of so many bytes for one directory: what `write` and `fill` would exceed fails as the kernel's does."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size

    def room(self, _: Path | None = None) -> int:
        """What is free."""
        return self.size - sum(path.stat().st_size for path in self.folder.iterdir())

    def fill(self, descriptor: int, offset: int, length: int) -> None:
        """As posix_fallocate."""
        if self.room() < length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.truncate(descriptor, offset + length)

    def write(self, name: str, size: int) -> Callable[[], None]:
        """Writes a whole file beside the old one, then takes its place."""

        def writes() -> None:
            if self.room() < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(self.folder / name, b"x" * size, sync=False)

        return writes


@pytest.fixture
def small(tmp_path: Path) -> SmallDisk:
    """Of 100 KiB."""
    return SmallDisk(tmp_path, 100 * KIB)


def disk_on(small: SmallDisk, **settings: object) -> Disk:
    """With a floor of 10 KiB and a reserve of 20 KiB."""
    given = {"min_free_bytes": 10 * KIB, "reserve_bytes": 20 * KIB} | settings
    return Disk(small.folder, DiskSettings(**given), room=small.room, fill=small.fill)  # type: ignore[arg-type]


def test_a_reserve_is_held_and_given_for_what_must_be_written(small: SmallDisk) -> None:
    """And taken again from what the old file leaves."""
    reserve = Reserve(small.folder / "reserve", 20 * KIB, small.fill)
    small.write("checkpoint", 15 * KIB)()
    assert reserve.take()
    small.write("platform.log", small.room())()
    reserve.write(small.write("checkpoint", 15 * KIB))
    assert (small.folder / "checkpoint").stat().st_size == 15 * KIB
    assert reserve.held


@pytest.mark.parametrize("fault", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_cannot_allocate_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """Else a disk with room would count as full for ever; and one without is full."""

    def refuse(*_: int) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    reserve = Reserve(tmp_path / "reserve", 100_000)
    assert reserve.take()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 100_000
    fault = errno.ENOSPC
    reserve.release()
    assert not reserve.take()
    assert not (tmp_path / "reserve").exists()


def test_without_a_reserve_the_checkpoint_fails(small: SmallDisk) -> None:
    """The twin: it is the reserve that makes the room."""
    reserve = Reserve(small.folder / "reserve", 0, small.fill)
    small.write("platform.log", small.room())()
    with pytest.raises(OSError, match="No space"):
        reserve.write(small.write("checkpoint", 15 * KIB))


def test_another_trouble_than_no_room_does_not_cost_the_reserve(small: SmallDisk) -> None:
    """A read-only disk has no use for it."""
    reserve = Reserve(small.folder / "reserve", 20 * KIB, small.fill)
    reserve.take()

    def read_only() -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(OSError, match="Read-only"):
        reserve.write(read_only)
    assert reserve.held


def test_reading_waits_below_the_floor_and_goes_on_well_above_it(
    small: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, not every second; and once when it is over."""
    disk = disk_on(small)
    disk.look()
    assert not disk.holds_reading
    small.write("platform.log", small.room() - 9 * KIB)()
    for _ in range(5):
        disk.look()
    assert disk.holds_reading
    assert "Make room on this disk. Reading waits." in str(disk.problem)
    os.truncate(small.folder / "platform.log", (small.folder / "platform.log").stat().st_size - 1_500)
    disk.look()
    assert disk.holds_reading, "just above the floor it would stop and go"
    (small.folder / "platform.log").unlink()
    disk.look()
    assert not disk.full
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_who_chose_so_reads_on(small: SmallDisk) -> None:
    """The problem is told nevertheless."""
    disk = disk_on(small, full="keep_reading")
    small.write("platform.log", small.room())()
    disk.look()
    assert (disk.full, disk.holds_reading) == (True, False)
    assert "Reading waits" not in str(disk.problem)


def test_a_write_that_failed_holds_reading_until_a_write_works(small: SmallDisk) -> None:
    """Free space alone proves nothing: quota, a read-only remount."""
    disk = disk_on(small)
    disk.look()

    def read_only() -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    assert not disk.write(read_only)
    assert "Read-only file system" in str(disk.problem)
    disk.look()
    assert not disk.full
    assert disk.write(small.write("checkpoint", 10))


def test_a_directory_that_is_gone_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    """A disk that was unmounted."""
    disk = Disk(tmp_path / "gone", DiskSettings())
    disk.look()
    assert "No such file" in str(disk.problem)
