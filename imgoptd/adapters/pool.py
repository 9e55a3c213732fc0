"""The worker processes: one warm template that forks them, a packet socket to each.

Everything here runs in the event loop and never blocks: messages are a few hundred bytes and a worker holds a handful
of tasks at most, so a socket that is full belongs to a broken worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from imgoptd.adapters.answers import is_plausible
from imgoptd.adapters.processes import kill, resident_bytes
from imgoptd.adapters.template_process import Template
from imgoptd.core import events as e
from imgoptd.core.model import Failure, FailureKind, FileRef
from imgoptd.wire import frames
from imgoptd.wire import messages as m

BROKE_PROTOCOL = 76
"""Exit status reported of a worker that said what no honest one says (EX_PROTOCOL of sysexits.h)."""
_OPEN_FILES = (
    "workers cannot be kept from files here: one that a hostile image took over could read and write what its user "
    "may; use a kernel with Landlock in its lsm= list (5.13 or newer), and let no filter forbid it"
)


def _nothing(text: str) -> None:
    """Where nobody wants to be told."""


class _Task(NamedTuple):
    ref: FileRef
    reply: type[m.ProbeReply] | type[m.OptimizeReply]
    """What must answer it."""


@dataclass(slots=True)
class _Worker:
    id: int
    sock: socket.socket
    receiver: frames.Receiver[m.FromWorker]
    pid: int = 0
    pidfd: int = -1
    tasks: dict[int, _Task] = field(default_factory=dict)
    ready: bool = False
    asked_to_end: bool = False
    lied: bool = False
    """It broke the protocol, and was ended for it."""


class WorkerGone(Exception):
    """The worker cannot take a task any more; its exit is or will be reported."""


class Pool:
    """Starts, feeds and ends workers; `post` is given what they say as events."""

    def __init__(
        self,
        post: Callable[[e.Event], None],
        *,
        nice: int,
        drop_uid: int | None,
        oom_kills: Callable[[], int | None],
        warn: Callable[[str], None] = _nothing,
    ) -> None:
        """`drop_uid`: the unprivileged user that workers become, where we are root. `oom_kills`: a rising count.

        `warn` is given a sentence for the operator: when workers run without a protection, and when none can start.
        """
        self.nice = nice
        self._post = post
        self._drop_uid = drop_uid
        self._oom_kills = oom_kills
        self._last_oom_kills = oom_kills()
        self._warn = warn
        self._warned_of_files = False
        self._workers: dict[int, _Worker] = {}
        self._template = Template(
            on_up=self._template_up, on_message=self._template_said, on_gone=self._template_gone, warn=warn
        )
        self._waiting: list[int] = []
        """Workers asked for while there was no template."""
        self._next_task = 1

    @property
    def template_pid(self) -> int | None:
        return self._template.pid

    def pids(self) -> dict[int, int]:
        """worker -> pid of each worker that is up."""
        return {worker.id: worker.pid for worker in self._workers.values() if worker.pid}

    # ---- the template -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the template. Raises OSError."""
        self._template.open()

    def _template_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for worker in waiting:
            self.start(worker)

    def _template_said(self, message: m.FromTemplate) -> None:
        if isinstance(message, m.Spawned):
            self._spawned(message)
        else:
            self._exited(message.worker, message.status)

    def _template_gone(self) -> None:
        """All workers die with their template. None of them is to blame."""
        for worker in self._end_all():
            self._post(e.WorkerExited(worker.id, -signal.SIGKILL, innocent=True))

    async def close(self) -> None:
        """End everything at once: what was running was given up by the caller."""
        self._end_all()
        await self._template.close()

    def _end_all(self) -> list[_Worker]:
        workers = list(self._workers.values())
        for worker in workers:
            if worker.pidfd >= 0:
                kill(worker.pidfd)
            self._forget(worker)
        return workers

    # ---- workers ----------------------------------------------------------------------------------------------------

    def start(self, worker_id: int) -> None:
        """Answer: WorkerStarted or WorkerExited."""
        if not self._template.is_up:
            self._waiting.append(worker_id)
            return
        try:
            ours, theirs = frames.pair()
        except OSError:  # no descriptor is free
            self._post(e.WorkerExited(worker_id, -signal.SIGKILL, innocent=True))
            return
        ours.setblocking(False)
        worker = _Worker(worker_id, ours, frames.Receiver(ours, m.FromWorker))
        try:
            self._template.send(m.Spawn(worker_id, self.nice, self._drop_uid), [theirs.fileno()])
        except (frames.Closed, OSError):
            ours.close()
            self._post(e.WorkerExited(worker_id, -signal.SIGKILL, innocent=True))
            return
        finally:
            theirs.close()
        self._workers[worker_id] = worker
        asyncio.get_running_loop().add_reader(ours, self._read_worker, worker)

    def retire(self, worker_id: int) -> None:
        """Let the worker leave: at the end of its socket it exits by itself."""
        self._drop_waiting(worker_id)
        worker = self._workers.get(worker_id)
        if worker is not None:
            worker.asked_to_end = True
            worker.sock.shutdown(socket.SHUT_WR)

    def _drop_waiting(self, worker_id: int) -> None:
        """A worker that was asked for while there was no template is not asked for any more."""
        if worker_id in self._waiting:
            self._waiting.remove(worker_id)
            self._post(e.WorkerExited(worker_id, 0, innocent=True))

    def kill(self, worker_id: int) -> None:
        self._drop_waiting(worker_id)
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        worker.asked_to_end = True
        if worker.pidfd >= 0:
            kill(worker.pidfd)
        else:
            # The template has not said that it forked it. Should it still do so: the child finds its socket closed.
            self._forget(worker)
            self._post(e.WorkerExited(worker_id, -signal.SIGKILL, innocent=True))

    def send_probe(self, worker_id: int, ref: FileRef, input_fd: int) -> None:
        """Raises WorkerGone."""
        self._send(worker_id, m.ProbeTask(self._next_task), [input_fd], _Task(ref, m.ProbeReply))

    def send_job(self, worker_id: int, ref: FileRef, task: m.OptimizeTask, fds: Sequence[int]) -> None:
        """`fds` are input and output; the task's number is given here.

        Raises WorkerGone; where no message can say the task, it was refused with that reason before.
        """
        numbered = msgspec.structs.replace(task, task=self._next_task)
        self._send(worker_id, numbered, fds, _Task(ref, m.OptimizeReply))

    def _send(self, worker_id: int, message: m.ToWorker, fds: Sequence[int], task: _Task) -> None:
        worker = self._workers.get(worker_id)
        if worker is None or worker.asked_to_end:
            raise WorkerGone
        try:
            frames.send(worker.sock, message, fds)
        except frames.ProtocolError as error:  # the fault of neither the worker nor its other tasks
            self._post(e.TaskRefused(worker_id, task.ref, Failure(FailureKind.REJECTED, "unsayable", str(error))))
            raise WorkerGone from error
        except (frames.Closed, OSError) as error:  # a full socket, or too many descriptors under way (ETOOMANYREFS)
            self.kill(worker_id)
            raise WorkerGone from error
        worker.tasks[message.task] = task
        self._next_task += 1

    # ---- what comes back --------------------------------------------------------------------------------------------

    def _spawned(self, message: m.Spawned) -> None:
        self._template.forked()
        worker = self._workers.get(message.worker)
        if worker is None:
            return
        worker.pid = message.pid
        try:
            worker.pidfd = os.pidfd_open(message.pid)
        except ProcessLookupError:
            pass  # it died already; its exit follows
        except OSError:  # no descriptor is free: it could not be ended, so it is let go, and ends with its socket
            self._forget(worker)
            self._post(e.WorkerExited(worker.id, -signal.SIGKILL, innocent=True))
            return
        self._started(worker)

    def _started(self, worker: _Worker) -> None:
        """It is up when both it and the template have said so; the two sockets are in no order."""
        if worker.ready and worker.pid:
            self._post(e.WorkerStarted(worker.id, worker.pid, resident_bytes(worker.pid)))

    def _read_worker(self, worker: _Worker) -> None:
        try:
            while True:
                message, fds = worker.receiver.receive()
                for fd in fds:
                    os.close(fd)  # a worker has no reason to send any
                self._said(worker, message)
        except BlockingIOError:
            return
        except frames.Closed:
            asyncio.get_running_loop().remove_reader(worker.sock)  # the template tells how it ended
        except frames.ProtocolError:
            asyncio.get_running_loop().remove_reader(worker.sock)
            worker.lied = True
            self.kill(worker.id)

    def _said(self, worker: _Worker, message: m.FromWorker) -> None:
        """Raises ProtocolError for what no honest worker says; so each says no more than it was asked for."""
        if isinstance(message, m.Ready):
            if worker.ready:
                raise frames.ProtocolError("ready twice")
            worker.ready = True
            if "no-files" not in message.protections and not self._warned_of_files:
                self._warn(_OPEN_FILES)
                self._warned_of_files = True
            self._started(worker)
            return
        task = worker.tasks.get(message.task)
        if task is None or not isinstance(message, task.reply) or not is_plausible(message):
            raise frames.ProtocolError("no answer to a task of this worker")
        del worker.tasks[message.task]
        if isinstance(message, m.ProbeReply):
            self._post(e.Probed(worker.id, task.ref, message.facts, message.failure))
        else:
            self._post(e.Finished(worker.id, task.ref, message.outcome))

    def _exited(self, worker_id: int, status: int) -> None:
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        self._read_worker(worker)  # what it said before it ended counts
        if worker_id not in self._workers:
            return  # it lied in its last words, and that end was reported
        self._forget(worker)
        kills = self._oom_kills()
        more = kills is not None and self._last_oom_kills is not None and kills > self._last_oom_kills
        self._last_oom_kills = kills
        oom_killed = status == -signal.SIGKILL and not worker.asked_to_end and more
        # A worker that lied was ended by us, and not without its own fault: its file is to be blamed for it.
        self._post(e.WorkerExited(worker_id, BROKE_PROTOCOL if worker.lied else status, oom_killed))

    def _forget(self, worker: _Worker) -> None:
        asyncio.get_running_loop().remove_reader(worker.sock)
        worker.sock.close()
        if worker.pidfd >= 0:
            os.close(worker.pidfd)
            worker.pidfd = -1
        self._workers.pop(worker.id, None)
