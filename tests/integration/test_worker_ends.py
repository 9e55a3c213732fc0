"""What remains of a template and its workers when one of them, or the daemon, is gone."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
import pytest

from imgoptd.wire.frames import Closed
from tests.integration.template_server import Server, gone


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def powerless() -> Iterator[Server]:
    """A template of root that has no right to send signals to others."""
    started = Server(["setpriv", "--bounding-set", "-kill"])
    try:
        yield started
    finally:
        started.close()


@contextmanager
def adopting(pids: Sequence[int]) -> Iterator[None]:
    """Become the parent of orphans below this process (PR_SET_CHILD_SUBREAPER of prctl(2)), as init would.

    What of these is left dead at the end is reaped.
    """
    set_child_subreaper = 36
    prctl = ctypes.CDLL(None).prctl
    assert prctl(set_child_subreaper, ctypes.c_ulong(1), 0, 0, 0) == 0
    try:
        yield
    finally:
        prctl(set_child_subreaper, ctypes.c_ulong(0), 0, 0, 0)
        for pid in pids:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass  # reaped by the template, as it should be


def test_workers_and_template_end_when_the_daemon_is_gone(server: Server) -> None:
    pids = [server.spawn(number).pid for number in (1, 2)]
    for worker in server.workers:
        worker.sock.close()
    server.sock.close()
    assert server.process.wait(20) == 0
    assert all(gone(pid) for pid in pids)


def test_a_template_that_ends_leaves_no_dead_child_unreaped(server: Server) -> None:
    pids = [server.spawn(number).pid for number in (1, 2, 3)]
    os.kill(pids[2], signal.SIGSTOP)  # does not see the end of its socket, as one that works does not
    with adopting(pids):
        for worker in server.workers:
            worker.sock.close()
        server.sock.close()
        assert server.process.wait(20) == 0
        assert [pid for pid in pids if psutil.pid_exists(pid)] == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_a_template_that_may_not_end_its_children_leaves_them_to_their_sockets(powerless: Server) -> None:
    pids = [powerless.spawn(number).pid for number in (1, 2)]
    os.kill(pids[1], signal.SIGSTOP)
    with adopting(pids):
        for worker in powerless.workers:
            worker.sock.close()
        powerless.sock.close()
        assert powerless.process.wait(20) == 0
        assert not psutil.pid_exists(pids[0])
        os.kill(pids[1], signal.SIGKILL)  # even the signal at a parent's death needs the parent's right to send it
        assert os.waitpid(pids[1], 0) == (pids[1], signal.SIGKILL), "the template waited for it no longer"
    assert powerless.said() == ""


def test_a_killed_template_takes_its_workers_with_it(server: Server) -> None:
    workers = [server.spawn(number) for number in (1, 2)]
    server.process.kill()
    server.process.wait(20)
    assert all(gone(worker.pid) for worker in workers)
    with pytest.raises(Closed):
        workers[0].receiver.receive()
