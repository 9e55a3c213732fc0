"""When the kernel's queue overflows or its limits are reached: rescans, words and polling, never deafness."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imgoptd.adapters.watcher import Watcher
from tests.listening import Listener
from tests.short_queue import short_queue

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may set sysctl values")


@pytest.fixture
def ear() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.watcher.stop()


@contextlib.contextmanager
def deafened(watcher: Watcher) -> Iterator[None]:
    """Nobody reads the kernel's queue meanwhile: otherwise a fast reader may keep up even with a queue of 16."""
    assert watcher._native is not None
    with contextlib.ExitStack() as stack:
        for emitter in watcher._native.emitters:
            stack.enter_context(emitter._inotify._lock)  # type: ignore[attr-defined]  # no public way to slow it down
        yield


@needs_root
def test_after_a_queue_overflow_the_root_is_rescanned_and_every_folder_is_heard(ear: Listener, tmp_path: Path) -> None:
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
def test_overflow_after_overflow_does_not_keep_the_watcher_busy_once_it_is_quiet(ear: Listener, tmp_path: Path) -> None:
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


def limited(setting: str, value: int, *arguments: str) -> dict[str, Any]:
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
