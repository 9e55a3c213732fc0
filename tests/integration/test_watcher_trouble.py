"""When watching itself fails: lost roots, overflows, limits, dead threads. Nothing of it may go unsaid."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imgoptd.adapters import filesystems
from imgoptd.adapters.hints import Desync
from imgoptd.adapters.watcher import Trouble, Watcher, WatchError

PATIENCE_S = 20.0
QUEUE_LIMIT = Path("/proc/sys/fs/inotify/max_queued_events")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount, change users and set sysctl values")


class Ear:
    """A watcher, all paths it hinted at, and all it wants rescanned."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.watcher = Watcher(self.woken.set)
        self.paths: set[bytes] = set()
        self.desyncs: list[Desync] = []

    def until(self, said: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not said():
            assert time.monotonic() < deadline_s, f"paths {sorted(self.paths)[-20:]}, desyncs {self.desyncs[-20:]}"
            self.woken.wait(0.2)
            self.woken.clear()
            batch = self.watcher.drain()
            self.paths.update(ref.path for ref, _ in batch.hints)
            self.desyncs += batch.desyncs

    def trouble(self) -> Trouble | None:
        found = self.watcher.check()
        assert len(found) <= 1
        return found[0].kind if found else None


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    yield made
    made.watcher.stop()


@pytest.fixture(params=["native", "poll"])
def armed(request: pytest.FixtureRequest, ear: Ear, tmp_path: Path) -> Path:
    root = tmp_path / "in"
    root.mkdir()
    ear.watcher.arm(os.fsencode(root), True, str(request.param))
    assert ear.trouble() is None
    return root


def hears_again(ear: Ear, root: Path) -> None:
    """Rearming reports the whole root for a rescan, and later files are heard."""
    ear.watcher.rearm(os.fsencode(root))
    assert ear.trouble() is None
    ear.until(lambda: any((desync.root, desync.path) == (os.fsencode(root), b"") for desync in ear.desyncs))
    (root / "later.jpg").write_bytes(b"x")
    ear.until(lambda: b"later.jpg" in ear.paths)


def test_a_deleted_root_is_missing_and_heard_again_once_it_is_back(ear: Ear, armed: Path) -> None:
    armed.rmdir()
    assert ear.trouble() is Trouble.MISSING
    with pytest.raises(WatchError, match="No such file or directory; create it or mount it"):
        ear.watcher.rearm(os.fsencode(armed))
    assert ear.trouble() is Trouble.MISSING
    armed.mkdir()
    assert ear.trouble() is Trouble.NOT_ARMED
    hears_again(ear, armed)


def test_a_root_deleted_and_made_again_between_two_checks_is_noticed(ear: Ear, armed: Path) -> None:
    armed.rmdir()
    (armed.parent / "takes the freed inode").mkdir()
    armed.mkdir()
    ear.until(lambda: ear.trouble() in (Trouble.REPLACED, Trouble.DEAD))
    hears_again(ear, armed)


def test_a_renamed_root_is_missing_and_its_successor_is_replaced(ear: Ear, armed: Path) -> None:
    armed.rename(armed.parent / "elsewhere")
    assert ear.trouble() is Trouble.MISSING
    armed.mkdir()
    assert ear.trouble() is Trouble.REPLACED
    hears_again(ear, armed)


def test_a_symlinked_root_that_leads_elsewhere_now_is_replaced(ear: Ear, tmp_path: Path) -> None:
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
def test_a_filesystem_mounted_over_the_root_is_noticed_and_so_is_its_end(ear: Ear, armed: Path) -> None:
    with mounted(armed):
        assert ear.trouble() is Trouble.REPLACED
        hears_again(ear, armed)
    assert ear.trouble() is Trouble.REPLACED
    ear.paths.clear()
    hears_again(ear, armed)


@needs_root
def test_a_filesystem_mounted_below_the_root_is_noticed_and_then_heard(ear: Ear, armed: Path) -> None:
    below = armed / "odd name\twith tab"
    below.mkdir()
    with mounted(below):
        assert ear.trouble() is Trouble.MOUNTS
        hears_again(ear, armed)
        (below / "inside.jpg").write_bytes(b"x")
        ear.until(lambda: os.fsencode(below.name) + b"/inside.jpg" in ear.paths)
    assert ear.trouble() is Trouble.MOUNTS


def test_a_dead_reading_thread_is_noticed_and_all_roots_are_heard_again(ear: Ear, tmp_path: Path) -> None:
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


def test_a_root_that_is_missing_at_first_can_be_armed_later(ear: Ear, tmp_path: Path) -> None:
    root = tmp_path / "not yet"
    with pytest.raises(WatchError, match="create it or mount it"):
        ear.watcher.arm(os.fsencode(root))
    assert ear.trouble() is Trouble.MISSING
    root.mkdir()
    hears_again(ear, root)


def test_a_root_that_is_a_file_is_refused(ear: Ear, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(WatchError, match="is not a folder; name the folder"):
        ear.watcher.arm(os.fsencode(tmp_path / "file"))


def test_one_folder_under_two_names_is_refused_and_the_first_goes_on(ear: Ear, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    ear.watcher.arm(os.fsencode(tmp_path / "real"))
    with pytest.raises(WatchError, match=r"is the same as .*; remove one of the two"):
        ear.watcher.arm(os.fsencode(tmp_path / "link"))
    ear.watcher.disarm(os.fsencode(tmp_path / "link"))
    (tmp_path / "real" / "a.jpg").write_bytes(b"x")
    ear.until(lambda: b"a.jpg" in ear.paths)
    assert ear.trouble() is None


def test_arming_twice_hears_once_more(ear: Ear, armed: Path) -> None:
    ear.watcher.arm(os.fsencode(armed), True, "native")
    (armed / "a.jpg").write_bytes(b"x")
    ear.until(lambda: b"a.jpg" in ear.paths)
    assert ear.watcher.backend_of(os.fsencode(armed)).name == "native"
    assert ear.trouble() is None


def test_a_network_filesystem_is_polled_unless_told_otherwise(
    ear: Ear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor = os.open(tmp_path, os.O_PATH)
    kind = filesystems.fsinfo.magic_of(descriptor)
    os.close(descriptor)
    monkeypatch.setitem(filesystems._REMOTE, kind, "nfs")  # what lies under the tests is taken for a network one
    ear.watcher.arm(os.fsencode(tmp_path))
    assert ear.watcher.backend_of(os.fsencode(tmp_path)).name == "poll"
    assert "nfs" in ear.watcher.backend_of(os.fsencode(tmp_path)).why
    ear.watcher.arm(os.fsencode(tmp_path), True, "native")
    assert ear.watcher.backend_of(os.fsencode(tmp_path)).name == "native"


# ---- the kernel's queue ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def short_queue() -> Iterator[None]:
    """Queues made meanwhile hold 16 events. The value is the machine's: one test at a time, and put back at once."""
    with QUEUE_LIMIT.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = QUEUE_LIMIT.read_text()
        try:
            QUEUE_LIMIT.write_text("16")
        except OSError as error:
            pytest.skip(f"the queue's limit cannot be set here: {error}")
        try:
            yield
        finally:
            QUEUE_LIMIT.write_text(before)


@contextlib.contextmanager
def deafened(watcher: Watcher) -> Iterator[None]:
    """Nobody reads the kernel's queue meanwhile: otherwise a fast reader may keep up even with a queue of 16."""
    assert watcher._native is not None
    with contextlib.ExitStack() as stack:
        for emitter in watcher._native.emitters:
            stack.enter_context(emitter._inotify._lock)  # type: ignore[attr-defined]  # no public way to slow it down
        yield


@needs_root
def test_after_a_queue_overflow_the_root_is_rescanned_and_every_folder_is_heard(ear: Ear, tmp_path: Path) -> None:
    root, other = tmp_path / "in", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    with short_queue():
        ear.watcher.arm(os.fsencode(root), True, "native")
    ear.watcher.arm(os.fsencode(other), True, "native")
    script = "import os\nfor n in range(500):\n os.makedirs(f'{n}/x')\n open(f'{n}/x/a.jpg', 'w').close()\n"
    with deafened(ear.watcher):
        subprocess.run([sys.executable, "-c", script], cwd=root, check=True)

    def overflowed() -> set[bytes]:
        return {desync.root for desync in ear.desyncs if "overflow" in desync.why}

    # one queue serves all roots, so the quiet one may have lost events too
    ear.until(lambda: overflowed() == {os.fsencode(root), os.fsencode(other)})
    (root / "done").write_bytes(b"x")
    ear.until(lambda: b"done" in ear.paths)
    assert ear.trouble() is None
    for folder in (f"{number}/x" for number in range(0, 500, 50)):
        (root / folder / "later.jpg").write_bytes(b"x")
        ear.until(functools.partial(ear.paths.__contains__, f"{folder}/later.jpg".encode()))
    (other / "later.jpg").write_bytes(b"x")
    ear.until(lambda: b"later.jpg" in ear.paths)


@needs_root
def test_overflow_after_overflow_does_not_keep_the_watcher_busy_once_it_is_quiet(ear: Ear, tmp_path: Path) -> None:
    """watchdog's own rebuild would overflow a short queue again and again."""
    for number in range(300):
        (tmp_path / str(number)).mkdir()
    with short_queue():
        ear.watcher.arm(os.fsencode(tmp_path), True, "native")
    for _ in range(3):
        script = "for n in range(1000): open(f'{n % 300}/{n}.jpg', 'w').close()"
        with deafened(ear.watcher):
            subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    ear.until(lambda: any("overflow" in desync.why for desync in ear.desyncs))
    (tmp_path / "299" / "done").write_bytes(b"x")
    ear.until(lambda: b"299/done" in ear.paths)
    time.sleep(0.5)
    ear.watcher.drain()
    time.sleep(0.5)
    assert not ear.watcher.drain()


# ---- the kernel's limits, set low in a user namespace of a process's own --------------------------------------------

LIMITED = """
import os, sys, json
from imgoptd.adapters.watcher import Watcher, WatchError
watcher = Watcher(lambda: None)
root = os.fsencode(sys.argv[1])
said = {}
for backend in ("native", "auto"):
    try:
        watcher.arm(root, True, backend)
        said[backend] = [watcher.backend_of(root).name, watcher.backend_of(root).why]
    except WatchError as error:
        said[backend] = ["error", str(error)]
if len(sys.argv) > 2:
    watcher.arm(root, True, "native")
    for number in range(20):
        os.mkdir(os.path.join(root, b"new%d" % number))
    import time
    for _ in range(400):
        found = watcher.check()
        if found:
            break
        time.sleep(0.05)
    said["later"] = [trouble.kind for trouble in found]
    watcher.rearm(root)
    said["rearmed"] = watcher.backend_of(root).name
watcher.stop()
print(json.dumps(said))
"""


def limited(setting: str, value: int, *arguments: str) -> dict[str, list[str]]:
    set_limit = f'echo {value} >/proc/sys/user/{setting} || exit 77; exec "$@"'
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", set_limit, "sh", sys.executable, "-c", LIMITED, *arguments],
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no user namespace of our own here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_without_watches_left_native_says_which_sysctl_to_raise_and_auto_polls(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).mkdir()
    said = limited("max_inotify_watches", 5, os.fspath(tmp_path))
    assert said["native"][0] == "error"
    assert "put user.max_inotify_watches = 524288 into /etc/sysctl.d/60-imgoptd.conf" in said["native"][1]
    assert said["auto"][0] == "poll"
    assert "user.max_inotify_watches = 5" in said["auto"][1]


def test_without_instances_left_native_says_which_sysctl_to_raise_and_auto_polls(tmp_path: Path) -> None:
    said = limited("max_inotify_instances", 0, os.fspath(tmp_path))
    assert said["native"][0] == "error"
    assert "put user.max_inotify_instances = 1024 into" in said["native"][1]
    assert said["auto"][0] == "poll"


def test_watches_that_run_out_later_are_noticed_and_rearming_polls(tmp_path: Path) -> None:
    said = limited("max_inotify_watches", 5, os.fspath(tmp_path), "later")
    assert said["native"][0] == said["auto"][0] == "native"
    assert said["later"] == ["partial"]
    assert said["rearmed"] == "poll"


@needs_root
def test_a_root_that_this_user_may_not_list_is_refused_with_a_mend() -> None:
    code = (
        "import sys, os\nfrom imgoptd.adapters.watcher import Watcher, WatchError\n"
        "try: Watcher(lambda: None).arm(os.fsencode(sys.argv[1]))\nexcept WatchError as error: print(error)"
    )
    with tempfile.TemporaryDirectory() as outer:  # pytest's own folders are closed to other users
        os.chmod(outer, 0o755)
        root = Path(outer) / "in"
        root.mkdir(mode=0o700)
        done = subprocess.run(
            [sys.executable, "-c", code, root], capture_output=True, text=True, user=65534, group=65534, cwd="/"
        )
    if "ModuleNotFoundError" in done.stderr or "PermissionError" in done.stderr:
        pytest.skip("another user cannot read this checkout")
    assert "cannot be listed by this user; give the user r and x on it" in done.stdout
