"""One message, one packet, descriptors beside it: blocking and non-blocking ends of a SOCK_SEQPACKET pair."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from imgoptd.wire.messages import FRAME_LIMIT_BYTES

M = TypeVar("M")

MAX_DESCRIPTORS = 4


class ProtocolError(Exception):
    """The peer sent what it must not: too long, not a message of ours, or the wrong number of descriptors."""


class Closed(Exception):
    """The peer is gone."""


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of packet sockets, close-on-exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def encode(message: msgspec.Struct) -> bytes:
    """Raises ProtocolError for a message that cannot be said: a value that msgpack does not hold, or too many bytes."""
    try:
        data = msgspec.msgpack.encode(message)
    except (OverflowError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ProtocolError(f"{type(message).__name__} cannot be encoded: {error}") from error
    if len(data) > FRAME_LIMIT_BYTES:
        raise ProtocolError(f"message of {len(data)} bytes is over the limit of {FRAME_LIMIT_BYTES}")
    return data


def send(sock: socket.socket, message: msgspec.Struct, descriptors: Sequence[int] = ()) -> None:
    """Send one packet.

    Raises Closed when the peer is gone, BlockingIOError when a non-blocking socket is full, other OSErrors, and
    ProtocolError as `encode`.
    """
    try:
        socket.send_fds(sock, [encode(message)], list(descriptors))
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed from error


class Receiver(Generic[M]):
    """Reads messages of one union of types from a socket."""

    def __init__(self, sock: socket.socket, kind: Any) -> None:
        self._sock = sock
        self._decoder = msgspec.msgpack.Decoder(kind)

    def receive(self, *, wait: bool = True) -> tuple[M, list[int]]:
        """The next message and the descriptors beside it, which the caller owns.

        Raises Closed at the end, ProtocolError on anything that is no message of ours (descriptors are closed then),
        and BlockingIOError when there is nothing and the socket is a non-blocking one, or `wait` says so.
        """
        how = socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT)
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(
                FRAME_LIMIT_BYTES, socket.CMSG_LEN(MAX_DESCRIPTORS * array.array("i").itemsize), how
            )
        except ConnectionResetError as error:
            raise Closed from error
        descriptors = array.array("i")
        for level, what, content in ancillary:
            if level == socket.SOL_SOCKET and what == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if not data:
            _close_all(descriptors)
            raise Closed
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ProtocolError("packet or its descriptors were cut")
            return self._decoder.decode(data), list(descriptors)
        except (msgspec.DecodeError, ProtocolError) as error:
            _close_all(descriptors)
            raise ProtocolError(str(error)) from error


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
