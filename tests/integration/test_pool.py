"""The pool with its real template and real workers: their starts and ends, and what becomes of them without it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from imgoptd.adapters import owed, pool, template_process
from imgoptd.adapters.pool import WorkerGone
from imgoptd.adapters.pool_worker import DESCRIPTORS_EACH, DESCRIPTORS_KEPT
from imgoptd.core import events as e
from imgoptd.core.model import FileRef, ImageFacts, JobSettings, Verdict
from imgoptd.wire.messages import OptimizeTask
from tests import images
from tests.integration.pooling import TIMEOUT_S, Posted, become, gone, memory_file, open_descriptors, running

JPEG = images.jpeg(images.photo(64, 48))


def with_pool(test: Callable[[Posted], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running() as posted:
            await test(posted)

    asyncio.run(run())


def test_a_worker_starts_probes_and_optimises_what_it_is_handed() -> None:
    async def test(posted: Posted) -> None:
        pid = await posted.started(1)
        assert posted.pool.pids() == {1: pid}
        started = posted.of(e.WorkerStarted, 1)[0]
        assert started.rss_bytes is not None and started.rss_bytes > 1 << 20
        assert psutil.Process(pid).ppid() == posted.pool.template_pid
        probed = await posted.probed(1, JPEG, b"a.jpg")
        assert probed.ref == FileRef(b"/w", b"a.jpg")
        assert probed.facts is not None and probed.facts.width == 64
        with memory_file(JPEG) as source, memory_file(b"") as target:
            task = OptimizeTask(0, ImageFacts("jpeg"), JobSettings())
            posted.pool.send_job(1, FileRef(b"/w", b"b.jpg"), task, [source, target])
            finished = await posted.until(e.Finished, 1)
            assert finished.ref.path == b"b.jpg"
            assert finished.outcome.verdict is Verdict.OPTIMIZED
            assert os.fstat(target).st_size == finished.outcome.size_bytes < len(JPEG)

    with_pool(test)


def test_a_retired_worker_answers_what_it_has_leaves_by_itself_and_takes_nothing_more() -> None:
    async def test(posted: Posted) -> None:
        pid = await posted.started(1)
        with memory_file(JPEG) as descriptor:
            posted.pool.send_probe(1, FileRef(b"/w", b"last"), descriptor)
            posted.pool.retire(1)
            with pytest.raises(WorkerGone):
                posted.pool.send_probe(1, FileRef(b"/w", b"too late"), descriptor)
        assert await posted.until(e.WorkerExited, 1) == e.WorkerExited(1, 0)
        assert [event.ref.path for event in posted.of(e.Probed, 1)] == [b"last"]
        assert await gone(pid)
        assert posted.pool.pids() == {}

    with_pool(test)


def test_a_killed_worker_is_reported_once_and_its_neighbour_goes_on() -> None:
    async def test(posted: Posted) -> None:
        pid = await posted.started(1)
        await posted.started(2)
        os.kill(pid, signal.SIGSTOP)  # not even one that hangs escapes
        posted.pool.kill(1)
        posted.pool.kill(1)
        assert await posted.until(e.WorkerExited, 1) == e.WorkerExited(1, -signal.SIGKILL)
        posted.pool.kill(1)
        posted.pool.retire(1)
        assert (await posted.probed(2, JPEG)).failure is None
        assert len(posted.of(e.WorkerExited, 1)) == 1

    with_pool(test)


def test_a_worker_that_was_ended_from_outside_is_reported_with_the_signal_and_can_be_retired_meanwhile() -> None:
    async def test(posted: Posted) -> None:
        pid = await posted.started(1)
        os.kill(pid, signal.SIGKILL)
        posted.pool.retire(1)
        assert await posted.until(e.WorkerExited, 1) == e.WorkerExited(1, -signal.SIGKILL)

    with_pool(test)


def test_a_worker_killed_before_it_was_up_is_reported_and_no_process_of_it_remains() -> None:
    async def test(posted: Posted) -> None:
        template = posted.pool.template_pid
        assert template is not None
        await posted.started(1)
        posted.pool.start(2)
        posted.pool.kill(2)
        assert posted.of(e.WorkerExited, 2) == [e.WorkerExited(2, -signal.SIGKILL, innocent=True)]
        await posted.started(3)  # the template has forked the second one by now
        await become(lambda: len(psutil.Process(template).children()) == 2)
        assert set(posted.pool.pids()) == {1, 3}

    with_pool(test)


def test_a_killed_template_takes_its_workers_without_blame_and_the_waiting_start_from_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(template_process, "RETRY_S", 0.2)

    async def test(posted: Posted) -> None:
        pids = [await posted.started(1), await posted.started(2)]
        first = posted.pool.template_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        for worker in (1, 2):
            ended = await posted.until(e.WorkerExited, worker)
            assert ended == e.WorkerExited(worker, -signal.SIGKILL, innocent=True)
        assert posted.pool.template_pid is None
        with memory_file(JPEG) as descriptor, pytest.raises(WorkerGone):
            posted.pool.send_probe(1, FileRef(b"/w", b"a"), descriptor)
        for worker in (3, 4, 5):
            posted.pool.start(worker)
        posted.pool.retire(4)
        posted.pool.kill(5)
        assert [posted.of(e.WorkerExited, worker) for worker in (4, 5)] == [
            [e.WorkerExited(worker, 0, innocent=True)] for worker in (4, 5)
        ]
        await posted.until(e.WorkerStarted, 3)
        assert posted.pool.template_pid not in (None, first)
        assert (await posted.probed(3, JPEG)).failure is None
        assert not posted.of(e.WorkerStarted, 4) and not posted.of(e.WorkerStarted, 5)
        assert all([await gone(pid) for pid in pids])

    with_pool(test)


@contextmanager
def impatient(grace_s: float = 0.05) -> Iterator[None]:
    """A template that is silent for a fraction of a second hangs. A new one takes longer than that to be there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(template_process, "RETRY_S", 0.05)
        patch.setattr(owed, "ANSWER_S", 0.1)
        patch.setattr(owed, "GRACE_S", grace_s)
        yield


def test_a_template_that_does_not_tell_of_a_dead_worker_is_ended_and_nobody_is_to_blame() -> None:
    async def test(posted: Posted) -> None:
        pid, template = await posted.started(1), posted.pool.template_pid
        assert template is not None
        with impatient():
            os.kill(template, signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)
            assert await posted.until(e.WorkerExited, 1) == e.WorkerExited(1, -signal.SIGKILL, innocent=True)
        assert "does not answer" in posted.told[0]
        await posted.started(2)
        assert posted.pool.template_pid != template

    with_pool(test)


def test_a_template_that_does_not_fork_what_it_is_asked_for_is_ended() -> None:
    async def test(posted: Posted) -> None:
        await posted.started(1)
        assert posted.pool.template_pid is not None
        with impatient():
            os.kill(posted.pool.template_pid, signal.SIGSTOP)
            posted.pool.start(2)
            assert (await posted.until(e.WorkerExited, 2)).innocent
        await posted.started(3)

    with_pool(test)


def test_a_template_that_answers_late_because_all_were_stopped_goes_on() -> None:
    async def test(posted: Posted) -> None:
        pid, template = await posted.started(1), posted.pool.template_pid
        assert template is not None
        with impatient(grace_s=TIMEOUT_S):
            os.kill(template, signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(2 * owed.ANSWER_S)
            os.kill(template, signal.SIGCONT)
            assert not (await posted.until(e.WorkerExited, 1)).innocent
        assert posted.pool.template_pid == template and not posted.told

    with_pool(test)


def test_a_template_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_process, "RETRY_S", 0.05)

    async def test(posted: Posted) -> None:
        await posted.started(1)
        before = open_descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nonexistent/python")
            template = posted.pool.template_pid
            assert template is not None
            os.kill(template, signal.SIGKILL)
            await posted.until(e.WorkerExited, 1)
            posted.pool.start(2)
            await asyncio.sleep(0.3)
            assert not posted.of(e.WorkerStarted, 2)
            assert open_descriptors() < before, "no failed try leaves a socket"
        await posted.until(e.WorkerStarted, 2)

    with_pool(test)


def test_a_worker_for_which_no_descriptor_is_free_or_would_be_left_for_others_is_reported_as_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(posted: Posted) -> None:
        await posted.started(1)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        for worker, descriptors in ((2, 3), (3, DESCRIPTORS_KEPT + DESCRIPTORS_EACH)):
            with monkeypatch.context() as patch:
                if descriptors == 3:
                    patch.setattr(pool, "most_workers", lambda: 99)
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, limits[1]))
                try:
                    posted.pool.start(worker)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            (ended,) = posted.of(e.WorkerExited, worker)
            assert ended.innocent and "set LimitNOFILE=" in ended.unstarted
        await posted.started(4)

    with_pool(test)


def test_a_worker_whose_socket_is_full_is_ended_and_the_task_refused() -> None:
    async def test(posted: Posted) -> None:
        pid = await posted.started(1)
        os.kill(pid, signal.SIGSTOP)
        with memory_file(JPEG) as descriptor, pytest.raises(WorkerGone):
            for number in range(100_000):
                posted.pool.send_probe(1, FileRef(b"/w", b"%d" % number), descriptor)
        assert await posted.until(e.WorkerExited, 1) == e.WorkerExited(1, -signal.SIGKILL)
        assert await gone(pid)

    with_pool(test)


def test_no_descriptor_is_left_over_after_many_tasks_and_workers() -> None:
    async def test(posted: Posted) -> None:
        await posted.started(1)
        before = open_descriptors()
        for _ in range(25):
            with memory_file(JPEG) as descriptor:
                for number in range(8):
                    posted.pool.send_probe(1, FileRef(b"/w", b"%d" % number), descriptor)
            await become(lambda: len(posted.of(e.Probed, 1)) == 8)
            posted.events.clear()
        assert open_descriptors() == before
        for worker in range(2, 8):
            await posted.started(worker)
            end = (posted.pool.retire, posted.pool.kill)[worker % 2]
            end(worker)
            await posted.until(e.WorkerExited, worker)
        assert open_descriptors() == before

    with_pool(test)


def test_a_closed_pool_leaves_no_process_and_no_descriptor() -> None:
    async def run() -> tuple[int, int, list[int]]:
        before = open_descriptors()
        async with running() as posted:
            pids = [await posted.started(1), await posted.started(2)]
            template = posted.pool.template_pid
            assert template is not None
            os.kill(pids[1], signal.SIGSTOP)
        assert all([await gone(pid) for pid in (*pids, template)])
        return before, open_descriptors(), pids

    before, after, _ = asyncio.run(run())
    assert before == after
