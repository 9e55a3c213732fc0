"""The pool where something is missing: descriptors, a protection, a way to say a task."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
from pathlib import Path

import pytest

from imgoptd.adapters import template_process
from imgoptd.adapters.pool import WorkerGone
from imgoptd.adapters.processes import resident_bytes
from imgoptd.core import events as e
from imgoptd.core.model import FailureKind, FileRef, ImageFacts, JobSettings
from imgoptd.wire.frames import ProtocolError, encode
from imgoptd.wire.messages import OptimizeTask, ProbeReply
from imgoptd.worker.sandbox import landlock_abi
from tests import images
from tests.integration.pooling import gone, memory_file, open_descriptors, running
from tests.integration.test_pool_lies import with_liar

JPEG = images.jpeg(images.photo(64, 48))
REF = FileRef(b"/w", b"a.jpg")


@pytest.mark.parametrize(
    "facts",
    [ImageFacts("jpeg", 1 << 70), ImageFacts("jpeg", -(1 << 70)), ImageFacts("\udc80"), ImageFacts("j" * 70_000)],
)
def test_a_task_that_fits_no_message_is_refused_and_its_worker_goes_on(facts: ImageFacts) -> None:
    async def test() -> None:
        async with running() as posted:
            await posted.started(1)
            with memory_file(JPEG) as source, memory_file(b"") as target:
                task = OptimizeTask(0, facts, JobSettings())
                with pytest.raises(WorkerGone):
                    posted.pool.send_job(1, REF, task, [source, target])
                [refused] = posted.of(e.TaskRefused, 1)
                assert refused.ref == REF and refused.failure is not None
                assert (refused.failure.kind, refused.failure.reason) == (FailureKind.REJECTED, "unsayable")
                assert "OptimizeTask" in refused.failure.detail or "over the limit" in refused.failure.detail
            assert (await posted.probed(1, JPEG)).failure is None
            assert posted.of(e.WorkerExited, 1) == []

    asyncio.run(test())


def test_a_message_with_a_value_that_msgpack_does_not_hold_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="ProbeReply cannot be encoded"):
        encode(ProbeReply(1 << 70))
    with pytest.raises(ProtocolError, match="ProbeReply cannot be encoded"):
        encode(ProbeReply(1, object()))  # type: ignore[arg-type]  # as said


def test_workers_that_files_are_not_closed_to_are_announced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_liar("garbage", tmp_path, monkeypatch)  # which says that it is ready without any protection

    async def test() -> None:
        async with running() as posted:
            if landlock_abi():
                await posted.started(2)
                assert posted.told == []
            await posted.started(1)
            posted.pool.kill(1)
            await posted.until(e.WorkerExited, 1)
            posted.events.clear()
            await posted.started(1)
            [told] = posted.told
            assert "cannot be kept from files" in told and "Landlock" in told

    asyncio.run(test())


def test_a_worker_that_could_not_be_ended_for_want_of_a_descriptor_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []

    def full(pid: int) -> int:
        pids.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def test() -> None:
        async with running() as posted:
            await posted.started(1)
            before = open_descriptors()
            with monkeypatch.context() as patch:
                patch.setattr(os, "pidfd_open", full)
                posted.pool.start(2)
                ended = await posted.until(e.WorkerExited, 2)
            assert ended.innocent and "set LimitNOFILE=" in ended.unstarted
            assert await gone(pids[0])
            assert posted.of(e.WorkerStarted, 2) == []
            assert open_descriptors() == before
            await posted.started(3)
            assert len(posted.of(e.WorkerExited, 2)) == 1

    asyncio.run(test())


def test_a_template_for_which_no_descriptor_is_free_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_process, "RETRY_S", 0.05)
    tries: list[OSError] = []
    tried_again = asyncio.Event()
    open_template = template_process.Template.open

    def counted(template: template_process.Template) -> None:
        try:
            open_template(template)
        except OSError as error:
            tries.append(error)
            if len(tries) == 2:
                tried_again.set()
            raise

    monkeypatch.setattr(template_process.Template, "open", counted)

    async def test() -> None:
        async with running() as posted:
            await posted.started(1)
            template = posted.pool.template_pid
            assert template is not None
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                os.kill(template, signal.SIGKILL)
                async with asyncio.timeout(20):
                    await tried_again.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert {error.errno for error in tries} == {errno.EMFILE}
            posted.pool.start(2)
            await posted.until(e.WorkerStarted, 2)

    asyncio.run(test())


def test_the_memory_of_a_process_that_is_gone_is_unknown() -> None:
    own = resident_bytes(os.getpid())
    assert own is not None and own > 1 << 20
    assert resident_bytes(1 << 30) is None


def test_a_worker_whose_socket_cannot_be_set_up_ends_unblamed_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(sock: socket.socket, flag: bool) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    async def test() -> None:
        async with running() as posted:
            await posted.started(1)
            before = open_descriptors()
            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "setblocking", refuse)
                posted.pool.start(2)
            (ended,) = posted.of(e.WorkerExited, 2)
            assert ended.innocent and "Read-only file system" in ended.unstarted
            assert open_descriptors() == before
            await posted.started(3)

    asyncio.run(test())
