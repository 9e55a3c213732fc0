"""The worker processes: one warm template that forks them, a packet socket to each.

Everything here runs in the event loop and never blocks: messages are a few hundred bytes and a worker holds a handful
of tasks at most, so a socket that is full belongs to a broken worker.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Sequence

import msgspec

from imgoptd.adapters.answers import is_plausible
from imgoptd.adapters.pool_worker import PoolWorker, Task, most_workers
from imgoptd.adapters.processes import resident_bytes
from imgoptd.adapters.template_process import Template
from imgoptd.core import events as e
from imgoptd.core.bounds import data_growth_bytes
from imgoptd.core.model import Failure, FailureKind, FileRef
from imgoptd.wire import frames
from imgoptd.wire import messages as m

_OPEN_FILES = (
    "workers cannot be kept from files here: one that a hostile image took over could read and write what its user "
    "may; use a kernel with Landlock in its lsm= list (5.13 or newer), and let no filter forbid it"
)
_NO_DESCRIPTOR = (
    "no descriptor is free for another worker; set LimitNOFILE= of the service higher or [workers] max lower"
)
_NO_TEMPLATE = "the process that forks the workers takes no more for now"


def _nothing(text: str) -> None:
    """Where nobody wants to be told."""


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
        self._bounds = True
        """We may bound workers from outside; otherwise each does it to itself."""
        self._workers: dict[int, PoolWorker] = {}
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

    def _end_all(self) -> list[PoolWorker]:
        workers = list(self._workers.values())
        for worker in workers:
            worker.kill()
            self._forget(worker)
        return workers

    # ---- workers ----------------------------------------------------------------------------------------------------

    def start(self, worker_id: int) -> None:
        """Answer: WorkerStarted or WorkerExited."""
        if not self._template.is_up:
            self._waiting.append(worker_id)
            return
        if len(self._workers) >= most_workers():
            self._post(e.WorkerExited(worker_id, -signal.SIGKILL, innocent=True, unstarted=_NO_DESCRIPTOR))
            return
        try:
            ours, theirs = frames.pair()
            try:
                ours.setblocking(False)
                words, stderr = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                ours.close()
                theirs.close()
                raise
        except OSError as error:
            why = _NO_DESCRIPTOR if error.errno in (errno.EMFILE, errno.ENFILE) else str(error)
            self._post(e.WorkerExited(worker_id, -signal.SIGKILL, innocent=True, unstarted=why))
            return
        worker = PoolWorker(worker_id, ours, words, frames.Receiver(ours, m.FromWorker))
        try:
            self._template.send(m.Spawn(worker_id, self.nice, self._drop_uid), [theirs.fileno(), stderr])
        except (frames.Closed, OSError):
            worker.close()
            self._post(e.WorkerExited(worker_id, -signal.SIGKILL, innocent=True, unstarted=_NO_TEMPLATE))
            return
        finally:
            theirs.close()
            os.close(stderr)
        self._workers[worker_id] = worker
        self._template.owed.add(worker_id)
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
            worker.kill()
        else:
            # The template has not said that it forked it. Should it still do so: the child finds its socket closed.
            self._forget(worker)
            self._post(e.WorkerExited(worker_id, -signal.SIGKILL, innocent=True))

    def send_probe(self, worker_id: int, ref: FileRef, input_fd: int) -> None:
        """Raises WorkerGone."""
        self._send(worker_id, m.ProbeTask(self._next_task), [input_fd], Task(ref, m.ProbeReply))

    def send_job(self, worker_id: int, ref: FileRef, task: m.OptimizeTask, fds: Sequence[int]) -> None:
        """`fds` are input and output; the task's number is given here.

        Raises WorkerGone; where no message can say the task, it was refused with that reason before.
        """
        growth = data_growth_bytes(task.facts.format, task.memory_bytes) if task.memory_bytes else 0
        bounded = Task(ref, m.OptimizeReply, growth)
        worker = self._workers.get(worker_id)
        left = 0 if worker is not None and self._bound(worker, bounded) else task.memory_bytes
        self._send(worker_id, msgspec.structs.replace(task, task=self._next_task, memory_bytes=left), fds, bounded)

    def recall(self, worker_id: int, ref: FileRef) -> None:
        """Ask for the task back. Answer: Recalled, or the task's own if it was begun; of no such task: none."""
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        number = worker.number_of(ref)
        if number is not None and number not in worker.recalled:
            worker.recalled.add(number)
            try:
                frames.send(worker.sock, m.Recall(number))
            except (frames.Closed, OSError):
                self.kill(worker_id)

    def _bound(self, worker: PoolWorker, coming: Task | None = None) -> bool:
        """Whether the worker is bounded from outside."""
        if self._bounds and worker.pid and worker.pidfd >= 0:
            try:
                return worker.bound(coming)
            except PermissionError:
                self._bounds = False
        return self._bounds

    def _send(self, worker_id: int, message: m.Task, fds: Sequence[int], task: Task) -> None:
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
            self._template.owed.add(worker.id)  # it died already; its exit follows
        except OSError:  # no descriptor is free: it could not be ended, so it is let go, and ends with its socket
            self._forget(worker)
            self._post(e.WorkerExited(worker.id, -signal.SIGKILL, innocent=True, unstarted=_NO_DESCRIPTOR))
            return
        else:
            asyncio.get_running_loop().add_reader(worker.pidfd, self._died, worker)
        self._started(worker)

    def _died(self, worker: PoolWorker) -> None:
        """It is dead; how it ended is the template's to say."""
        asyncio.get_running_loop().remove_reader(worker.pidfd)
        self._template.owed.add(worker.id)

    def _started(self, worker: PoolWorker) -> None:
        """It is up when both it and the template have said so; the two sockets are in no order."""
        if worker.ready and worker.pid:
            self._post(e.WorkerStarted(worker.id, worker.pid, resident_bytes(worker.pid), worker.codecs))

    def _read_worker(self, worker: PoolWorker) -> None:
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

    def _said(self, worker: PoolWorker, message: m.FromWorker) -> None:
        """Raises ProtocolError for what no honest worker says; so each says no more than it was asked for."""
        if isinstance(message, m.Ready):
            if worker.ready:
                raise frames.ProtocolError("ready twice")
            worker.ready, worker.codecs = True, message.codecs
            if "no-files" not in message.protections and not self._warned_of_files:
                self._warn(_OPEN_FILES)
                self._warned_of_files = True
            self._started(worker)
            return
        task = worker.tasks.get(message.task)
        if task is None or not self._answers(worker, task, message):
            raise frames.ProtocolError("no answer to a task of this worker")
        del worker.tasks[message.task]
        worker.recalled.discard(message.task)
        worker.hear()
        if task.growth_bytes:
            self._bound(worker)
        match message:
            case m.ProbeReply():
                self._post(e.Probed(worker.id, task.ref, message.facts, message.failure))
            case m.OptimizeReply():
                self._post(e.Finished(worker.id, task.ref, message.outcome))
            case m.Recalled():
                self._post(e.Recalled(worker.id, task.ref))

    @staticmethod
    def _answers(worker: PoolWorker, task: Task, message: m.Answer) -> bool:
        if isinstance(message, m.Recalled):
            return message.task in worker.recalled
        return isinstance(message, task.reply) and is_plausible(message)

    def _exited(self, worker_id: int, status: int) -> None:
        worker = self._workers.get(worker_id)
        if worker is None:
            return
        self._read_worker(worker)  # what it said before it ended counts
        if worker_id not in self._workers:
            return  # it lied in its last words, and that end was reported
        words = worker.words()
        self._forget(worker)
        kills = self._oom_kills()
        more = kills is not None and self._last_oom_kills is not None and kills > self._last_oom_kills
        self._last_oom_kills = kills
        oom_killed = status == -signal.SIGKILL and not worker.asked_to_end and more
        self._post(e.WorkerExited(worker_id, status, oom_killed, lied=worker.lied, words=words))

    def _forget(self, worker: PoolWorker) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(worker.sock)
        if worker.pidfd >= 0:
            loop.remove_reader(worker.pidfd)
        worker.close()
        self._workers.pop(worker.id, None)
