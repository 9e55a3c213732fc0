"""An original that was kept comes back byte for byte with all its attributes, and never at the cost of another file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.replace import Refused
from imgoptd.adapters.replace.places import NotOurs, find_place, open_place
from imgoptd.adapters.undo import open_restore, remove_kept, restore
from imgoptd.core.model import Kept
from tests.replacing import FILESYSTEMS, NEW, NEWER, OLD, can_refuse, filled, said_by, seen, temps
from tests.undoing import bring_back, keep, kept_file

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_filter = pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")

EVERYWHERE = pytest.mark.parametrize("inside", [True, False], ids=["renamed", "copied"])
"""Kept by a rename within the watched folder, or as a copy in the state folder."""


def fill(root: Path) -> None:
    (root / "sub").mkdir()
    for name in ("a.jpg", "sub/b.jpg"):
        (root / name).write_bytes(OLD)
        (root / name).chmod(0o640)
        if os.geteuid() == 0:
            os.chown(root / name, 1234, 4321)
        os.setxattr(root / name, "user.rating", b"5")
        os.utime(root / name, ns=(1_400_000_000_111_111_111, 1_500_000_000_222_222_222))


@pytest.fixture(params=FILESYSTEMS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with filled(request.param, tmp_path, fill) as made:
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """One filesystem will do."""
    made = tmp_path / "root"
    made.mkdir()
    fill(made)
    return made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


def keep_either_way(root: Path, state: Path, inside: bool, name: str = "a.jpg") -> Kept:
    if not inside:
        (root / ".imgoptd").write_bytes(b"somebody else's")
    kept = keep(root, state, name)
    assert (kept.at.place is not None) == inside
    return kept


def refusal(kept: Kept, state: Path, *, force: bool = False) -> str:
    with pytest.raises(Refused) as refused:
        bring_back(kept, state, force=force)
    return refused.value.failure.reason


def nothing_left(root: Path, state: Path) -> bool:
    """Neither temps nor kept files."""
    return not temps(root) and not any(
        path.is_file() for path in (root / ".imgoptd", state) for path in path.rglob("*")
    )


# ---- keeping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jpg", "sub/b.jpg"])
def test_a_kept_original_is_the_same_inode_untouched_in_a_private_folder_at_the_top(
    root: Path, state: Path, name: str
) -> None:
    before, inode = seen(root / name), (root / name).stat().st_ino
    kept = keep(root, state, name)
    lies = kept_file(kept, state)
    assert lies.parent == root / ".imgoptd" / "undo"
    assert lies.name.startswith(kept.sha256 + "-")
    assert (seen(lies), lies.stat().st_ino) == (before, inode)
    assert {path.stat().st_mode & 0o777 for path in (lies.parent, lies.parent.parent)} == {0o700}
    assert seen(root / name) == before._replace(content=NEW)
    assert temps(root) == []


def test_where_no_place_can_be_had_the_original_is_copied_with_its_attributes(root: Path, state: Path) -> None:
    before = seen(root / "a.jpg")
    kept = keep_either_way(root, state, inside=False)
    assert seen(kept_file(kept, state)) == before
    assert (state / "undo").stat().st_mode & 0o777 == 0o700
    assert (root / ".imgoptd").read_bytes() == b"somebody else's"


@pytest.mark.parametrize("trap", ["link", "open", "foreign"])
def test_a_folder_that_is_not_ours_alone_is_not_used(disk: Path, state: Path, trap: str) -> None:
    if trap == "foreign" and os.geteuid() != 0:
        pytest.skip("needs root")
    elsewhere = disk.parent / "elsewhere"
    (elsewhere / "undo").mkdir(parents=True, mode=0o700)
    if trap == "link":
        (disk / ".imgoptd").symlink_to(elsewhere)
    else:
        (disk / ".imgoptd").mkdir(mode=0o700)
        (disk / ".imgoptd" / "undo").mkdir(mode=0o755 if trap == "open" else 0o700)
    if trap == "foreign":
        os.chown(disk / ".imgoptd" / "undo", 1234, 1234)
    assert keep(disk, state).at.place is None
    assert list((elsewhere / "undo").iterdir()) == []
    with Folder(os.fsencode(disk)) as folder, pytest.raises(OSError):
        open_place(folder, b"")


def test_what_is_not_ours_is_told_with_what_to_do(disk: Path) -> None:
    (disk / ".imgoptd").mkdir(mode=0o755)
    with Folder(os.fsencode(disk)) as folder, pytest.raises(NotOurs, match=r"\.imgoptd .* move it away"):
        open_place(folder, b"")


@needs_root
def test_below_a_mount_the_place_is_at_the_top_of_that_filesystem(disk: Path, state: Path) -> None:
    """A bind mount has the device number of what it shows, and yet no rename leads out of it."""
    (disk / "outside").mkdir()
    (disk / "sub" / "deep").mkdir()
    inner = disk / "mounted"
    inner.mkdir()
    if subprocess.run(["mount", "--bind", disk / "sub", inner], capture_output=True).returncode:
        pytest.skip("bind mounts are not allowed here")
    try:
        before = seen(inner / "b.jpg")
        kept = keep(disk, state, "mounted/b.jpg")
        assert kept.at.place == b"mounted"
        assert seen(kept_file(kept, state)) == before
        with Folder(os.fsencode(disk)) as folder:
            deep = folder.open_parent(b"mounted/deep/c.jpg")
            found = find_place(folder, b"mounted/deep/c.jpg", deep)
            os.close(deep)
            assert found is not None and found[0] == b"mounted"
            os.close(found[1])
        bring_back(kept, state)
        assert seen(inner / "b.jpg") == before
    finally:
        subprocess.run(["umount", "--lazy", inner], check=True)


@needs_root
def test_into_a_folder_that_is_a_mount_of_its_own_since_the_original_is_copied(disk: Path, state: Path) -> None:
    before = seen(disk / "sub" / "b.jpg")
    kept = keep(disk, state, "sub/b.jpg")
    assert kept.at.place == b""
    if subprocess.run(["mount", "--bind", disk / "sub", disk / "sub"], capture_output=True).returncode:
        pytest.skip("bind mounts are not allowed here")
    try:
        bring_back(kept, state)
        assert seen(disk / "sub" / "b.jpg") == before
        assert nothing_left(disk, state)
    finally:
        subprocess.run(["umount", "--lazy", disk / "sub"], check=True)


@needs_filter
def test_where_the_filesystem_cannot_exchange_the_original_is_copied_before_the_rename(disk: Path, state: Path) -> None:
    before = seen(disk / "a.jpg")
    code = "import sys; refuse('exchange'); from tests.undoing import *; print(keep(*map(Path, sys.argv[1:])).at.place)"
    assert said_by(code, str(disk), str(state)) == "b''"
    (lies,) = (disk / ".imgoptd" / "undo").iterdir()
    assert seen(lies) == before
    assert seen(disk / "a.jpg").content == NEW


# ---- bringing back --------------------------------------------------------------------------------------------------


@EVERYWHERE
def test_a_restored_file_has_all_it_had_before(root: Path, state: Path, inside: bool) -> None:
    before = seen(root / "a.jpg")
    kept = keep_either_way(root, state, inside)
    assert bring_back(kept, state).beside == b""
    assert seen(root / "a.jpg") == before
    assert nothing_left(root, state)


@EVERYWHERE
def test_a_file_that_was_removed_comes_back(disk: Path, state: Path, inside: bool) -> None:
    before = seen(disk / "a.jpg")
    kept = keep_either_way(disk, state, inside)
    (disk / "a.jpg").unlink()
    bring_back(kept, state)
    assert seen(disk / "a.jpg") == before
    assert nothing_left(disk, state)


@EVERYWHERE
@pytest.mark.parametrize("change", ["rewritten", "replaced", "touched", "tagged", "closed", "folder"])
def test_where_another_file_stands_now_nothing_is_changed(disk: Path, state: Path, inside: bool, change: str) -> None:
    kept = keep_either_way(disk, state, inside)
    path = disk / "a.jpg"
    if change == "rewritten":
        path.write_bytes(NEWER)
    elif change == "touched":
        os.utime(path)
    elif change == "tagged":
        os.setxattr(path, "user.rating", b"4")
    elif change == "closed":
        path.chmod(0o600)
    else:
        path.unlink()
        path.mkdir() if change == "folder" else path.write_bytes(NEW)
    inode = path.stat().st_ino
    assert refusal(kept, state) == "not-our-result"
    assert path.stat().st_ino == inode
    assert kept_file(kept, state).read_bytes() == OLD
    assert temps(disk) == []


@EVERYWHERE
def test_with_force_the_other_file_is_kept_beside_it(disk: Path, state: Path, inside: bool) -> None:
    before = seen(disk / "a.jpg")
    kept = keep_either_way(disk, state, inside)
    (disk / "a.jpg").write_bytes(NEWER)
    beside = os.fsdecode(bring_back(kept, state, force=True).beside)
    assert beside.startswith("imgoptd-kept-") and beside.endswith("-a.jpg")
    assert (disk / beside).read_bytes() == NEWER
    assert seen(disk / "a.jpg") == before
    assert temps(disk) == [beside]


@EVERYWHERE
def test_a_file_saved_between_check_and_exchange_goes_back(disk: Path, state: Path, inside: bool) -> None:
    kept = keep_either_way(disk, state, inside)
    with Folder(os.fsencode(disk)) as folder:
        opened = open_restore(folder, kept, os.fsencode(state), force=False)
        (disk / "draft").write_bytes(NEWER)
        (disk / "draft").rename(disk / "a.jpg")
        with pytest.raises(Refused) as refused:
            restore(opened, force=False)
        opened.close()
    assert refused.value.failure.reason == "not-our-result"
    assert (disk / "a.jpg").read_bytes() == NEWER
    assert kept_file(kept, state).read_bytes() == OLD
    assert temps(disk) == []


def test_a_result_that_somebody_has_open_for_writing_is_left(disk: Path, state: Path) -> None:
    kept = keep(disk, state)
    with (disk / "a.jpg").open("ab") as file:
        assert refusal(kept, state) == "busy"
        file.write(b"more")
    assert (disk / "a.jpg").read_bytes() == NEW + b"more"


def test_a_kept_file_that_is_not_what_was_kept_is_never_put_back(disk: Path, state: Path) -> None:
    kept = keep(disk, state)
    lies = kept_file(kept, state)
    was = lies.stat()
    lies.write_bytes(OLD[:-1] + b"?")
    assert refusal(kept, state) == "kept-changed"
    os.utime(lies, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert refusal(kept, state) == "kept-damaged"
    lies.unlink()
    assert refusal(kept, state, force=True) == "kept-gone"
    lies.parent.rmdir()
    assert refusal(kept, state) == "kept-gone"
    assert (disk / "a.jpg").read_bytes() == NEW


def test_without_its_folder_a_file_cannot_come_back_and_stays_kept(disk: Path, state: Path) -> None:
    kept = keep(disk, state, "sub/b.jpg")
    (disk / "sub" / "b.jpg").unlink()
    (disk / "sub").rmdir()
    assert refusal(kept, state) == "folder-gone"
    (disk / "sub").mkdir()
    bring_back(kept, state)
    assert (disk / "sub" / "b.jpg").read_bytes() == OLD


@needs_filter
@pytest.mark.parametrize("force", [False, True])
def test_without_an_exchange_it_is_renamed_over_our_result_alone(disk: Path, state: Path, force: bool) -> None:
    before = seen(disk / "a.jpg")
    code = """
import sys
root, state = map(Path, sys.argv[1:3])
refuse("exchange"); refuse("noreplace")
from tests.undoing import *
kept = keep(root, state)
if sys.argv[3] == "force":
    (root / "a.jpg").write_bytes(NEWER)
    try:
        bring_back(kept, state)
    except Refused as refused:
        assert refused.failure.reason == "not-our-result"
print(bring_back(kept, state, force=sys.argv[3] == "force").beside.decode())
"""
    beside = said_by(code, str(disk), str(state), "force" if force else "")
    assert seen(disk / "a.jpg") == before
    assert temps(disk) == ([beside] if force else [])
    if force:
        assert (disk / beside).read_bytes() == NEWER


# ---- growing old ----------------------------------------------------------------------------------------------------


@EVERYWHERE
def test_an_old_original_is_removed(disk: Path, state: Path, inside: bool) -> None:
    kept = keep_either_way(disk, state, inside)
    with Folder(os.fsencode(disk)) as folder:
        assert remove_kept(folder, kept, os.fsencode(state)) == ""
        assert not kept_file(kept, state).exists()
        assert remove_kept(folder, kept, os.fsencode(state)) == ""


def test_only_the_very_file_that_was_kept_is_removed(disk: Path, state: Path) -> None:
    kept = keep(disk, state)
    lies = kept_file(kept, state)
    lies.write_bytes(NEWER)
    with Folder(os.fsencode(disk)) as folder:
        assert "not the file that was kept" in remove_kept(folder, kept, os.fsencode(state))
    assert lies.read_bytes() == NEWER


def test_what_cannot_be_reached_is_not_said_to_be_gone(disk: Path, state: Path) -> None:
    kept = keep(disk, state)
    with pytest.raises(FileNotFoundError, match="out of reach"):
        remove_kept(None, kept, os.fsencode(state))
    (disk / ".imgoptd").chmod(0o755)
    with Folder(os.fsencode(disk)) as folder:
        assert "move it away" in remove_kept(folder, kept, os.fsencode(state))
