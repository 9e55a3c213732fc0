"""The warm template that forks the workers: started, talked to over a packet socket, and started anew when it dies.

Everything here runs in the event loop and never blocks.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

from imgoptd.adapters.owed import Owed
from imgoptd.adapters.processes import template_environment
from imgoptd.wire import frames
from imgoptd.wire import messages as m

RETRY_S = 1.0
RETRY_MOST_S = 60.0
_ENDED_AT_ONCE = (
    "the process that forks the workers ended at once; `imgoptd --check` shows what is wrong with the codecs"
)
_HANGS = (
    "the process that forks the workers does not answer (stopped by a signal, or by the machine?); it is ended with "
    "all workers, and a new one takes its place; their jobs wait again and are not to blame"
)


class Template:
    """Ends when its socket does, which is at our own end at the latest."""

    def __init__(
        self,
        *,
        on_up: Callable[[], None],
        on_message: Callable[[m.FromTemplate], None],
        on_gone: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        """`on_up`: it can be asked for workers. `on_gone`: it died, and all its workers with it; a new one follows."""
        self._on_up = on_up
        self._on_message = on_message
        self._on_gone = on_gone
        self._warn = warn
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._receiver: frames.Receiver[m.FromTemplate] | None = None
        self._closing = False
        self.owed = Owed(self._hangs)
        """Of each worker that was asked for that it was forked, of each that has died that it has."""
        self._retry_s = RETRY_S
        """Doubles each time one ends before it has forked anything."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_up(self) -> bool:
        return self._sock is not None

    def open(self) -> None:
        """Start it. Raises OSError."""
        ours, theirs = frames.pair()
        ours.setblocking(False)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "imgoptd.worker.template", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=template_environment(),
                start_new_session=True,  # Ctrl-C at a terminal is for the daemon, which drains; not for its workers
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._sock = ours
        self._receiver = frames.Receiver(ours, m.FromTemplate)
        asyncio.get_running_loop().add_reader(ours, self._read)
        self._on_up()

    def send(self, message: m.Spawn, fds: Sequence[int]) -> None:
        """Raises frames.Closed, OSError."""
        if self._sock is None:
            raise frames.Closed
        frames.send(self._sock, message, fds)

    def forked(self) -> None:
        """It has forked a worker: it is sound."""
        self._retry_s = RETRY_S

    async def close(self) -> None:
        """End it."""
        self._closing = True
        self.owed.clear()
        loop = asyncio.get_running_loop()
        if self._sock is None or self._process is None:
            return
        loop.remove_reader(self._sock)
        self._sock.close()
        process = self._process
        try:
            await loop.run_in_executor(None, process.wait, 2.0)
        except subprocess.TimeoutExpired:
            process.kill()
            await loop.run_in_executor(None, process.wait)
        self._process = self._sock = None

    def _read(self) -> None:
        assert self._receiver is not None
        try:
            while True:
                message, _ = self._receiver.receive()
                self.owed.drop(message.worker)
                self._on_message(message)
        except BlockingIOError:
            return
        except (frames.Closed, frames.ProtocolError):
            self._gone()

    def _hangs(self) -> None:
        """Nothing can be started any more, and nobody hears of those that die: its socket ends with it."""
        if self._process is not None:
            self._warn(_HANGS)
            self._process.kill()

    def _gone(self) -> None:
        self.owed.clear()
        loop = asyncio.get_running_loop()
        assert self._sock is not None and self._process is not None
        loop.remove_reader(self._sock)
        self._sock.close()
        self._sock = self._receiver = None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process = None
        self._on_gone()
        if not self._closing:
            if self._retry_s > RETRY_S:
                self._warn(f"{_ENDED_AT_ONCE}; next try in {self._retry_s:.0f} s")
            loop.call_later(self._retry_s, self._reopen)
            self._retry_s = min(RETRY_MOST_S, self._retry_s * 2)

    def _reopen(self) -> None:
        if self._closing or self._process is not None:
            return
        try:
            self.open()
        except OSError:
            # No process or descriptor is to be had now. Workers that wait are given up and asked for by the engine.
            asyncio.get_running_loop().call_later(RETRY_S, self._reopen)
