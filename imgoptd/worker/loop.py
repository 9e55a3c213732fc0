"""The life of a worker: enter the sandbox, say so, then do one task after the other until the socket ends."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace

from imgoptd.core.model import Failure, FailureKind, ImageFacts, Outcome, Verdict
from imgoptd.imaging.optimize import optimize_descriptors
from imgoptd.imaging.probe import probe_descriptor
from imgoptd.wire.frames import Closed, ProtocolError, Receiver, send
from imgoptd.wire.messages import OptimizeReply, OptimizeTask, ProbeReply, ProbeTask, Ready, Spawn, ToWorker
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
    receiver: Receiver[ToWorker] = Receiver(sock, ToWorker)
    protections = sandbox.enter(spawn.drop_uid, template)
    try:
        send(sock, Ready(protections))
        while True:
            task, descriptors = receiver.receive()
            try:
                reply = _do(task, descriptors, meter)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            send(sock, reply)
    except Closed:
        return


def _do(task: ToWorker, descriptors: list[int], meter: Meter) -> ProbeReply | OptimizeReply:
    if len(descriptors) != (1 if isinstance(task, ProbeTask) else 2):
        raise ProtocolError(f"{type(task).__name__} came with {len(descriptors)} descriptors")
    if isinstance(task, ProbeTask):
        answer = _probe(descriptors[0])
        if isinstance(answer, Failure):
            return ProbeReply(task.task, failure=answer)
        return ProbeReply(task.task, facts=answer)
    meter.bound(task.memory_bytes)
    meter.start()
    outcome = _optimize(task, descriptors[0], descriptors[1])
    effort = meter.stop()
    meter.bound(0)
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
