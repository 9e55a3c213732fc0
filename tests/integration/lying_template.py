"""A template that forks workers which lie, as one would that its file has taken over: `lying_template.py LIES FD`.

LIES names the lie of some workers, `1=garbage,2=oversized`; the others are honest. A lie is told in answer to the first
task, after a proper Ready; then the liar stays until it is ended.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

import msgspec

from imgoptd.core.model import Effort, Failure, FailureKind, ImageFacts, Outcome, Verdict
from imgoptd.wire import messages as m
from imgoptd.wire.frames import Receiver
from imgoptd.worker import template as real

MOST = (1 << 63) + 1  # more than a column of SQLite holds
GOOD = m.ProbeReply(1, ImageFacts("jpeg", 1, 1))


def facts(*, width: int = 1, depth_bits: int = 8) -> m.ProbeReply:
    return m.ProbeReply(1, ImageFacts("jpeg", width, 1, depth_bits))


def outcome(effort: Effort) -> m.OptimizeReply:
    return m.OptimizeReply(1, Outcome(Verdict.KEPT, effort=effort))


def packets(*messages: msgspec.Struct | bytes) -> Callable[[socket.socket], None]:
    def tell(sock: socket.socket) -> None:
        for message in messages:
            sock.send(message if isinstance(message, bytes) else msgspec.msgpack.encode(message))

    return tell


def flood(sock: socket.socket) -> None:
    while True:
        sock.send(msgspec.msgpack.encode(m.Ready()))


def descriptors(count: int) -> Callable[[socket.socket], None]:
    def tell(sock: socket.socket) -> None:
        socket.send_fds(sock, [msgspec.msgpack.encode(GOOD)], [0] * count)

    return tell


LIES: dict[str, Callable[[socket.socket], None]] = {
    "oversized": packets(bytes(100_000)),
    "garbage": packets(b"\xc1 no message"),
    "no-such-task": packets(m.ProbeReply(999)),
    "twice": packets(GOOD, GOOD),
    "flood": flood,
    "wrong-kind": packets(m.OptimizeReply(1, Outcome(Verdict.OPTIMIZED, 10))),
    "many-descriptors": descriptors(40),
    "negative-width": packets(facts(width=-5)),
    "huge-width": packets(facts(width=MOST)),
    "huge-depth": packets(facts(depth_bits=MOST)),
    "long-format": packets(m.ProbeReply(1, ImageFacts("x" * 1000))),
    "long-detail": packets(m.ProbeReply(1, None, Failure(FailureKind.CORRUPT, "r", "x" * 50_000))),
    "endless-cpu": packets(outcome(Effort(cpu_s=float("inf")))),
    "no-number": packets(outcome(Effort(wall_s=float("nan")))),
    "negative-cpu": packets(outcome(Effort(cpu_s=-1.0))),
    "huge-peak": packets(outcome(Effort(peak_bytes=MOST))),
    "few-descriptors": descriptors(3),
}


def main(lies: str) -> int:
    told = dict(pair.split("=") for pair in lies.split(",") if pair)
    honest = real._become_worker

    def become(sock: int, stderr: int, spawn: m.Spawn, template: int) -> NoReturn:
        lie = told.get(str(spawn.worker))
        if lie is None:
            honest(sock, stderr, spawn, template)
        try:
            end = socket.socket(fileno=sock)
            end.send(msgspec.msgpack.encode(m.Ready()))
            receiver: Receiver[m.ToWorker] = Receiver(end, m.ToWorker)
            receiver.receive()
            LIES[lie](end)
            while True:
                os.kill(os.getpid(), signal.SIGSTOP)
        finally:
            os._exit(1)

    real._become_worker = become
    return real.main()


if __name__ == "__main__":
    sys.exit(main(sys.argv.pop(1)))
