"""When watching itself fails: lost roots, mounts, dead threads. Nothing of it may go unsaid."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.filesystems import Filesystem
from imgoptd.adapters.watcher import Trouble, WatchError
from tests.another_user import NOBODY, run_as
from tests.filesystem import take_for
from tests.listening import Listener

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount and change users")


@pytest.fixture
def ear() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.watcher.stop()


@pytest.fixture(params=["native", "poll"])
def armed(request: pytest.FixtureRequest, ear: Listener, tmp_path: Path) -> Path:
    root = tmp_path / "in"
    root.mkdir()
    ear.watcher.arm(os.fsencode(root), True, str(request.param))
    assert ear.trouble() is None
    return root


def hears_again(ear: Listener, root: Path) -> None:
    """Rearming reports the whole root for a rescan, and later files are heard."""
    ear.watcher.rearm(os.fsencode(root))
    assert ear.trouble() is None
    ear.until(lambda: any((desync.root, desync.path) == (os.fsencode(root), b"") for desync in ear.desyncs))
    (root / "later.jpg").write_bytes(b"x")
    ear.until(lambda: b"later.jpg" in ear.paths)


def test_a_deleted_root_is_missing_and_heard_again_once_it_is_back(ear: Listener, armed: Path) -> None:
    armed.rmdir()
    assert ear.trouble() is Trouble.MISSING
    with pytest.raises(WatchError, match="No such file or directory; create it or mount it"):
        ear.watcher.rearm(os.fsencode(armed))
    assert ear.trouble() is Trouble.MISSING
    armed.mkdir()
    assert ear.trouble() is Trouble.NOT_ARMED
    hears_again(ear, armed)


def test_a_root_deleted_and_made_again_between_two_checks_is_noticed(ear: Listener, armed: Path) -> None:
    armed.rmdir()
    (armed.parent / "takes the freed inode").mkdir()
    armed.mkdir()
    ear.until(lambda: ear.trouble() in (Trouble.REPLACED, Trouble.DEAD))
    hears_again(ear, armed)


def test_a_renamed_root_is_missing_and_its_successor_is_replaced(ear: Listener, armed: Path) -> None:
    armed.rename(armed.parent / "elsewhere")
    assert ear.trouble() is Trouble.MISSING
    armed.mkdir()
    assert ear.trouble() is Trouble.REPLACED
    hears_again(ear, armed)


def test_a_symlinked_root_that_leads_elsewhere_now_is_replaced(ear: Listener, tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    root = tmp_path / "root"
    root.symlink_to("old")
    ear.watcher.arm(os.fsencode(root))
    root.unlink()
    root.symlink_to("new")
    assert ear.trouble() is Trouble.REPLACED
    hears_again(ear, root)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[None]:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@needs_root
def test_a_filesystem_mounted_over_the_root_is_noticed_and_so_is_its_end(ear: Listener, armed: Path) -> None:
    with mounted(armed):
        assert ear.trouble() is Trouble.REPLACED
        hears_again(ear, armed)
    assert ear.trouble() is Trouble.REPLACED
    ear.paths.clear()
    hears_again(ear, armed)


@needs_root
def test_a_filesystem_mounted_below_the_root_is_noticed_and_then_heard(ear: Listener, armed: Path) -> None:
    below = armed / "odd name\twith tab"
    below.mkdir()
    with mounted(below):
        assert ear.trouble() is Trouble.MOUNTS
        hears_again(ear, armed)
        (below / "inside.jpg").write_bytes(b"x")
        ear.until(lambda: os.fsencode(below.name) + b"/inside.jpg" in ear.paths)
    assert ear.trouble() is Trouble.MOUNTS


def test_a_dead_reading_thread_is_noticed_and_all_roots_are_heard_again(ear: Listener, tmp_path: Path) -> None:
    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
        ear.watcher.arm(os.fsencode(root), True, "native")
    reader = ear.watcher._native._inotify_fd  # type: ignore[union-attr]  # nothing outside can end this thread
    reader.stop()
    reader.join()
    assert [trouble.kind for trouble in ear.watcher.check()] == [Trouble.DEAD, Trouble.DEAD]
    for root in roots:
        ear.paths.clear()
        ear.watcher.rearm(os.fsencode(root))
        (root / "later.jpg").write_bytes(b"x")
        ear.until(lambda: b"later.jpg" in ear.paths)
    assert ear.watcher.check() == []


def test_a_root_that_is_missing_at_first_can_be_armed_later(ear: Listener, tmp_path: Path) -> None:
    root = tmp_path / "not yet"
    with pytest.raises(WatchError, match="create it or mount it"):
        ear.watcher.arm(os.fsencode(root))
    assert ear.trouble() is Trouble.MISSING
    root.mkdir()
    hears_again(ear, root)


def test_a_root_that_is_a_file_is_refused(ear: Listener, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(WatchError, match="is not a folder; name the folder"):
        ear.watcher.arm(os.fsencode(tmp_path / "file"))


def test_one_folder_under_two_names_is_refused_and_the_first_goes_on(ear: Listener, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    ear.watcher.arm(os.fsencode(tmp_path / "real"))
    with pytest.raises(WatchError, match=r"is the same as .*; remove one of the two"):
        ear.watcher.arm(os.fsencode(tmp_path / "link"))
    ear.watcher.disarm(os.fsencode(tmp_path / "link"))
    (tmp_path / "real" / "a.jpg").write_bytes(b"x")
    ear.until(lambda: b"a.jpg" in ear.paths)
    assert ear.trouble() is None


def test_arming_twice_hears_once_more(ear: Listener, armed: Path) -> None:
    ear.watcher.arm(os.fsencode(armed), True, "native")
    (armed / "a.jpg").write_bytes(b"x")
    ear.until(lambda: b"a.jpg" in ear.paths)
    assert ear.watcher.backend_of(os.fsencode(armed)).name == "native"
    assert ear.trouble() is None


def test_a_network_filesystem_is_polled_unless_told_otherwise(
    ear: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_for(monkeypatch, tmp_path, Filesystem("nfs", remote=True))
    ear.watcher.arm(os.fsencode(tmp_path))
    assert ear.watcher.backend_of(os.fsencode(tmp_path)).name == "poll"
    assert "nfs" in ear.watcher.backend_of(os.fsencode(tmp_path)).why
    ear.watcher.arm(os.fsencode(tmp_path), True, "native")
    assert ear.watcher.backend_of(os.fsencode(tmp_path)).name == "native"


def as_nobody(code: str, mode: int) -> str:
    """What the code prints as another user, given a folder of that user with this mode as its argument."""
    with tempfile.TemporaryDirectory() as outer:  # pytest's own folders are closed to other users
        os.chmod(outer, 0o755)
        root = Path(outer) / "in"
        root.mkdir(mode=mode)
        os.chown(root, NOBODY, NOBODY)
        done = run_as(NOBODY, code, root)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_root
def test_a_root_that_this_user_may_not_list_is_refused_with_a_mend() -> None:
    code = (
        "import sys, os\nfrom imgoptd.adapters.watcher import Watcher, WatchError\n"
        "try: Watcher(lambda: None).arm(os.fsencode(sys.argv[1]))\nexcept WatchError as error: print(error)"
    )
    assert "cannot be listed by this user; give the user r and x on it" in as_nobody(code, 0o300)


@needs_root
def test_a_polled_root_that_cannot_be_read_any_more_is_missing_until_it_can() -> None:
    code = """if True:
        import os, sys, time
        from imgoptd.adapters.watcher import Watcher
        root = os.fsencode(sys.argv[1])
        watcher = Watcher(lambda: None)
        watcher.arm(root, True, "poll")
        for mode in (0, 0o700):
            os.chmod(root, mode)
            for _ in range(200):
                found = [trouble.sentence for trouble in watcher.check()]
                if bool(found) == (mode == 0):
                    break
                time.sleep(0.05)
            print(found)
        watcher.stop()
    """
    first, second = as_nobody(code, 0o700).splitlines()
    assert "cannot be listed by this user" in first
    assert second == "[]"
