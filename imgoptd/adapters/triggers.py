"""What the kernel or the service manager tells by itself when memory runs short. It says "look now", and no more.

Sources: systemd's MEMORY_PRESSURE.md, Documentation/accounting/psi.rst and cgroup-v1/memory.rst of the kernel.
"""

from __future__ import annotations

import base64
import binascii
import os
import select
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imgoptd.adapters.cgroup import Groups

WATCH, WRITE = "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"
_STALLS = (("some 50000 500000", "50 ms in 0.5 s"), ("some 100000 2000000", "100 ms in 2 s"))
"""To ask for, best first. Without CAP_SYS_RESOURCE a window must be a multiple of 2 s, and is told of at its end."""


@dataclass(slots=True)
class Trigger:
    """An armed one."""

    name: str
    """As `status` shows it."""
    fd: int
    """Readable when there is something to tell."""
    take: Callable[[], bool]
    """Take in what was told; False: it will tell nothing any more."""
    close: Callable[[], None]


class Refused(Exception):
    """The trigger cannot be armed here. The text says why."""


def switched_off(environ: Mapping[str, str]) -> bool:
    """The service manager wants no one to watch for pressure (`MemoryPressureWatch=off`)."""
    return environ.get(WATCH) == "/dev/null"


def arm(groups: Groups, environ: Mapping[str, str], proc: str = "/proc") -> tuple[list[Trigger], list[str]]:
    """All that can be armed here, and why the others cannot. Nothing is raised: readings go on without triggers."""
    if switched_off(environ):
        return [], [f"{WATCH}=/dev/null: switched off by the service manager"]
    armed: list[Trigger] = []
    refused: list[str] = []

    def attempt(make: Callable[[], Trigger]) -> bool:
        try:
            armed.append(make())
        except Refused as error:
            refused.append(str(error))
            return False
        return True

    asked = environ.get(WATCH, "")
    if not asked or not attempt(lambda: of_manager(asked, environ.get(WRITE, ""))):
        attempt(lambda: of_stalls(f"{proc}/pressure/memory"))
        own = groups.pressure_file
        if own is not None:
            attempt(lambda: of_stalls(own))
    if groups.v1_memory:
        folder = groups.v1_memory[0]
        attempt(lambda: of_group(folder, "memory.pressure_level", "medium"))
        attempt(lambda: of_group(folder, "memory.oom_control", ""))
    return armed, refused


def of_manager(path: str, write: str) -> Trigger:
    """What systemd's protocol names: a pressure file, a FIFO or a unix socket. `write`: base64, to be written first.

    Raises Refused.
    """
    try:
        first = base64.b64decode(write, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"{WRITE} is not base64: {error}") from None
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISREG(kind):
            return _polled(path, first, f"{WATCH} {path}")
        if stat.S_ISFIFO(kind):
            # For writing too: else the end of the last writer would be readable for ever.
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        elif stat.S_ISSOCK(kind):
            fd = _connected(path)
        else:
            raise Refused(f"{WATCH} {path}: neither a file nor a FIFO nor a socket")
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise Refused(f"{WATCH} {path}: {_why(error)}") from None
    try:
        if first:
            os.write(fd, first)
    except OSError as error:
        os.close(fd)
        raise Refused(f"{WATCH} {path}: {_why(error)}") from None
    return Trigger(f"{WATCH} {path}", fd, lambda: _drained(fd), lambda: os.close(fd))


def of_stalls(path: str) -> Trigger:
    """A trigger on a pressure file: the best of those that may be asked for here. Raises Refused."""
    why = ""
    for ask, told in _STALLS:
        try:
            return _polled(path, ask.encode() + b"\0", f"{path} {told}")
        except OSError as error:
            why = _why(error)
    raise Refused(f"{path}: {why}")


def of_group(folder: str, file: str, level: str) -> Trigger:
    """An event of a version 1 memory group: pressure of that level, or an OOM. Raises Refused."""
    name = f"{folder}/{file}"
    try:
        counter = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    except OSError as error:
        raise Refused(f"{name}: {_why(error)}") from None
    try:
        subject = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with open(f"{folder}/cgroup.event_control", "w", encoding="ascii") as control:
                control.write(f"{counter} {subject} {level}".strip())
        finally:
            os.close(subject)
    except OSError as error:
        os.close(counter)
        raise Refused(f"{name}: {_why(error)}") from None
    # The removal of the group is told like an event, once; whoever is in it would have been moved before.
    return Trigger(f"{name} {level}".strip(), counter, lambda: _drained(counter), lambda: os.close(counter))


def _polled(path: str, first: bytes, name: str) -> Trigger:
    """A file that tells by POLLPRI, which asyncio cannot wait for: it waits for an epoll that does. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if first:
            os.write(fd, first)
        poll = select.epoll()
        try:
            poll.register(fd, select.EPOLLPRI)
        except OSError:  # a plain file, which tells nothing
            poll.close()
            raise
    except OSError:
        os.close(fd)
        raise

    def take() -> bool:
        # Who waited for `poll` has taken the event by now, mostly; the error of a group that is gone stays.
        return not any(events & select.EPOLLERR for _, events in poll.poll(0))

    def close() -> None:
        poll.close()
        os.close(fd)

    return Trigger(name, poll.fileno(), take, close)


def _connected(path: str) -> int:
    """Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        client.connect(path)
        return client.detach()


def _drained(fd: int) -> bool:
    """Read away what is there; False at its end."""
    try:
        while chunk := os.read(fd, 4096):
            if len(chunk) < 4096:
                return True
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
