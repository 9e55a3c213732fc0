"""What the watcher hears of real changes, through the kernel's inotify and by polling."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.watcher import Watcher
from imgoptd.core.model import FileRef, HintKind
from tests.listening import PATIENCE_S, Listener


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.watcher.stop()


@pytest.fixture(params=["native", "poll"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_copied_file_is_heard_as_closed(listener: Listener, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    listener.watcher.arm(os.fsencode(root), True, "native")
    subprocess.run(["cp", "/bin/true", root / "a.jpg"], check=True)
    listener.until(lambda: listener.heard(b"a.jpg", HintKind.CLOSED))
    assert all(ref.root == os.fsencode(root) for ref, _ in listener.hints)


def test_a_file_moved_in_is_heard_as_created(listener: Listener, tmp_path: Path, backend: str) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (tmp_path / "a.jpg").write_bytes(b"x")
    listener.watcher.arm(os.fsencode(root), True, backend)
    (tmp_path / "a.jpg").rename(root / "a.jpg")
    listener.until(lambda: listener.heard(b"a.jpg", HintKind.CREATED))


def test_a_file_moved_inside_is_heard_at_its_new_name(listener: Listener, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.part").write_bytes(b"x")
    listener.watcher.arm(os.fsencode(tmp_path), True, "native")
    (tmp_path / "a.part").rename(tmp_path / "sub" / "a.jpg")
    listener.until(lambda: listener.heard(b"sub/a.jpg", HintKind.MOVED))
    assert not listener.heard(b"a.part")


def test_a_file_moved_between_two_roots_is_heard_in_the_second(listener: Listener, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for root in (first, second):
        root.mkdir()
        listener.watcher.arm(os.fsencode(root), True, "native")
    (first / "a.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"a.jpg"))
    (first / "a.jpg").rename(second / "b.jpg")
    listener.until(lambda: listener.heard(b"b.jpg"))
    assert [ref.root for ref, _ in listener.hints if ref.path == b"b.jpg"] == [os.fsencode(second)]


def test_a_rewritten_file_is_heard(listener: Listener, tmp_path: Path, backend: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    listener.watcher.arm(os.fsencode(tmp_path), True, backend)
    with (tmp_path / "a.jpg").open("r+b") as file:
        file.write(b"longer than before")
    listener.until(lambda: listener.heard(b"a.jpg"))


def test_polling_never_claims_that_a_file_is_whole(listener: Listener, tmp_path: Path) -> None:
    (tmp_path / "old.jpg").write_bytes(b"x")
    listener.watcher.arm(os.fsencode(tmp_path), True, "poll")
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "old.jpg").rename(tmp_path / "new.jpg")
    listener.until(lambda: listener.heard(b"a.jpg") and listener.heard(b"new.jpg"))
    assert {kind for _, kind in listener.hints} == {HintKind.CREATED}


def test_any_name_comes_through_byte_for_byte(listener: Listener, tmp_path: Path, backend: str) -> None:
    root = os.fsencode(tmp_path) + b"/f\xe9e"
    os.mkdir(root)
    listener.watcher.arm(root, True, backend)
    names = {b"\xff\xfe.jpg", b"new\nline.png", "ümlaut ☃.jpg".encode(), b" ", b"'\"\\.jpg"}
    for name in names:
        with open(root + b"/" + name, "wb") as file:
            file.write(b"x")
    listener.until(lambda: all(listener.heard(name) for name in names))
    assert {ref for ref, _ in listener.hints} == {FileRef(root, name) for name in names}


def test_every_file_copied_into_folders_just_made_is_hinted_or_rescanned(listener: Listener, tmp_path: Path) -> None:
    listener.watcher.arm(os.fsencode(tmp_path), True, "native")
    paths = [f"{number}/a/b/c/x.jpg".encode() for number in range(60)]
    subprocess.run(
        ["sh", "-c", 'for n in $(seq 0 59); do mkdir -p "$n/a/b/c" && cp /bin/true "$n/a/b/c/x.jpg"; done'],
        cwd=tmp_path,
        check=True,
    )
    listener.until(lambda: all(listener.heard(path) or listener.to_rescan(path) for path in paths))
    listener.until(lambda: all(listener.to_rescan(path) for path in paths))


def test_a_populated_folder_moved_in_is_rescanned_alone(listener: Listener, tmp_path: Path, backend: str) -> None:
    root, outside = tmp_path / "in", tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "a.jpg").write_bytes(b"x")
    root.mkdir()
    listener.watcher.arm(os.fsencode(root), True, backend)
    outside.rename(root / "moved")
    listener.until(lambda: listener.to_rescan(b"moved/deep/a.jpg"))
    (root / "moved" / "deep" / "later.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"moved/deep/later.jpg"))
    assert {desync.path for desync in listener.desyncs} <= {b"moved", b"moved/deep"}


def test_a_folder_renamed_inside_is_rescanned_and_heard_under_its_new_name(listener: Listener, tmp_path: Path) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    listener.watcher.arm(os.fsencode(tmp_path), True, "native")
    (tmp_path / "old").rename(tmp_path / "new")
    listener.until(lambda: listener.to_rescan(b"new/deep"))
    (tmp_path / "new" / "deep" / "a.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"new/deep/a.jpg", HintKind.CLOSED))


def test_the_loss_of_a_moved_out_folder_after_its_name_was_reused_leaves_no_root_deaf(
    listener: Listener, tmp_path: Path
) -> None:
    """watchdog 7.1 alone ends its reading thread here with a KeyError."""
    root = tmp_path / "in"
    (root / "a").mkdir(parents=True)
    listener.watcher.arm(os.fsencode(root), True, "native")
    (root / "a").rename(tmp_path / "out")
    (root / "a").mkdir()
    (root / "a" / "first.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"a/first.jpg"))
    shutil.rmtree(root / "a")
    (tmp_path / "out").rmdir()
    (root / "b.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"b.jpg"))
    assert listener.watcher.check() == []


def test_without_recursion_only_the_folder_itself_is_heard(listener: Listener, tmp_path: Path, backend: str) -> None:
    (tmp_path / "sub").mkdir()
    listener.watcher.arm(os.fsencode(tmp_path), False, backend)
    (tmp_path / "sub" / "hidden.jpg").write_bytes(b"x")
    (tmp_path / "new").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"a.jpg"))
    assert {ref.path for ref, _ in listener.hints} == {b"a.jpg"}
    assert listener.desyncs == []


def test_a_root_that_is_a_symlink_is_watched_where_it_leads(listener: Listener, tmp_path: Path, backend: str) -> None:
    (tmp_path / "real").mkdir()
    root = tmp_path / "link"
    root.symlink_to("real")
    listener.watcher.arm(os.fsencode(root), True, backend)
    (tmp_path / "real" / "a.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"a.jpg"))
    assert {ref.root for ref, _ in listener.hints} == {os.fsencode(root)}


def test_a_symlink_to_a_folder_is_not_followed(listener: Listener, tmp_path: Path, backend: str) -> None:
    root, outside = tmp_path / "in", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "loop").symlink_to(root)
    listener.watcher.arm(os.fsencode(root), True, backend)
    (outside / "secret.jpg").write_bytes(b"x")
    (root / "a.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"a.jpg"))
    assert {ref.path for ref, _ in listener.hints} == {b"a.jpg"}


def test_a_file_without_a_name_makes_no_noise_until_it_is_linked(listener: Listener, tmp_path: Path) -> None:
    listener.watcher.arm(os.fsencode(tmp_path), True, "native")
    descriptor = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(descriptor, b"x")
    os.close(descriptor)
    (tmp_path / "a.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"a.jpg", HintKind.CLOSED))
    assert {ref.path for ref, _ in listener.hints} == {b"a.jpg"}


def test_more_changes_than_the_box_holds_become_a_rescan_of_the_root(tmp_path: Path) -> None:
    listener = Listener(limit=10)
    try:
        listener.watcher.arm(os.fsencode(tmp_path), True, "native")
        for attempt in range(20):
            for number in range(50):
                (tmp_path / f"{attempt}-{number}.jpg").write_bytes(b"x")
            time.sleep(0.05)  # they pile up meanwhile; if not, the next attempt will
            listener.drain()
            assert len(listener.hints) <= 10 * (attempt + 1)
            if listener.desyncs:
                break
        assert {(desync.root, desync.path) for desync in listener.desyncs} == {(os.fsencode(tmp_path), b"")}
        (tmp_path / "later.jpg").write_bytes(b"x")
        listener.until(lambda: listener.heard(b"later.jpg"))
    finally:
        listener.watcher.stop()


def test_a_disarmed_root_is_not_heard_and_leaves_nothing_behind(listener: Listener, tmp_path: Path) -> None:
    kept, dropped = tmp_path / "kept", tmp_path / "dropped"
    for root in (kept, dropped):
        root.mkdir()
        listener.watcher.arm(os.fsencode(root), True, "native")
    listener.watcher.disarm(os.fsencode(dropped))
    (dropped / "a.jpg").write_bytes(b"x")
    (kept / "b.jpg").write_bytes(b"x")
    listener.until(lambda: listener.heard(b"b.jpg"))
    assert {ref.root for ref, _ in listener.hints} == {os.fsencode(kept)}
    with pytest.raises(KeyError):
        listener.watcher.backend_of(os.fsencode(dropped))


def test_stopping_ends_every_thread_and_closes_every_descriptor(tmp_path: Path) -> None:
    threads, descriptors = set(threading.enumerate()), set(os.listdir("/proc/self/fd"))
    watcher = Watcher(lambda: None)
    for name, backend in (("a", "native"), ("b", "native"), ("c", "poll")):
        (tmp_path / name).mkdir()
        watcher.arm(os.fsencode(tmp_path / name), True, backend)
    assert len(set(threading.enumerate()) - threads) == 6  # a reader, two dispatchers, an emitter a root
    watcher.stop()
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= len(descriptors)


def test_a_wake_that_fails_because_the_loop_is_closed_leaves_the_watcher_working(tmp_path: Path) -> None:
    calls = []

    def closed_loop() -> None:
        calls.append(1)
        raise RuntimeError("Event loop is closed")

    watcher = Watcher(closed_loop)
    try:
        watcher.arm(os.fsencode(tmp_path))
        heard: list[bytes] = []
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / name).write_bytes(b"x")
            deadline_s = time.monotonic() + PATIENCE_S
            while os.fsencode(name) not in heard:
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
                heard += [ref.path for ref, _ in watcher.drain().hints]
        assert len(calls) >= 2
        assert watcher.check() == []
    finally:
        watcher.stop()
