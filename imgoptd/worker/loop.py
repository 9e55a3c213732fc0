"""The life of a worker: enter the sandbox, say so, then do one task after the other until the socket ends."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from dataclasses import replace

from imgoptd.core.model import Failure, FailureKind, ImageFacts, Outcome, Verdict
from imgoptd.imaging.optimize import optimize_descriptors
from imgoptd.imaging.probe import probe_descriptor
from imgoptd.imaging.registry import tools
from imgoptd.wire.frames import Closed, ProtocolError, Receiver, send
from imgoptd.wire.messages import (
    TASK_BEGINS,
    OptimizeReply,
    OptimizeTask,
    ProbeReply,
    ProbeTask,
    Ready,
    Recall,
    Recalled,
    Spawn,
    Task,
    ToWorker,
)
from imgoptd.worker import sandbox
from imgoptd.worker.effort import Meter


def run(sock: socket.socket, spawn: Spawn, template: int) -> None:
    """Serve tasks from `sock` until the daemon closes it. `template` is the process that forked this one.

    Raises ProtocolError for a message that is none, and OSError where the sandbox cannot be entered.
    """
    if spawn.nice:
        os.nice(spawn.nice)
    sandbox.raise_oom_score()
    meter = Meter()
    inbox = Inbox(sock)
    protections = sandbox.enter(spawn.drop_uid, template)
    try:
        send(sock, Ready(protections, tools()))
        while (given := inbox.next()) is not None:
            task, descriptors = given
            _mark_words()
            try:
                reply = _do(task, descriptors, meter)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            send(sock, reply)
    except Closed:
        return


def _mark_words() -> None:
    try:
        os.write(2, TASK_BEGINS)
    except OSError:
        pass  # full of what codecs said; the daemon reads it when it gets to it


class Inbox:
    """What the daemon has asked for and was not begun. Before each task all is read that has come: it may be recalled.

    The daemon hands over few tasks at a time, so that neither memory nor descriptors run out here.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._receiver: Receiver[ToWorker] = Receiver(sock, ToWorker)
        self._tasks: deque[tuple[Task, list[int]]] = deque()
        self._closed = False

    def next(self) -> tuple[Task, list[int]] | None:
        """The next task and its descriptors, waited for; None when the daemon sends no more.

        Raises ProtocolError, and Closed when the daemon is gone.
        """
        try:
            while not self._closed:
                self._take(wait=not self._tasks)
        except BlockingIOError:
            pass  # all that is there was read
        return self._tasks.popleft() if self._tasks else None

    def _take(self, *, wait: bool) -> None:
        try:
            message, descriptors = self._receiver.receive(wait=wait)
        except Closed:
            self._closed = True
            return
        if not isinstance(message, Recall):
            self._tasks.append((message, descriptors))
            return
        unbegun = next((given for given in self._tasks if given[0].task == message.task), None)
        if unbegun is not None:  # else it was answered
            self._tasks.remove(unbegun)
            for descriptor in unbegun[1]:
                os.close(descriptor)
            send(self._sock, Recalled(message.task))


def _do(task: Task, descriptors: list[int], meter: Meter) -> ProbeReply | OptimizeReply:
    if len(descriptors) != (1 if isinstance(task, ProbeTask) else 2):
        raise ProtocolError(f"{type(task).__name__} came with {len(descriptors)} descriptors")
    if isinstance(task, ProbeTask):
        answer = _probe(descriptors[0])
        if isinstance(answer, Failure):
            return ProbeReply(task.task, failure=answer)
        return ProbeReply(task.task, facts=answer)
    if task.memory_bytes:
        meter.bound(task.facts.format, task.memory_bytes)
    meter.start()
    outcome = _optimize(task, descriptors[0], descriptors[1])
    effort = meter.stop()
    if task.memory_bytes:
        meter.lift()
    meter.trim()
    return OptimizeReply(task.task, replace(outcome, effort=effort))


def _probe(descriptor: int) -> ImageFacts | Failure:
    try:
        return probe_descriptor(descriptor)
    except Exception as error:  # one bad file must not end the worker
        return failure_of(error)


def _optimize(task: OptimizeTask, source: int, target: int) -> Outcome:
    try:
        return optimize_descriptors(source, target, task.facts, task.settings)
    except Exception as error:  # as above
        return Outcome(Verdict.FAILED, failure=failure_of(error))


def failure_of(error: Exception) -> Failure:
    """What an unforeseen exception says about the file it happened with.

    The kernel's errors come from the surroundings and may pass. Anything else was brought about by these bytes and will
    be again: the file is treated as damaged.
    """
    if isinstance(error, MemoryError):
        return Failure(FailureKind.EXHAUSTED, "memory", "the memory given was not enough")
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = error.strerror or str(error)
        if full:
            return Failure(FailureKind.TRANSIENT, "no-space", f"no room for the result ({said}): free some space there")
        return Failure(FailureKind.TRANSIENT, "io", said)
    return Failure(FailureKind.CORRUPT, "codec-error", f"{type(error).__name__}: {error}"[:500])
