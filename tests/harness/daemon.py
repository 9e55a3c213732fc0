"""Start, ask, kill and clean up one daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests import another_user
from tests.harness.folders import eventually

PROGRAMS = Path(sys.executable).parent
START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.out, f"nothing on standard output; standard error: {self.err}"
        return json.loads(self.out)


class Daemon:
    """A folder with `watched`, `state`, a control socket and a config file; a context manager that leaves nothing.

    The folder is short-named and not pytest's: a unix socket's path ends at 107 bytes.
    """

    def __init__(
        self, *, settle: str = "100ms", existing: str = "ignore", max_workers: int = 2, watch: str = ""
    ) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="imgoptd-test-"))
        self.watched = self.base / "watched"
        self.watched.mkdir()
        self.config = self.base / "imgoptd.toml"
        self.control = self.base / "control.sock"
        self.log = self.base / "log"
        self.write_config(settle=settle, existing=existing, max_workers=max_workers, watch=watch)
        self.process: subprocess.Popen[bytes] | None = None
        self._program = [str(PROGRAMS / "imgoptd")]
        self._rights: dict[str, Any] = {}
        self._seen: dict[int, psutil.Process] = {}

    def write_config(
        self, *, settle: str = "100ms", existing: str = "ignore", max_workers: int = 2, watch: str = "", more: str = ""
    ) -> None:
        """`watch`: further lines of the [[watch]] table; `more`: further tables."""
        self.config.write_text(
            f"""
[daemon]
state_dir = "{self.base}/state"
control = "{self.control}"
log = "text"
stop_timeout = "20s"

[workers]
max = {max_workers}

[[watch]]
path = "{self.watched}"
settle = "{settle}"
existing = "{existing}"
{watch}
{more}
"""
        )

    def run_as(self, uid: int) -> None:
        """From the next start on, as this user and group, who own the folders then. Needs root.

        Skips the test, with the reason, where that user cannot read this checkout.
        """
        self._program, self._rights = another_user.program("imgoptd"), another_user.rights(uid)
        for path in (self.base, self.watched, self.config):
            os.chown(path, uid, uid)

    def run_within(self, wrap: Callable[[list[str]], list[str]]) -> None:
        """From the next start on by the command that `wrap` makes of the program's."""
        self._program = wrap(self._program)

    # ---- its life ----

    def spawn(self, *flags: str) -> subprocess.Popen[bytes]:
        """Start it and return at once."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._program, "--config", self.config, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._rights,
            )
        self._seen[self.process.pid] = psutil.Process(self.process.pid)
        return self.process

    def start(self, *flags: str) -> None:
        """Start it and wait until it answers."""
        self.spawn(*flags)
        eventually(self.answers, START_TIMEOUT_S, f"the daemon answers; its log:\n{self.read_log()}")

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.read_log()}")
        return self.ctl("status", "--json").status == 0

    def run(self, *flags: str, timeout_s: float = 100.0) -> Answer:
        """Run it to its end (`--once`, `--check`, a refused start)."""
        done = subprocess.run(
            [PROGRAMS / "imgoptd", "--config", self.config, *flags],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        return Answer(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self, timeout_s: float = 30.0) -> int:
        """Wait for its end; the exit status, or the negated signal."""
        assert self.process is not None
        self.note_tree()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {timeout_s:g} s:\n{self.read_log()}") from None

    def stop(self, timeout_s: float = 30.0) -> int:
        self.note_tree()
        self.signal(signal.SIGTERM)
        return self.ended(timeout_s)

    def kill(self) -> None:
        """kill -9, as the machine's out-of-memory killer or a power cut would."""
        assert self.process is not None
        self.note_tree()
        self.process.kill()
        self.process.wait()

    # ---- its processes ----

    def tree(self) -> list[psutil.Process]:
        """Its descendants: the template first, then workers."""
        assert self.process is not None
        try:
            tree: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return tree

    def note_tree(self) -> None:
        for process in self.tree():
            self._seen[process.pid] = process

    def workers(self) -> list[psutil.Process]:
        """Processes that hold no other of the tree below them: children of the template."""
        assert self.process is not None
        parents = {process.pid: process.ppid() for process in self.tree() if process.is_running()}
        return [psutil.Process(pid) for pid, parent in parents.items() if parent in parents]

    def survivors(self) -> list[int]:
        """Processes of any of its lives that still run, but for the daemon itself where it was started again."""
        current = self.process.pid if self.process is not None and self.process.poll() is None else None
        return [pid for pid, process in self._seen.items() if pid != current and _runs(process)]

    # ---- asking it ----

    def ctl(self, *words: str | bytes | Path, timeout_s: float = 100.0, cwd: Path | None = None) -> Answer:
        done = subprocess.run(
            [PROGRAMS / "imgoptctl", "--socket", self.control, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            cwd=cwd,
        )
        return Answer(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))

    def status(self) -> dict[str, Any]:
        answer = self.ctl("status", "--json")
        assert answer.status == 0, answer
        result: dict[str, Any] = answer.json()
        return result

    def why(self, path: Path | bytes) -> dict[str, Any]:
        """The life of a file. One that was dropped just now is heard of a moment later: that is waited for."""
        answers: list[Answer] = []

        def seen() -> bool:
            answers.append(self.ctl("why", path, "--json"))
            return answers[-1].status == 0 or "not-seen" not in answers[-1].out

        eventually(seen, 10, f"the daemon has seen {path!r}")
        assert answers[-1].status == 0, answers[-1]
        result: dict[str, Any] = answers[-1].json()
        return result

    def wait(self, paths: Iterable[Path | bytes], timeout_s: float = 60.0) -> Answer:
        return self.ctl("wait", "--json", "--timeout", str(timeout_s), *paths, timeout_s=timeout_s + 15)

    def wait_done(self, paths: Sequence[Path | bytes], timeout_s: float = 60.0) -> None:
        """Until every path is done or skipped; anything else fails, with what was said."""
        answer = self.wait(paths, timeout_s)
        assert answer.status == 0, f"{answer}\n{self.read_log()}"

    def read_log(self) -> str:
        return os.fsdecode(self.log.read_bytes()) if self.log.exists() else ""

    # ---- the end ----

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None:
            self.note_tree()
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
        for process in self._seen.values():
            if process.is_running():
                process.kill()
        if error is not None and self.log.exists():
            print(f"---- log of the daemon ----\n{self.read_log()[-8000:]}")
        shutil.rmtree(self.base)


def _runs(process: psutil.Process) -> bool:
    try:
        # One that only waits to be reaped by init is gone; is_running() tells a reused pid.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
