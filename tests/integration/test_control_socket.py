"""The control socket with a real client: routes, errors, and the file it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imgoptd.adapters.control import Control
from imgoptd.adapters.control_socket import ControlSocketError
from tests.integration.control_server import Known, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "run" / "control.sock", Known(b"/srv/photos")) as started:
        yield started


def ask(server: Server, request: bytes) -> tuple[int, dict[str, Any]]:
    """Send raw bytes; the answer's status and JSON."""
    with server.connect() as client:
        client.sendall(request)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def get(server: Server, route: str) -> tuple[int, dict[str, Any]]:
    return ask(server, f"GET {route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


def post(server: Server, route: str, body: bytes) -> tuple[int, dict[str, Any]]:
    head = f"POST {route} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return ask(server, head.encode() + body)


def test_the_socket_is_for_its_owner_alone_in_a_folder_made_for_it(server: Server) -> None:
    assert stat.filemode(os.lstat(server.path).st_mode) == "srw-------"
    assert os.listdir(server.path.parent) == ["control.sock"]


def test_a_path_that_is_no_utf8_reaches_the_daemon_and_comes_back(server: Server) -> None:
    status, life = get(server, "/v1/why?path=%2Fsrv%2Fphotos%2Fa%FF%2B+%26%0A.jpg")

    assert status == 200
    assert os.fsencode(life["path"]) == b"/srv/photos/a\xff++&\n.jpg"


def test_the_longest_path_of_the_kernel_fits_a_request(server: Server) -> None:
    path = b"/srv/photos/" + b"\xff" * 4083
    status, life = get(server, "/v1/why?path=" + "".join(f"%{byte:02X}" for byte in path))

    assert status == 200
    assert os.fsencode(life["path"]) == path


@pytest.mark.parametrize(
    ("route", "status", "reason"),
    [
        ("/v1/why?path=%2Fetc%2Fpasswd", 404, "not-watched"),
        ("/v1/why?path=%2Fsrv%2Fphotos%2Funseen", 404, "not-seen"),
        ("/v1/why?path=relative", 400, "bad-request"),
        ("/v1/why?path=%2Fa%00b", 400, "bad-request"),
        ("/v1/why?path=%2Fsrv%2Fphotos%2F%2Fa", 400, "bad-request"),
        ("/v1/why?path=%2Fsrv%2Fphotos%2F.%2Fa", 400, "bad-request"),
        ("/v1/why?path=%2Fsrv%2Fphotos%2Fb%2F..%2Fa", 400, "bad-request"),
        ("/v1/why", 400, "bad-request"),
        ("/v1/nothing", 404, "not-found"),
        ("/v1/reload", 405, "method-not-allowed"),
    ],
)
def test_a_wrong_question_is_answered_with_a_reason_and_a_sentence(
    server: Server, route: str, status: int, reason: str
) -> None:
    got, answer = get(server, route)

    assert (got, answer["error"]["reason"]) == (status, reason)
    assert answer["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"paths": []}',
        b'{"paths": ["a"]}',
        b'{"paths": 1}',
        b'{"since_s": "2h"}',
        b'{"since_s": -1}',
        b'{"since_s": 1%s}' % (b"0" * 400),
        b"[" * 100_000,
        b'{"paths": ["/srv/photos/\\ud800"]}',
        b'{"paths": ["/srv/photos/../a"]}',
        b'{"since_s": 7200, "folders": "/srv"}',
        b'{"since_s": 7200, "force": 1}',
    ],
)
def test_a_restore_that_makes_no_sense_is_refused(server: Server, body: bytes) -> None:
    status, answer = post(server, "/v1/restore", body)

    assert (status, answer["error"]["reason"]) == (400, "bad-request")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"paths": []}',
        b'{"paths": "/a"}',
        b'{"paths": [1]}',
        b'{"paths": ["a"]}',
        b'{"paths": ["/srv/photos/a"], "timeout_s": -1}',
        b'{"paths": ["/srv/photos/a"], "timeout_s": NaN}',
        b'{"paths": ["/srv/photos/a"], "timeout_s": true}',
        b'{"paths": ["/srv/photos/a"], "timeout_s": "5"}',
        b"\xff\xfe",
    ],
)
def test_a_wait_that_makes_no_sense_is_refused(server: Server, body: bytes) -> None:
    status, answer = post(server, "/v1/wait", body)

    assert (status, answer["error"]["reason"]) == (400, "bad-request")


def test_a_body_without_end_is_refused(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"POST /v1/wait HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        try:
            for _ in range(200):
                client.sendall(b" " * 65536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        client.settimeout(10)
        head = client.recv(100)

    assert b" 413 " in head.partition(b"\r\n")[0]


def test_a_client_that_leaves_ends_its_wait(server: Server) -> None:
    with server.connect() as client:
        body = b'{"paths": ["/srv/photos/never"]}'
        client.sendall(b"POST /v1/wait HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert server.backend.waiting.wait(10)

    assert server.backend.wait_cancelled.wait(10)


def test_a_client_that_leaves_does_not_end_a_reload_half_way(server: Server) -> None:
    server.backend.hold_reload.clear()
    with server.connect() as client:
        client.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert server.backend.reload_began.wait(10)
    assert get(server, "/v1/status")[0] == 200
    server.backend.hold_reload.set()

    assert server.backend.reload_ended.wait(10)


def test_a_fault_of_ours_is_told_to_client_and_operator_and_ends_nothing(server: Server) -> None:
    status, answer = get(server, "/v1/why?path=%2Fsrv%2Fphotos%2Fbug")

    assert (status, answer["error"]["reason"]) == (500, "internal")
    assert "ZeroDivisionError" in server.errors[0]
    assert get(server, "/v1/status")[0] == 200


def test_stopping_lets_waiting_clients_go_and_removes_the_socket(tmp_path: Path) -> None:
    with Server(tmp_path / "c.sock", Known(b"/srv/photos")) as server:
        client = server.connect()
        body = b'{"paths": ["/srv/photos/never"]}'
        client.sendall(b"POST /v1/wait HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert server.backend.waiting.wait(10)
    client.settimeout(10)
    answer = b"".join(iter(lambda: client.recv(65536), b""))
    client.close()

    assert b" 503 " in answer and b'"stopping"' in answer
    assert not server.path.exists()


def test_a_socket_that_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    program = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=20)
    assert path.is_socket()

    with Server(path, Known(b"/srv/photos")) as server:
        assert get(server, "/v1/status")[0] == 200


def refusal(path: Path) -> str:
    async def start() -> None:
        await Control(os.fsencode(path), Known(b"/srv/photos")).start()

    with pytest.raises(ControlSocketError) as caught:
        asyncio.run(start())
    return str(caught.value)


def test_a_daemon_that_answers_is_not_pushed_aside(server: Server) -> None:
    assert "another imgoptd answers at" in refusal(server.path)
    assert get(server, "/v1/status")[0] == 200


def test_a_file_at_the_path_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")

    assert "is there and is no socket" in refusal(path)
    assert path.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_said_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert "Not a directory" in refusal(tmp_path / "file" / "c.sock")
    assert "1 to 80 bytes" in refusal(tmp_path / ("c" * 81))


def test_a_socket_of_another_that_took_the_path_is_left_when_we_stop(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    with Server(path, Known(b"/srv/photos")), socket.socket(socket.AF_UNIX) as other:
        path.unlink()
        other.bind(str(path))

    assert path.is_socket()


def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 120) / "c.sock"
    with Server(path, Known(b"/srv/photos")) as server:
        assert get(server, "/v1/status")[0] == 200
