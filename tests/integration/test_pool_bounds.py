"""Workers whose memory is bounded, from outside where the kernel allows it, and what their last words tell."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from PIL import Image

from imgoptd.adapters.bounding import bound_data, may_bound_workers
from imgoptd.adapters.pool import Pool
from imgoptd.adapters.processes import data_bytes
from imgoptd.core import events as e
from imgoptd.core.bounds import data_growth_bytes
from imgoptd.core.model import FailureKind, FileRef, ImageFacts, JobSettings, Verdict
from imgoptd.wire.messages import OptimizeTask
from tests import images
from tests.integration.pooling import NOBODY, Posted, become, memory_file, running

MIB = 1 << 20
LARGE_JPEG = images.jpeg(Image.new("RGB", (6000, 4000), "teal"))
LARGE_PNG = images.png(Image.effect_noise((1500, 1500), 60))
SMALL = images.jpeg(images.photo(64, 48))
UNLIMITED = resource.RLIM_INFINITY


OTHERS = NOBODY if os.geteuid() == 0 and may_bound_workers() else None
"""The user that workers become, if we may bound that user's: else they stay what we are, for which it takes nothing."""


@asynccontextmanager
async def bounded_from_outside() -> AsyncIterator[Posted]:
    posted = Posted()
    posted.pool = Pool(posted._post, nice=0, drop_uid=OTHERS, oom_kills=lambda: None, warn=posted.told.append)
    posted.pool.open()
    try:
        yield posted
    finally:
        await posted.pool.close()


def give(posted: Posted, worker: int, name: bytes, data: bytes, format_: str, memory_bytes: int) -> None:
    with memory_file(data) as source, memory_file(b"") as target:
        task = OptimizeTask(0, ImageFacts(format_), JobSettings(), memory_bytes)
        posted.pool.send_job(worker, FileRef(b"/w", name), task, [source, target])


def limits(pid: int) -> tuple[int, int]:
    return resource.prlimit(pid, resource.RLIMIT_DATA)


def test_a_worker_is_bounded_by_the_largest_of_its_jobs_and_unbounded_without_one() -> None:
    async def run() -> None:
        async with bounded_from_outside() as posted:
            pid = await posted.started(1)
            os.kill(pid, signal.SIGSTOP)
            idle = data_bytes(pid)
            assert idle is not None
            give(posted, 1, b"a", SMALL, "jpeg", 50 * MIB)
            bound = idle + data_growth_bytes("jpeg", 50 * MIB)
            assert limits(pid) == (bound, UNLIMITED)
            give(posted, 1, b"b", SMALL, "jpeg", 10 * MIB)
            assert limits(pid)[0] == bound
            os.kill(pid, signal.SIGCONT)
            await become(lambda: len(posted.of(e.Finished, 1)) == 2)
            assert limits(pid) == (UNLIMITED, UNLIMITED)
            assert posted.told == []

    asyncio.run(run())


def test_the_first_job_is_bounded_though_a_probe_is_in_hand() -> None:
    async def run() -> None:
        async with bounded_from_outside() as posted:
            pid = await posted.started(1)
            os.kill(pid, signal.SIGSTOP)
            with memory_file(SMALL) as source:
                posted.pool.send_probe(1, FileRef(b"/w", b"p"), source)
            give(posted, 1, b"a", SMALL, "jpeg", 50 * MIB)
            assert limits(pid)[0] != UNLIMITED
            os.kill(pid, signal.SIGCONT)
            await become(lambda: bool(posted.of(e.Finished, 1)))

    asyncio.run(run())


def test_a_job_that_goes_beyond_its_reservation_is_refused_memory_and_the_worker_lives() -> None:
    async def run() -> None:
        async with bounded_from_outside() as posted:
            await posted.started(1)
            give(posted, 1, b"a", LARGE_JPEG, "jpeg", 1 * MIB)
            outcome = (await posted.until(e.Finished, 1)).outcome
            assert outcome.failure is not None
            assert (outcome.failure.kind, outcome.failure.reason) == (FailureKind.EXHAUSTED, "memory")
            posted.events.clear()
            give(posted, 1, b"a", LARGE_JPEG, "jpeg", 400 * MIB)
            assert (await posted.until(e.Finished, 1)).outcome.verdict is Verdict.OPTIMIZED

    asyncio.run(run())


def test_a_codec_that_ends_when_memory_is_refused_says_so_last() -> None:
    async def run() -> None:
        async with bounded_from_outside() as posted:
            await posted.started(1)
            give(posted, 1, b"small", SMALL, "jpeg", 50 * MIB)
            give(posted, 1, b"large", LARGE_PNG, "png", 4 * MIB)
            ended = await posted.until(e.WorkerExited, 1)
            assert (ended.status, ended.oom_killed) == (-signal.SIGABRT, False)
            assert "memory allocation of" in ended.words and "\n" not in ended.words

    asyncio.run(run())


@pytest.mark.skipif(may_bound_workers(), reason="we may bound workers here (own user, or CAP_SYS_RESOURCE)")
def test_a_worker_that_may_not_be_bounded_bounds_itself() -> None:
    async def run() -> None:
        async with running() as posted:
            for worker in (1, 2):
                await posted.started(worker)
                give(posted, worker, b"a", LARGE_JPEG, "jpeg", 1 * MIB)
                outcome = (await posted.until(e.Finished, worker)).outcome
                assert outcome.failure is not None and outcome.failure.reason == "memory"
            posted.events.clear()
            give(posted, 1, b"a", LARGE_JPEG, "jpeg", 0)
            assert (await posted.until(e.Finished, 1)).outcome.verdict is Verdict.OPTIMIZED, "it lifted its bound again"

    asyncio.run(run())


def test_a_worker_of_which_nothing_can_be_read_for_want_of_a_descriptor_bounds_itself() -> None:
    async def run() -> None:
        async with bounded_from_outside() as posted:
            await posted.started(1)
            task = OptimizeTask(0, ImageFacts("jpeg"), JobSettings(), 1 * MIB)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with memory_file(LARGE_JPEG) as source, memory_file(b"") as target:
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
                try:
                    posted.pool.send_job(1, FileRef(b"/w", b"a"), task, [source, target])
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            outcome = (await posted.until(e.Finished, 1)).outcome
            assert outcome.failure is not None and outcome.failure.reason == "memory"

    asyncio.run(run())


def test_no_process_is_bounded_by_a_number_that_is_not_its_own_any_more() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    pidfd = os.pidfd_open(pid)
    os.waitpid(pid, 0)
    try:
        # The number of another process, as after a lap of all numbers.
        assert not bound_data(os.getpid(), pidfd, 1 << 40)
    finally:
        os.close(pidfd)
    assert limits(0)[0] == UNLIMITED


# ---- recalled -------------------------------------------------------------------------------------------------------


def test_a_task_that_was_not_begun_is_given_back_and_one_that_was_is_answered() -> None:
    async def run() -> None:
        async with running() as posted:
            pid = await posted.started(1)
            idle = data_bytes(pid) or 0
            for name in (b"a", b"b", b"c"):
                give(posted, 1, name, LARGE_JPEG if name == b"a" else SMALL, "jpeg", 0)
            await become(lambda: (data_bytes(pid) or 0) > idle + 20 * MIB)
            os.kill(pid, signal.SIGSTOP)  # amid the first one
            posted.pool.recall(1, FileRef(b"/w", b"a"))
            posted.pool.recall(1, FileRef(b"/w", b"b"))
            posted.pool.recall(1, FileRef(b"/w", b"b"))
            os.kill(pid, signal.SIGCONT)
            await become(lambda: len(posted.of(e.Finished, 1)) == 2)
            assert posted.of(e.Recalled, 1) == [e.Recalled(1, FileRef(b"/w", b"b"))]
            assert [event.ref.path for event in posted.of(e.Finished, 1)] == [b"a", b"c"]
            assert (await posted.probed(1, SMALL)).failure is None, "it goes on"

    asyncio.run(run())


def test_a_recall_that_comes_after_the_answer_concerns_no_later_task_on_the_file() -> None:
    async def run() -> None:
        async with running() as posted:
            await posted.started(1)
            for _ in range(2):
                give(posted, 1, b"a", SMALL, "jpeg", 0)
                assert (await posted.until(e.Finished, 1)).outcome.verdict is Verdict.OPTIMIZED
                posted.events.clear()
                posted.pool.recall(1, FileRef(b"/w", b"a"))
                posted.pool.recall(7, FileRef(b"/w", b"a"))

    asyncio.run(run())
