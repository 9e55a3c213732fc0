"""Daemons that are forked from a process which has everything imported: half a second less for each start.

What is forked is the whole daemon from its command line on, in a session of its own; only exec and imports are left
out. As a program (`python -m tests.torture.warm`) this is the process that forks and reaps them.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NoReturn, cast

import psutil

from imgoptd.cli.client import Client, ControlFailure
from tests.harness import Daemon, eventually
from tests.replacing import PROJECT
from tests.torture.counting import count

START_TIMEOUT_S = 60.0


class WarmProcess:
    """As much of subprocess.Popen as the harness needs, for a child of the server."""

    def __init__(self, server: Server, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self._reaped(0.0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._reaped(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("imgoptd", timeout or 0.0)
        return status

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            signal.pidfd_send_signal(self._pidfd, number)  # a zombie takes it, too: nobody but us reaps it

    def _reaped(self, timeout_s: float | None) -> int | None:
        if self.returncode is None:
            ready = select.poll()
            ready.register(self._pidfd, select.POLLIN)
            if not ready.poll(None if timeout_s is None else timeout_s * 1000):
                return None
            self.returncode = int(self._server.ask(f"reap\t{self.pid}"))
            os.close(self._pidfd)
        return self.returncode


class Server:
    """The process that forks them. One thread at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.warm"],
            cwd=PROJECT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def spawn(self, config: Path, log: Path) -> WarmProcess:
        return WarmProcess(self, int(self.ask(f"spawn\t{config}\t{log}")))

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class WarmDaemon(Daemon):
    """A Daemon of the harness that starts fast, and is asked without starting a program for each question."""

    def __init__(
        self,
        *,
        settle: str = "100ms",
        existing: str = "ignore",
        max_workers: int = 2,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(settle=settle, existing=existing, max_workers=max_workers)
        self.client = Client(str(self.control))
        self._server = Server(environment or {})

    def spawn(self, *flags: str) -> subprocess.Popen[bytes]:
        assert not flags
        process = self._server.spawn(self.config, self.log)
        self._seen[process.pid] = psutil.Process(process.pid)
        self.process = cast("subprocess.Popen[bytes]", process)
        return self.process

    def start(self, *flags: str) -> None:
        self.spawn(*flags)
        eventually(self.answers, START_TIMEOUT_S, f"the daemon answers; its log:\n{self.read_log()}")

    def start_watching(self) -> None:
        """Start it in a new folder, and wait until what comes from then on is new to it."""
        self.start()
        eventually(self._knows_what_stood, START_TIMEOUT_S, f"the first scan is over; its log:\n{self.read_log()}")

    def _knows_what_stood(self) -> bool:
        return count(self.base / "state", "root WHERE baseline = 1") > 0

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.read_log()[-4000:]}")
        try:
            self.client.status()
        except ControlFailure:
            return False
        return True

    def unfinished(self, paths: list[bytes], timeout_s: float) -> list[str]:
        """Wait for the files; those that are neither done nor skipped then, with what is said of each.

        A deferred one is not waited for, nor one whose folder is not watched yet. Raises ControlFailure.
        """
        try:
            answers = self.client.wait(paths, timeout_s)
        except ControlFailure as error:
            if error.path is None:
                raise
            time.sleep(0.05)
            return [str(error)]
        return [f"{one}" for one in answers if not one["finished"] or one["state"] not in ("done", "skipped")]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._server.close()


# ---- the server -----------------------------------------------------------------------------------------------------


def serve() -> None:
    import imgoptd.cli.imgoptd
    import imgoptd.daemon.service  # noqa: F401  # what the command line imports late

    assert threading.active_count() == 1, "a process with threads must not fork"
    for line in sys.stdin:
        what, *words = line.rstrip("\n").split("\t")
        if what == "spawn":
            pid = os.fork()
            if pid == 0:
                _live(*words)
            print(pid, flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(int(words[0]), 0)[1]), flush=True)


def _live(config: str, log: str) -> NoReturn:
    from imgoptd.cli.imgoptd import main

    status = 70
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for given, number in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(given, number)
        os.close(nothing)
        os.close(out)
        os.environ.pop("LD_PRELOAD", None)  # what it starts is not meant: workers may not open what was preloaded
        status = main(["--config", config])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
