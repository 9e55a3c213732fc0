"""Calls that the kernel refuses in the middle of a replace: the file stays, and what is left is put right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.replacing import (
    NEW,
    NEWER,
    OLD,
    can_refuse,
    said_by,
    seen,
    temps,
)

needs_filter = pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")


@needs_filter
def test_a_result_that_cannot_be_put_on_disk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(OLD)
    assert said_by("refuse('fsync')\nprint(outcome(sys.argv[1]))", str(tmp_path)) == "transient io-error"
    assert seen(tmp_path / "a.jpg").content == OLD
    assert temps(tmp_path) == []


@needs_filter
@pytest.mark.parametrize("also", ["", "refuse('tmpfile')\n"], ids=["nameless", "copied"])
def test_after_a_failed_sync_the_result_is_thrown_away_and_the_next_attempt_makes_another(
    tmp_path: Path, also: str
) -> None:
    (tmp_path / "a.jpg").write_bytes(OLD)
    # A seccomp filter is of one thread: the disk is sick for the first attempt alone.
    code = (
        "import threading\n"
        "def attempt():\n"
        "    refuse('fsync')\n"
        "    print(outcome(sys.argv[1]), os.listdir(sys.argv[1]))\n"
        "first = threading.Thread(target=attempt)\n"
        "first.start()\n"
        "first.join()\n"
        "print(outcome(sys.argv[1]), os.listdir(sys.argv[1]))"
    )
    first, second = said_by(also + code, str(tmp_path)).splitlines()
    assert first == "transient io-error ['a.jpg']"
    assert second == "placed ['a.jpg']"
    assert seen(tmp_path / "a.jpg").content == NEW


@needs_filter
@pytest.mark.parametrize(("point", "also"), [("after_unlink", "fsync"), ("after_rename", "exchange")])
def test_names_that_cannot_be_put_on_disk_leave_the_intent_to_recovery(tmp_path: Path, point: str, also: str) -> None:
    (tmp_path / "a.jpg").write_bytes(OLD)
    code = (
        "from imgoptd.adapters import failpoints\n"
        "failpoints.hit = lambda name: refuse('fsync') if name == 'replace.' + sys.argv[2] else None\n"
        "sys.argv[3] == 'fsync' or refuse(sys.argv[3])\n"
        "print(outcome(sys.argv[1]))"
    )
    assert said_by(code, str(tmp_path), point, also) == "transient unfinished"
    assert seen(tmp_path / "a.jpg").content == NEW
    assert temps(tmp_path) == []


@needs_filter
def test_a_file_is_kept_also_where_no_rename_takes_flags(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(OLD)
    (tmp_path / "temp").write_bytes(NEWER)
    code = (
        "from imgoptd.adapters.replace.names import Names\n"
        "refuse('noreplace')\n"
        "print(Names(os.open(sys.argv[1], os.O_PATH), b'temp', b'a.jpg').keep_temp().decode())"
    )
    kept = said_by(code, str(tmp_path))
    assert (tmp_path / kept).read_bytes() == NEWER
    assert sorted(os.listdir(tmp_path)) == sorted(["a.jpg", kept])
