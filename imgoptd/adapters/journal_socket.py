"""A sender of journal entries that never hangs.

`systemd.journal.send` waits without end when journald stops reading (on a kernel with `net.unix.max_dgram_qlen` = 10
the 14th entry did) and returns as if all were well when there is no journald. A daemon that must answer its own
watchdog can use neither, so the native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/) is spoken here: one
datagram an entry, and the caller learns whether it was taken.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable

SOCKET_PATH = "/run/systemd/journal/socket"

_PATIENCE_S = 0.05
"""How long one entry may wait for room in journald's queue: bursts of hundreds pass, a hung journald costs it once."""
_SULK_S = 1.0
"""After an entry was refused nothing waits for so long."""


class JournalSocket:
    """Sends entries to the journald that listens at `path`; the socket file may come, go and be replaced meanwhile."""

    def __init__(self, path: str = SOCKET_PATH) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        # Not settimeout(): that polls an unconnected datagram socket, which is always writable, and spins.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, int(_PATIENCE_S * 1e6)))
        self._refused_until_s = 0.0

    def send(self, fields: Iterable[tuple[str, bytes]]) -> bool:
        """Send one entry. True when journald's queue has taken it; False when it must be said elsewhere."""
        flags = socket.MSG_NOSIGNAL
        if time.monotonic() < self._refused_until_s:
            flags |= socket.MSG_DONTWAIT
        try:
            self._socket.sendto(encode(fields), flags, self._path)
        except BlockingIOError:
            self._refused_until_s = time.monotonic() + _SULK_S
            return False
        except OSError:  # no socket file, nobody behind it, no right to it, or an entry too large for a datagram
            return False
        return True

    def close(self) -> None:
        self._socket.close()


def encode(fields: Iterable[tuple[str, bytes]]) -> bytes:
    """An entry in the native protocol. Values with a newline are framed by their length, so any bytes are safe."""
    parts: list[bytes] = []
    for name, value in fields:
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts)
