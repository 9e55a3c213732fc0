"""The fork server: `python -m imgoptd.worker.template FD`.

It loads the codecs, runs none of them, and forks a worker for each Spawn that comes through the socket FD. It has one
thread and must keep it: a codec that has run once may have left threads and locks behind that a fork does not copy.
"""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from typing import NoReturn

from imgoptd.wire.frames import Closed, ProtocolError, Receiver, send
from imgoptd.wire.messages import Exited, Spawn, Spawned, ToTemplate
from imgoptd.worker import loop

FORK_FAILED = 71
"""Exit status reported, with pid 0, for a worker that could not be forked (EX_OSERR of sysexits.h)."""
LAST_WAIT_S = 1.0
"""How long the template waits for its killed children before it ends itself; any left are then init's to reap."""
SOCKET_OF_WORKER = 3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of malloc.h."""
MMAP_BYTES, TRIM_BYTES = 1 << 20, 2 << 20
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A terminal or a service manager sends these to the whole group; the daemon alone decides what they mean."""


class Template:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._receiver: Receiver[ToTemplate] = Receiver(sock, ToTemplate)
        self._workers: dict[int, int] = {}
        """Our children: pid to the daemon's number of the worker."""
        self._wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Fork and reap until the daemon closes the socket. Raises ProtocolError."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                try:
                    if self._wake in ready:
                        os.read(self._wake, 4096)
                        self._reap()
                    if self._sock.fileno() in ready:
                        self._spawn()
                except Closed:
                    break
            self._end_all(selector)

    def _end_all(self, selector: selectors.BaseSelector) -> None:
        """The daemon is gone, and nobody hears what its workers do: end them, and leave none unreaped."""
        selector.unregister(self._sock)
        for pid in self._workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:
                pass  # root without CAP_KILL: it ends by itself when it finds its socket closed
        deadline_s = time.monotonic() + LAST_WAIT_S
        while self._reaped() and (left_s := deadline_s - time.monotonic()) > 0:
            if selector.select(left_s):
                os.read(self._wake, 4096)

    def _reaped(self) -> bool:
        """Reap what has ended, unreported; returns whether others are left."""
        while self._workers:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
            del self._workers[pid]
        return False

    def _spawn(self) -> None:
        spawn, descriptors = self._receiver.receive()
        if len(descriptors) != 2:
            raise ProtocolError(f"Spawn came with {len(descriptors)} descriptors")
        sock, stderr = descriptors
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(sock)
            os.close(stderr)
            send(self._sock, Exited(spawn.worker, 0, FORK_FAILED))
            return
        if pid == 0:
            _become_worker(sock, stderr, spawn, template)
        os.close(sock)
        os.close(stderr)
        self._workers[pid] = spawn.worker
        send(self._sock, Spawned(spawn.worker, pid))

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            send(self._sock, Exited(self._workers.pop(pid), pid, os.waitstatus_to_exitcode(status)))


def _become_worker(sock: int, stderr: int, spawn: Spawn, template: int) -> NoReturn:
    """The child's side of the fork; never returns into the template's code."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(stderr, 2)  # the daemon tells by its last words why it ended, and says so where it says all else
        os.dup2(sock, SOCKET_OF_WORKER)
        os.closerange(SOCKET_OF_WORKER + 1, os.sysconf("SC_OPEN_MAX"))
        loop.run(socket.socket(fileno=SOCKET_OF_WORKER), spawn, template)
        status = 0
    except BaseException:  # the traceback is all that remains of a worker that dies of its own
        _say_why()
    finally:
        os._exit(status)


def _say_why() -> None:
    """On standard error, which never blocks and may be full."""
    try:
        traceback.print_exc()
        sys.stderr.flush()
    except OSError:
        pass


def _nothing(number: int, frame: object) -> None:
    """SIGCHLD must have a handler to wake the selector."""


def main() -> int:
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.setblocking(True)
    os.set_inheritable(sock.fileno(), False)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # a codec that reads or prints must not reach the daemon's terminal
    os.dup2(null, 1)
    os.close(null)
    # One arena, because glibc never trims the top of any other: oxipng's thread would keep some 30 MB for good. Left to
    # itself, glibc raises both thresholds to tens of MB: what MozJPEG has freed would stay beside the comparison.
    libc = ctypes.CDLL(None)
    libc.mallopt(M_ARENA_MAX, 1)
    libc.mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
    libc.mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
    # One thread for oxipng: more would multiply the load and memory that the daemon plans with. Read at its first use.
    os.environ["RAYON_NUM_THREADS"] = "1"
    gc.collect()
    gc.freeze()  # a collection in a child must not touch, and so copy, the pages that all share
    Template(sock).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
