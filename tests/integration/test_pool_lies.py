"""A worker that its file has taken over is ended for what it says, and nobody else is harmed."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from imgoptd.core import events as e
from imgoptd.core.model import FileRef, ImageFacts, JobSettings
from imgoptd.wire.messages import OptimizeTask
from tests import images
from tests.integration import lying_template
from tests.integration.pooling import gone, memory_file, open_descriptors, running, state_of

JPEG = images.jpeg(images.photo(64, 48))
REF = FileRef(b"/w", b"a.jpg")
ANSWERS_TO_A_JOB = {"endless-cpu", "no-number", "negative-cpu", "huge-peak"}
PUNISHED = sorted(set(lying_template.LIES) - {"few-descriptors"})


def with_liar(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next template forks a liar as worker 1, and honest workers else."""
    program = tmp_path / "python"
    words = shlex.join([sys.executable, lying_template.__file__ or "", f"1={lie}"])
    program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(os.getcwd())} exec {words} "$3"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.parametrize("lie", PUNISHED)
def test_a_lying_worker_is_ended_and_its_neighbour_goes_on(
    lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_liar(lie, tmp_path, monkeypatch)

    async def test() -> None:
        async with running() as posted:
            pid = await posted.started(1)
            await posted.started(2)
            before = open_descriptors()
            with memory_file(JPEG) as source, memory_file(b"") as target:
                if lie in ANSWERS_TO_A_JOB:
                    task = OptimizeTask(0, ImageFacts("jpeg"), JobSettings())
                    posted.pool.send_job(1, REF, task, [source, target])
                else:
                    posted.pool.send_probe(1, REF, source)
                assert await posted.until(e.WorkerExited, 1) == e.WorkerExited(1, -signal.SIGKILL, lied=True)
            assert await gone(pid)
            said = [*posted.of(e.Probed, 1), *posted.of(e.Finished, 1)]
            assert len(said) == (1 if lie == "twice" else 0)
            assert (await posted.probed(2, JPEG)).failure is None
            assert len(posted.of(e.WorkerStarted, 1)) == len(posted.of(e.WorkerExited, 1)) == 1
            assert open_descriptors() == before - 3, "its sockets and its pidfd are closed, and nothing it sent stays"

    asyncio.run(test())


def test_descriptors_that_a_worker_sends_along_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_liar("few-descriptors", tmp_path, monkeypatch)

    async def test() -> None:
        async with running() as posted:
            await posted.started(1)
            before = open_descriptors()
            assert (await posted.probed(1, JPEG)).facts is not None
            assert open_descriptors() == before

    asyncio.run(test())


def test_last_words_that_lie_are_one_end_even_where_the_process_could_not_be_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_liar("no-such-task", tmp_path, monkeypatch)

    def not_there(pid: int) -> int:
        raise ProcessLookupError

    async def test() -> None:
        async with running() as posted:
            with monkeypatch.context() as patch:
                patch.setattr(os, "pidfd_open", not_there)
                pid = await posted.started(1)
            loop = asyncio.get_running_loop()
            faults: list[object] = []
            loop.set_exception_handler(lambda _, context: faults.append(context))
            with memory_file(JPEG) as source:
                posted.pool.send_probe(1, REF, source)
            # The loop does not run until the lie is told, the liar dead and the template has said so ...
            while state_of(pid) != psutil.STATUS_STOPPED:
                time.sleep(0.005)  # noqa: ASYNC251  # as said
            os.kill(pid, signal.SIGKILL)
            while not posted.of(e.WorkerExited, 1):
                posted.pool._template._read()  # ... and then hears the template first.
            await posted.started(2)
            assert (await posted.probed(2, JPEG)).failure is None
            assert len(posted.of(e.WorkerExited, 1)) == 1
            assert faults == []

    asyncio.run(test())
