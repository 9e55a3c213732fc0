"""A real template process and its workers, driven by hand over their sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

import psutil

from imgoptd.core.model import ImageFacts, JobSettings
from imgoptd.wire.frames import Receiver, pair, send
from imgoptd.wire.messages import (
    FromTemplate,
    FromWorker,
    OptimizeReply,
    OptimizeTask,
    ProbeReply,
    ProbeTask,
    Ready,
    Spawn,
    Spawned,
)

NOBODY = 65534
NOBODY_IF_ROOT = NOBODY if os.geteuid() == 0 else None


class Worker:
    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.sock, self.pid = sock, pid
        self.receiver: Receiver[FromWorker] = Receiver(sock, FromWorker)
        ready, _ = self.receiver.receive()
        assert isinstance(ready, Ready)
        self.protections = ready.protections

    def probe(self, descriptor: int) -> ProbeReply:
        send(self.sock, ProbeTask(7), [descriptor])
        reply, _ = self.receiver.receive()
        assert isinstance(reply, ProbeReply) and reply.task == 7
        return reply

    def optimize(self, source: int, target: int, format_: str, memory_bytes: int = 0) -> OptimizeReply:
        send(self.sock, OptimizeTask(8, ImageFacts(format_), JobSettings(), memory_bytes), [source, target])
        reply, _ = self.receiver.receive()
        assert isinstance(reply, OptimizeReply) and reply.task == 8
        return reply


class Server:
    """A template process and the workers asked of it."""

    def __init__(self, under: Sequence[str] = ()) -> None:
        self.sock, theirs = pair()
        self.sock.settimeout(20)
        self._errors = os.memfd_create("standard error")
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "imgoptd.worker.template", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stderr=self._errors,
        )
        theirs.close()
        self.receiver: Receiver[FromTemplate] = Receiver(self.sock, FromTemplate)
        self.workers: list[Worker] = []

    def said(self) -> str:
        """What template and workers have written to standard error so far."""
        return os.pread(self._errors, 1 << 20, 0).decode()

    def receive(self) -> FromTemplate:
        return self.receiver.receive()[0]

    def spawn(self, worker: int = 1, *, nice: int = 0, drop_uid: int | None = NOBODY_IF_ROOT) -> Worker:
        ours, theirs = pair()
        ours.settimeout(20)
        send(self.sock, Spawn(worker, nice, drop_uid), [theirs.fileno(), self._errors])
        theirs.close()
        answer = self.receive()
        assert isinstance(answer, Spawned) and answer.worker == worker
        self.workers.append(Worker(ours, answer.pid))
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            worker.sock.close()
        self.sock.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            sys.stderr.write(self.said())
            os.close(self._errors)


def gone(pid: int) -> bool:
    """Wait for the end of a process that is not our child."""
    try:
        psutil.Process(pid).wait(timeout=20)
    except psutil.NoSuchProcess:
        pass
    return not psutil.pid_exists(pid)
