"""Scale, pause, resume, jobs and top, against a control socket that really listens: requests, answers and refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.control_server import STATUS, Known, Server
from tests.integration.test_control_command import imgoptctl
from tests.integration.test_control_socket import get, post


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "control.sock", Known(b"/srv/photos")) as started:
        yield started


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"min": -1}',
        b'{"max": 1025}',
        b'{"min": "2"}',
        b'{"min": true}',
        b'{"max": 1.5}',
        b'{"auto": 1}',
        b'{"auto": false}',
        b'{"auto": true, "max": 2}',
        b'{"most": 2}',
        b'{"min": 3, "max": 2}',
    ],
)
def test_a_range_that_makes_no_sense_is_refused_with_its_mend(server: Server, body: bytes) -> None:
    status, answer = post(server, "/v1/scale", body)

    assert (status, answer["error"]["reason"]) == (400, "bad-request")
    assert answer["error"]["mend"]
    assert server.backend.asked_range is None


@pytest.mark.parametrize(
    "query", ["state=running", "limit=0", "limit=-1", "limit=x", "limit=10001", "limit=%C2%B2", "stat=held", "limit="]
)
def test_a_question_for_jobs_that_makes_no_sense_is_refused(server: Server, query: str) -> None:
    status, answer = get(server, f"/v1/jobs?{query}")

    assert (status, answer["error"]["reason"]) == (400, "bad-request")


def test_the_range_is_overridden_shown_and_given_back(server: Server) -> None:
    runs = [("scale",), ("scale", "--max", "4"), ("scale", "--min", "1"), ("scale",), ("scale", "--auto")]
    lines = [imgoptctl(server.path, *words).stdout.strip() for words in runs]

    by_command = "until the next start (configured: 0 to 2; --auto gives it back)"
    assert lines == [
        "0 to 2 workers, as configured",
        f"0 to 4 workers {by_command}",
        f"1 to 4 workers {by_command}",
        f"1 to 4 workers {by_command}",
        "0 to 2 workers, as configured",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--min", "3"), "3 workers at least and 2 at most is no range"),
        (("--auto", "--max", "1"), "--auto goes without --min and --max"),
        (("--max", "many"), "'many' is no number from 0 to 1024"),
        (("--max", "2000"), "'2000' is no number from 0 to 1024"),
    ],
)
def test_a_range_that_cannot_be_is_refused_on_the_command_line(
    server: Server, words: tuple[str, ...], said: str
) -> None:
    done = imgoptctl(server.path, "scale", *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_pause_and_resume_say_what_runs_and_waits_and_whether_anything_changed(server: Server) -> None:
    lines = [imgoptctl(server.path, word).stdout for word in ("pause", "pause", "resume")]

    assert lines == [
        "paused: 1 running, 7 queued; imgoptctl resume goes on\n",
        "already paused: 1 running, 7 queued; imgoptctl resume goes on\n",
        "running: 1 running, 7 queued\n",
    ]
    assert json.loads(imgoptctl(server.path, "pause", "--json").stdout)["state"] == "paused"


def test_jobs_shows_rows_and_how_many_there_are(server: Server) -> None:
    lines = imgoptctl(server.path, "jobs", "--state", "held").stdout.splitlines()

    assert lines[0].split()[:3] == ["STATE", "CLASS", "PRIO"]
    assert lines[1].split()[:2] == ["held", "fresh"]
    assert lines[1].endswith(r"/srv/photos/a\xff.jpg")
    assert lines[-1] == "1 of 7 shown; in all: 7 queued"
    assert os.fsencode(json.loads(imgoptctl(server.path, "jobs", "--json").stdout)["jobs"][0]["path"]) == (
        b"/srv/photos/a\xff.jpg"
    )


@pytest.mark.parametrize("words", [("--state", "running"), ("--limit", "0"), ("--limit", "1e3")])
def test_jobs_of_no_state_or_number_are_refused(server: Server, words: tuple[str, ...]) -> None:
    assert imgoptctl(server.path, "jobs", *words).returncode == 2


def test_top_for_scripts_is_an_object_on_each_line(server: Server) -> None:
    lines = imgoptctl(server.path, "top", "--json", "--count", "2").stdout.splitlines()

    assert [json.loads(line)["status"] for line in lines] == [STATUS] * 2


def test_top_ends_well_at_ctrl_c_and_writes_no_terminal_signs_into_a_pipe(server: Server) -> None:
    # A shell without job control starts what runs in its background deaf to Ctrl-C, these tests perhaps among it.
    command = ["env", "--default-signal=INT", sys.executable]
    command += ["-m", "imgoptd.cli.imgoptctl", f"--socket={server.path}", "top"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, trouble = process.communicate(timeout=20)

    assert first.startswith("imgoptd   running")
    assert (process.returncode, trouble) == (0, "")
    assert "\x1b" not in first + rest


def test_top_says_in_one_line_that_nothing_answers(tmp_path: Path) -> None:
    done = imgoptctl(tmp_path / "none.sock", "top")

    assert done.returncode == 2
    assert done.stderr.startswith("imgoptctl: no imgoptd answers at ")
