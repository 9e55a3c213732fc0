"""A whole daemon that goes on from trial to trial: one file each time, and something done to the daemon meanwhile."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

import psutil

from imgoptd.cli.client import ControlFailure
from tests import images
from tests.checker import FileFacts, compare, snapshot
from tests.fault.small_disk import fill
from tests.harness import eventually, unique
from tests.torture.counting import count
from tests.torture.strace import Strace
from tests.torture.warm import WarmDaemon

SOON_S = 60.0
"""Within which it works again after the end of what kept it."""

Cause = Callable[["Life"], AbstractContextManager[object]]


class Life:
    """Use as a context manager. Every trial returns what was wrong."""

    def __init__(self, tmpfs: bool = False) -> None:
        """`tmpfs`: the watched folder is one of its own, of two MiB, which only root can have."""
        self.daemon = WarmDaemon(settle="50ms", max_workers=1)
        self._tmpfs = tmpfs
        self._number = 0
        if tmpfs:
            watched = self.daemon.watched
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs", watched], check=True)

    def __enter__(self) -> Life:
        self.daemon.start_watching()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tmpfs:
            subprocess.run(["umount", "--lazy", self.daemon.watched], check=True)
        self.daemon.__exit__(kind, error, trace)

    @property
    def pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid

    # ---- trials -----------------------------------------------------------------------------------------------------

    def calls(self) -> dict[str, int]:
        """How often the busiest thread makes each call for one file."""
        with Strace(self.pid, threads=True) as strace:
            path, _ = self._publish()
            self._done(path)
            time.sleep(0.1)
        os.unlink(path)
        return strace.calls

    def killed_at(self, inject: str) -> tuple[bool, list[str]]:
        """Did it die there, and what was wrong then, and when it was started again."""
        with Strace(self.pid, inject, threads=True):
            path, before = self._publish()
            died = self._died_or_done(path)
        if not died:
            return False, self._end(path, before)
        wrong = self._wrong_at_once(before)
        self.daemon.kill()  # reaps it, and what it left behind ends by itself
        self.daemon.start()
        return True, wrong + self._end(path, before)

    def kept_by(self, cause: Cause, lasting_s: float) -> tuple[float, list[str]]:
        """How long after the end of the cause the file was done, and what was wrong."""
        with cause(self):
            path, before = self._publish()
            time.sleep(lasting_s)
        ended = time.monotonic()
        wrong = self._end(path, before)
        return time.monotonic() - ended, wrong

    # ---- a file -----------------------------------------------------------------------------------------------------

    def _publish(self) -> tuple[bytes, dict[bytes, FileFacts]]:
        """A new picture, moved in from elsewhere in one step or, from another filesystem, written."""
        self._number += 1
        name = f"{self._number}.jpg"
        staged = self.daemon.base / "staged"
        staged.mkdir(exist_ok=True)
        whole = staged / name
        whole.write_bytes(unique(_PICTURE, f"content {self._number} of {self.pid}"))
        whole.chmod(0o640)
        os.setxattr(whole, "user.mark", name.encode())
        before = snapshot(staged)
        target = self.daemon.watched / name
        if self._tmpfs:
            subprocess.run(["mv", "--", whole, target], check=True)
        else:
            os.rename(whole, target)
        return os.fsencode(target), before

    def _done(self, path: bytes) -> None:
        unfinished = self.daemon.unfinished([path], SOON_S)
        assert not unfinished, unfinished

    def _died_or_done(self, path: bytes) -> bool:
        """Whichever comes first."""
        assert self.daemon.process is not None
        deadline = time.monotonic() + SOON_S
        while self.daemon.process.poll() is None and time.monotonic() < deadline:
            try:
                if not self.daemon.unfinished([path], 0.2):
                    return False
            except ControlFailure:
                pass  # it ends, or has not yet heard of the file
        return self.daemon.process.poll() is not None

    # ---- what must be true ------------------------------------------------------------------------------------------

    def _wrong_at_once(self, before: dict[bytes, FileFacts]) -> list[str]:
        """A dead daemon leaves the old or the new, and a temp only under an intent."""
        after = snapshot(self.daemon.watched)
        temps = {name for name in after if b"imgoptd-" in name}
        wrong = [f"at once: {one}" for one in compare(before, {n: f for n, f in after.items() if n not in temps})]
        if temps and not self._count("intent"):
            wrong.append(f"at once: {temps} without an intent")
        return wrong

    def _end(self, path: bytes, before: dict[bytes, FileFacts]) -> list[str]:
        """The file comes to its end within SOON_S, and all is as it should be; then it is taken away."""
        daemon = self.daemon
        wrong = []
        try:
            eventually(daemon.answers, SOON_S, "the daemon answers")
            eventually(lambda: not daemon.unfinished([path], 1), SOON_S, f"done within {SOON_S:.0f} s")
        except (ControlFailure, AssertionError) as error:
            wrong.append(str(error))
        after = snapshot(daemon.watched)
        wrong += [str(one) for one in compare(before, after, atime=False)]
        [name] = before
        if name in after and after[name].inode == before[name].inode:
            wrong.append("it was not made smaller")
        if intents := self._count("intent"):
            wrong.append(f"{intents} intents left")
        of_file = f"file.path = CAST('{name.decode()}' AS BLOB)"
        receipts = self._count(f"receipt JOIN file ON file.id = receipt.file WHERE {of_file}")
        if receipts != 1:
            wrong.append(f"{receipts} receipts")
        if wrong:
            wrong.append(daemon.read_log()[-3000:])
        for left in after:
            os.unlink(os.path.join(os.fsencode(daemon.watched), left))
        if daemon.process is None or daemon.process.poll() is not None:
            daemon.start()
        return wrong

    def _count(self, rows: str) -> int:
        return count(self.daemon.base / "state", rows)


# ---- causes ---------------------------------------------------------------------------------------------------------


def failing(inject: str) -> Cause:
    """strace makes calls of the daemon fail."""
    return lambda life: Strace(life.pid, inject, threads=True)


@contextmanager
def no_descriptors(life: Life) -> Iterator[None]:
    """A real EMFILE: no descriptor more than are open now."""
    process = psutil.Process(life.pid)
    had = resource.prlimit(life.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(life.pid, resource.RLIMIT_NOFILE, (process.num_fds() + random.randint(0, 4), had[1]))
    try:
        yield
    finally:
        resource.prlimit(life.pid, resource.RLIMIT_NOFILE, had)


@contextmanager
def no_room(life: Life) -> Iterator[None]:
    """A real ENOSPC: the filesystem of the watched folder, a small tmpfs, has no room but for the file that comes."""
    filling = life.daemon.base / "filling"
    hold = life.daemon.watched / ".full.tmp"
    filling.write_bytes(bytes(len(_PICTURE) + 4096))
    shutil.copy(filling, life.daemon.watched / ".room.tmp")
    fill(hold)
    os.unlink(life.daemon.watched / ".room.tmp")
    try:
        yield
    finally:
        os.unlink(hold)


@contextmanager
def read_only(life: Life) -> Iterator[None]:
    """A real EROFS: the filesystem turns read-only as soon as the file is there."""

    def turn() -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if any(life.daemon.watched.iterdir()):
                # Refused while anybody has a file open for writing there.
                done = subprocess.run(["mount", "-o", "remount,ro", life.daemon.watched], capture_output=True)
                if done.returncode == 0:
                    return

    turning = threading.Thread(target=turn)
    turning.start()
    try:
        yield
    finally:
        turning.join()
        subprocess.run(["mount", "-o", "remount,rw", life.daemon.watched], check=True)


_PICTURE = images.jpegs()["everything.jpg"]
