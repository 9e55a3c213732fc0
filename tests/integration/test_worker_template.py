"""A real fork server with real workers: tasks through descriptors, the sandbox, and every way to end."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import psutil
import pytest
from PIL import Image

from imgoptd.adapters.beneath import reopen_for_reading
from imgoptd.adapters.look import leased_stat
from imgoptd.core.model import FailureKind, ImageFacts, JobSettings, Lease, Verdict
from imgoptd.wire.frames import pair, send
from imgoptd.wire.messages import (
    Exited,
    OptimizeTask,
    ProbeTask,
    Spawn,
)
from imgoptd.worker.template import FORK_FAILED
from tests import images
from tests.integration.template_server import NOBODY, Server, gone

JPEG = images.jpeg(images.photo())
PNG = images.png(images.photo())


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def files() -> Iterator[list[int]]:
    """Two memory files, both empty: the input, which the test fills, and the output."""
    made = [os.memfd_create("input"), os.memfd_create("output")]
    try:
        yield made
    finally:
        for descriptor in made:
            os.close(descriptor)


@pytest.mark.parametrize(("format_", "data"), [("jpeg", JPEG), ("png", PNG)])
def test_an_image_goes_in_and_comes_out_smaller(server: Server, files: list[int], format_: str, data: bytes) -> None:
    os.write(files[0], data)
    worker = server.spawn()
    facts = worker.probe(files[0]).facts
    assert facts is not None
    assert (facts.format, facts.width, facts.height, facts.leave) == (format_, 320, 240, None)
    outcome = worker.optimize(files[0], files[1], format_).outcome
    assert outcome.verdict is Verdict.OPTIMIZED
    assert outcome.size_bytes == os.fstat(files[1]).st_size < len(data)
    assert outcome.effort.cpu_s > 0 and outcome.effort.wall_s > 0
    assert 4 << 20 < outcome.effort.peak_bytes < 512 << 20


def test_an_honest_worker_has_let_go_of_its_result_when_it_answers(server: Server, files: list[int]) -> None:
    os.write(files[0], JPEG)
    worker = server.spawn()
    for _ in range(30):
        with tempfile.TemporaryFile() as result:
            reading = reopen_for_reading(result.fileno())
            outcome = worker.optimize(files[0], result.fileno(), "jpeg").outcome
            result.close()
            lease = leased_stat(reading)[0]
            os.close(reading)
        assert outcome.verdict is Verdict.OPTIMIZED
        assert lease is Lease.GRANTED


def test_the_peak_of_one_task_is_not_that_of_an_earlier_one(server: Server, files: list[int]) -> None:
    large = images.jpeg(images.photo(2400, 1600, seed=3))
    os.write(files[0], large)
    worker = server.spawn()
    high = worker.optimize(files[0], files[1], "jpeg").outcome.effort
    os.ftruncate(files[0], 0)
    os.pwrite(files[0], JPEG, 0)
    low = worker.optimize(files[0], files[1], "jpeg").outcome.effort
    assert high.peak_bytes - low.peak_bytes > 2400 * 1600 * 2


def test_a_bad_file_is_answered_and_the_worker_goes_on(server: Server, files: list[int]) -> None:
    worker = server.spawn()
    os.write(files[0], JPEG[: len(JPEG) // 2])
    failure = worker.probe(files[0]).failure
    assert failure is not None and (failure.kind, failure.reason) == (FailureKind.CORRUPT, "truncated")
    outcome = worker.optimize(files[0], files[1], "jpeg").outcome
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None and outcome.failure.reason == "truncated"
    os.pwrite(files[0], JPEG, 0)
    assert worker.optimize(files[0], files[1], "jpeg").outcome.verdict is Verdict.OPTIMIZED


def test_a_full_disk_is_told_apart_from_a_bad_file(server: Server, files: list[int]) -> None:
    worker = server.spawn()
    os.write(files[0], JPEG)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        outcome = worker.optimize(files[0], full, "jpeg").outcome
    finally:
        os.close(full)
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.reason) == (FailureKind.TRANSIENT, "no-space")


def test_an_input_that_cannot_be_read_is_told_apart_from_a_bad_file(server: Server) -> None:
    worker = server.spawn()
    failure = worker.probe(os.open("/", os.O_RDONLY)).failure
    assert failure is not None
    assert (failure.kind, failure.reason) == (FailureKind.TRANSIENT, "io")


def test_too_little_memory_is_said_and_the_worker_lives(server: Server, files: list[int]) -> None:
    worker = server.spawn()
    # Its pixels alone are more than the bound and its slack. (Where MozJPEG runs out first, it ends the worker.)
    os.write(files[0], images.jpeg(Image.new("RGB", (6000, 4000), "teal")))
    outcome = worker.optimize(files[0], files[1], "jpeg", memory_bytes=1).outcome
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.reason) == (FailureKind.EXHAUSTED, "memory")
    assert worker.optimize(files[0], files[1], "jpeg", memory_bytes=400 << 20).outcome.verdict is Verdict.OPTIMIZED


def test_a_worker_ends_well_when_its_socket_does(server: Server) -> None:
    worker = server.spawn(5)
    worker.sock.close()
    assert server.receive() == Exited(5, worker.pid, 0)


def test_each_end_of_a_worker_is_reported_with_its_status(server: Server) -> None:
    workers = {number: server.spawn(number) for number in (1, 2, 3)}
    os.kill(workers[2].pid, signal.SIGKILL)
    assert server.receive() == Exited(2, workers[2].pid, -signal.SIGKILL)
    for number in (1, 3):
        workers[number].sock.close()
    ended = {server.receive(), server.receive()}
    assert ended == {Exited(1, workers[1].pid, 0), Exited(3, workers[3].pid, 0)}


def test_a_codec_that_ends_its_process_is_reported(server: Server, files: list[int]) -> None:
    """MozJPEG does so on a coefficient that it cannot write; decoders take it without a word."""
    os.write(files[0], images.jpeg_that_ends_its_codec())
    worker = server.spawn(4)
    send(worker.sock, OptimizeTask(1, ImageFacts("jpeg"), JobSettings()), files)
    assert server.receive() == Exited(4, worker.pid, 1)
    assert "out of range" in server.said()


def test_a_worker_that_is_sent_nonsense_ends_with_a_bad_status(
    server: Server,
) -> None:
    worker = server.spawn()
    worker.sock.send(b"\xc1 no message")
    assert server.receive() == Exited(1, worker.pid, 1)
    worker = server.spawn(2)
    send(worker.sock, ProbeTask(1))
    assert server.receive() == Exited(2, worker.pid, 1)
    assert "ProbeTask came with 0 descriptors" in server.said()


def test_a_worker_that_is_in_the_middle_of_a_task_ends_with_its_template(server: Server, files: list[int]) -> None:
    worker = server.spawn()
    os.write(files[0], images.png(images.photo(2000, 1500, seed=5)))
    send(worker.sock, OptimizeTask(1, ImageFacts("png"), JobSettings()), files)
    server.sock.close()
    assert gone(worker.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_to_the_whole_group_are_the_daemons_to_understand(
    server: Server, files: list[int], number: signal.Signals
) -> None:
    worker = server.spawn()
    for pid in (worker.pid, server.process.pid):
        os.kill(pid, number)
    os.write(files[0], JPEG)
    assert worker.probe(files[0]).facts is not None
    assert server.spawn(2).probe(files[0]).facts is not None


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_worker_that_cannot_be_forked_is_reported_as_ended() -> None:
    inject = "inject=clone,clone3,fork:error=EAGAIN:when=1"
    server = Server(["strace", "-o", os.devnull, "-e", "trace=clone,clone3,fork", "-e", inject])
    ours, theirs = pair()
    try:
        send(server.sock, Spawn(9), [theirs.fileno(), theirs.fileno()])
        assert server.receive() == Exited(9, 0, FORK_FAILED)
        assert server.spawn(10).protections
    finally:
        ours.close()
        theirs.close()
        server.close()


def test_a_template_that_is_sent_a_spawn_without_a_socket_ends(
    server: Server,
) -> None:
    send(server.sock, Spawn(1))
    assert server.process.wait(20) == 1
    assert "Spawn came with 0 descriptors" in server.said()


def test_a_worker_holds_its_socket_and_nothing_else_of_the_daemons(server: Server) -> None:
    server.spawn(1)
    worker = server.spawn(2, nice=7)
    process = psutil.Process(worker.pid)
    assert process.nice() == 7
    assert len(os.listdir(f"/proc/{worker.pid}/fd")) == 6, "streams, socket, two files below /proc"
    assert process.num_threads() == 1
    with open(f"/proc/{worker.pid}/oom_score_adj") as score:
        assert int(score.read()) >= 500
    assert {"no-core-dumps", "no-new-privileges"} <= set(worker.protections)
    if os.geteuid() == 0:
        assert "own-user" in worker.protections
        assert set(process.uids()) == set(process.gids()) == {NOBODY}
        with open(f"/proc/{worker.pid}/status") as status:
            fields = {name: value.strip() for name, _, value in (line.partition(":") for line in status)}
        assert fields["Groups"] == ""
        assert int(fields["CapEff"], 16) == 0
