"""Messages to the service manager, received on a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters import notify


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The manager's end of NOTIFY_SOCKET."""
    monkeypatch.chdir(tmp_path)  # a short name for the socket, however deep the folder is
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as end:
        end.bind(f"\0imgoptd-test-{os.getpid()}-{id(end)}")
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + end.getsockname()[1:].decode())
        yield end


def test_each_message_arrives_as_systemd_knows_it(manager: socket.socket) -> None:
    assert notify.ready("watching 2 folders")
    assert notify.status("12 queued, 2 of 2 workers busy")
    assert notify.watchdog()
    assert notify.stopping("3 jobs still run")

    assert [manager.recv(4096) for _ in range(4)] == [
        b"READY=1\nSTATUS=watching 2 folders",
        b"STATUS=12 queued, 2 of 2 workers busy",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=3 jobs still run",
    ]


def test_a_reload_carries_the_time_that_notify_reload_asks_for(manager: socket.socket) -> None:
    assert notify.reloading()

    first, second = manager.recv(4096).split(b"\n")
    assert first == b"RELOADING=1"
    assert second.startswith(b"MONOTONIC_USEC=") and int(second.partition(b"=")[2]) > 0


def test_a_file_name_in_the_status_cannot_forge_another_message(manager: socket.socket) -> None:
    assert notify.status("at /srv/a\nREADY=1")

    assert manager.recv(4096) == rb"STATUS=at /srv/a\nREADY=1"


def test_without_a_manager_nothing_is_sent_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    assert not notify.ready()
    assert not notify.watchdog()


def test_a_manager_that_went_away_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")

    assert not notify.ready()


def test_the_watchdog_is_due_twice_in_the_time_it_allows() -> None:
    assert notify.watchdog_interval_s({"WATCHDOG_USEC": "30000000"}) == 15.0
    assert notify.watchdog_interval_s({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}) == 15.0


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}]
)
def test_no_watchdog_waits_for_a_process_it_was_not_set_for(environ: dict[str, str]) -> None:
    assert notify.watchdog_interval_s(environ) is None
