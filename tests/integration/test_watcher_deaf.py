"""A watch that hears nothing is noticed by a change of our own; one that hears is never suspected."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imgoptd.adapters.observers import NativeEmitter
from imgoptd.adapters.watcher import Trouble, Watcher, WatchError
from imgoptd.core import hearing
from tests.listening import PATIENCE_S, Listener

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr(hearing, "PATIENCE_S", 0.3)
    made = Listener()
    yield made
    made.watcher.stop()


def watch_of(watcher: Watcher, root: Path) -> tuple[int, int]:
    """The inotify descriptor and the number of the root's own watch."""
    emitter = watcher._roots[os.fsencode(root)].emitter
    assert isinstance(emitter, NativeEmitter)
    group = emitter._inotify
    assert group is not None
    return group._inotify_fd._inotify_fd, group._active_callbacks_by_path[os.fsencode(root)]


def deafen(watcher: Watcher, root: Path) -> None:
    """Take the root's watch away behind the watcher's back."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.inotify_rm_watch(*watch_of(watcher, root)) == 0


def until_trouble(ear: Listener, kind: Trouble) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while ear.trouble() is not kind:
        assert time.monotonic() < deadline_s, f"no such trouble: {kind}"
        time.sleep(0.05)


def proves(ear: Listener, root: Path) -> bool:
    """Does the watch prove that it hears, leaving nothing in the folder and hinting at nothing?"""
    entry = ear.watcher._roots[os.fsencode(root)]
    deadline_s = time.monotonic() + PATIENCE_S
    before = sorted(os.listdir(root))
    assert ear.trouble() is None
    while entry.hearing.asked_s is not None and time.monotonic() < deadline_s:
        time.sleep(0.02)
    ear.drain()
    assert (sorted(os.listdir(root)), ear.hints) == (before, [])
    return entry.hearing.asked_s is None and entry.hearing.every_s > hearing.EVERY_S


def test_a_watch_proves_that_it_hears_without_a_trace(ear: Listener, tmp_path: Path) -> None:
    ear.watcher.arm(os.fsencode(tmp_path), True, "native")
    assert proves(ear, tmp_path)


def test_a_root_inside_another_root_proves_that_it_hears(ear: Listener, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    ear.watcher.arm(os.fsencode(inner), True, "native")
    ear.watcher.arm(os.fsencode(tmp_path), True, "native")
    assert proves(ear, inner)
    assert proves(ear, tmp_path)


@contextmanager
def mounted(*command: str | Path, at: Path) -> Iterator[None]:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"no {command[0]} here")
    done = subprocess.run([*command, at], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", at], check=True)


@needs_root
def test_an_overlay_proves_that_it_hears(ear: Listener) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as base:
        for name in ("lower", "upper", "work", "root"):
            Path(base, name).mkdir()
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        root = Path(base, "root")
        with mounted("mount", "-t", "overlay", "-o", options, "none", at=root):
            ear.watcher.arm(os.fsencode(root), True, "native")
            assert proves(ear, root)


@needs_root
def test_where_no_nameless_files_are_a_hidden_one_proves_it(ear: Listener, tmp_path: Path) -> None:
    behind, root = tmp_path / "behind", tmp_path / "root"
    behind.mkdir()
    root.mkdir()
    with mounted("bindfs", behind, at=root):
        ear.watcher.arm(os.fsencode(root), True, "native")
        assert proves(ear, root)


@needs_root
def test_a_fuse_mount_changed_behind_its_back_is_polled_and_heard(ear: Listener, tmp_path: Path) -> None:
    behind, root = tmp_path / "behind", tmp_path / "root"
    behind.mkdir()
    root.mkdir()
    with mounted("bindfs", behind, at=root):
        ear.watcher.arm(os.fsencode(root))
        assert ear.watcher.backend_of(os.fsencode(root)).name == "poll"
        (behind / "a.jpg").write_bytes(b"x")
        ear.until(lambda: ear.heard(b"a.jpg"))
        ear.watcher.stop()


def test_a_watch_that_was_taken_away_is_found_deaf_and_hears_again(ear: Listener, tmp_path: Path) -> None:
    ear.watcher.arm(os.fsencode(tmp_path), True, "native")
    assert proves(ear, tmp_path)
    deafen(ear.watcher, tmp_path)
    (tmp_path / "unheard.jpg").write_bytes(b"x")
    ear.watcher._roots[os.fsencode(tmp_path)].hearing.doubt(time.monotonic())
    until_trouble(ear, Trouble.DEAF)
    ear.watcher.rearm(os.fsencode(tmp_path))
    ear.until(lambda: ear.to_rescan(b"unheard.jpg"))
    (tmp_path / "later.jpg").write_bytes(b"x")
    ear.until(lambda: ear.heard(b"later.jpg"))
    assert ear.watcher.backend_of(os.fsencode(tmp_path)).name == "native"
    assert not ear.heard(b"unheard.jpg")


def test_a_watch_that_goes_deaf_again_at_once_is_polled_with_the_reason(ear: Listener, tmp_path: Path) -> None:
    ear.watcher.arm(os.fsencode(tmp_path), True, "native")
    for _ in range(2):
        deafen(ear.watcher, tmp_path)
        until_trouble(ear, Trouble.DEAF)
        ear.watcher.rearm(os.fsencode(tmp_path))
    backend = ear.watcher.backend_of(os.fsencode(tmp_path))
    assert backend.name == "poll"
    assert "deaf" in backend.why
    (tmp_path / "later.jpg").write_bytes(b"x")
    ear.until(lambda: ear.heard(b"later.jpg"))
    assert ear.trouble() is None


def test_events_from_below_do_not_hide_for_ever_that_the_root_itself_is_deaf(
    ear: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "PATIENCE_S", 0.1)
    (tmp_path / "sub").mkdir()
    ear.watcher.arm(os.fsencode(tmp_path), True, "native")
    deafen(ear.watcher, tmp_path)
    deadline_s = time.monotonic() + PATIENCE_S
    while ear.trouble() is not Trouble.DEAF:
        assert time.monotonic() < deadline_s
        (tmp_path / "sub" / "a.jpg").write_bytes(b"x")
        time.sleep(0.05)
    ear.drain()
    assert ear.heard(b"sub/a.jpg")


def test_a_folder_moved_out_is_heard_no_more_and_one_moved_out_and_back_is(ear: Listener, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for name in ("gone/deep", "back/deep"):
        (root / name).mkdir(parents=True)
    out.mkdir()
    ear.watcher.arm(os.fsencode(root), True, "native")
    watches = ear.watcher._roots[os.fsencode(root)].emitter.watches  # type: ignore[union-attr]
    for name in ("gone", "back"):
        (root / name).rename(out / name)
    (out / "back").rename(root / "back")
    deadline_s = time.monotonic() + PATIENCE_S
    while ear.watcher._roots[os.fsencode(root)].emitter.watches > watches - 2:  # type: ignore[union-attr]
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    (out / "gone" / "deep" / "ghost.jpg").write_bytes(b"x")
    (root / "back" / "deep" / "a.jpg").write_bytes(b"x")
    ear.until(lambda: ear.heard(b"back/deep/a.jpg"))
    assert not ear.heard(b"gone/deep/ghost.jpg")


def test_renewing_drops_the_watches_of_what_is_not_in_the_tree_and_sets_missing_ones(
    ear: Listener, tmp_path: Path
) -> None:
    root = tmp_path / "in"
    (root / "sub" / "deep").mkdir(parents=True)
    ear.watcher.arm(os.fsencode(root), True, "native")
    descriptor, _ = watch_of(ear.watcher, root)
    emitter = ear.watcher._roots[os.fsencode(root)].emitter
    assert isinstance(emitter, NativeEmitter)
    group = emitter._inotify
    assert group is not None
    ctypes.CDLL(None).inotify_rm_watch(descriptor, group._active_callbacks_by_path[os.fsencode(root / "sub")])
    (root / "sub" / "deep").rename(tmp_path / "out")  # unheard, as its parent is
    assert ear.watcher.renew(os.fsencode(root)) is None
    (tmp_path / "out" / "ghost.jpg").write_bytes(b"x")
    (root / "sub" / "a.jpg").write_bytes(b"x")
    ear.until(lambda: ear.heard(b"sub/a.jpg"))
    assert not ear.heard(b"sub/deep/ghost.jpg")


@pytest.mark.parametrize("folder", [b"/proc", b"/sys"])
def test_the_kernels_own_filesystems_are_refused(ear: Listener, folder: bytes) -> None:
    with pytest.raises(WatchError, match=r"the kernel shows its own state .*; name a folder on a disk"):
        ear.watcher.arm(folder)
