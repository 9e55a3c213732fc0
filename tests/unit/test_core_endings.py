"""How workers end, row by row: the reason, whether the file is to blame, and what is said."""

from __future__ import annotations

import pytest

from imgoptd.core import endings
from imgoptd.core import events as e
from imgoptd.core.endings import Ending

TOOLS = "png (pyoxipng 9.1.1)"
REFUSED = "memory allocation of 8294400 bytes failed"


def ended(event: e.WorkerExited, ended_for: str = "", tools: str = TOOLS) -> Ending:
    return endings.of_worker(event, ended_for, tools, 300.0)


@pytest.mark.parametrize(
    ("event", "ended_for", "reason", "blames", "said"),
    [
        (e.WorkerExited(1, -9, innocent=True), "", "worker-ended", False, "together with the process that"),
        (e.WorkerExited(1, -9, oom_killed=True, innocent=True), "timeout", "worker-ended", False, "together"),
        (
            e.WorkerExited(1, -9, innocent=True, unstarted="set LimitNOFILE="),
            "",
            "worker-unstarted",
            False,
            "set Limit",
        ),
        (e.WorkerExited(1, -9), "shed", "shed", False, "ended to make room"),
        (e.WorkerExited(1, -9, oom_killed=True), "shed", "shed", False, "ended to make room"),
        (e.WorkerExited(1, -9), "timeout", "timeout", True, "longer than job_timeout (300 s) at work on png (pyoxipng"),
        (e.WorkerExited(1, -9), "start-timeout", "start-timeout", False, "did not say in time"),
        (e.WorkerExited(1, -9), "leave-timeout", "leave-timeout", False, "it stayed though it was to leave"),
        (e.WorkerExited(1, -9, lied=True), "", "worker-lied", True, "answered as none may"),
        (e.WorkerExited(1, -9, oom_killed=True), "", "oom-killed", True, "by the kernel for lack of memory at work on"),
        (e.WorkerExited(1, -9), "", "worker-killed", False, "killed from outside (signal 9 (SIGKILL))"),
        (e.WorkerExited(1, -15), "", "worker-killed", False, "signal 15 (SIGTERM)"),
        (
            e.WorkerExited(1, -6, words=REFUSED),
            "",
            "memory",
            True,
            f'at work on png (pyoxipng 9.1.1); it said "{REFUSED}"',
        ),
        (
            e.WorkerExited(1, 1, words="Insufficient memory (case 4)"),
            "",
            "memory",
            True,
            "reserved for it was not enough",
        ),
        (
            e.WorkerExited(1, -6, words="assertion failed"),
            "",
            "worker-crashed",
            True,
            "signal 6 (SIGABRT) at work on png",
        ),
        (e.WorkerExited(1, -11), "", "worker-crashed", True, "crashed with signal 11 (SIGSEGV)"),
        (e.WorkerExited(1, -31), "", "worker-crashed", True, "crashed with signal 31 at work"),
        (
            e.WorkerExited(1, 1, words="BUG"),
            "",
            "worker-exited",
            True,
            "exit status 1 at work on png (pyoxipng 9.1.1); it",
        ),
        (e.WorkerExited(1, 0), "", "worker-exited", True, "exit status 0"),
    ],
)
def test_each_end_has_its_reason_its_blame_and_its_sentence(
    event: e.WorkerExited, ended_for: str, reason: str, blames: bool, said: str
) -> None:
    ending = ended(event, ended_for)
    assert (ending.reason, ending.blames) == (reason, blames)
    assert said in ending.says


def test_a_probe_has_no_codec_at_work() -> None:
    assert ended(e.WorkerExited(1, -11), tools="").says == "its worker crashed with signal 11 (SIGSEGV)"


def test_what_a_worker_said_last_cannot_spoil_the_terminal() -> None:
    assert "\x1b" not in ended(e.WorkerExited(1, 1, words="\x1b[2J out of memory")).says


def test_every_reason_of_the_table_is_one_that_is_given() -> None:
    words = {
        "shed",
        "timeout",
        "worker-lied",
        "oom-killed",
        "worker-killed",
        "memory",
        "worker-crashed",
        "worker-exited",
    }
    rows = [line for line in (endings.__doc__ or "").splitlines() if line.startswith("| ") and "reason" not in line]
    assert {row.split("|")[1].strip() for row in rows} == words


def test_an_oom_kill_within_what_was_reserved_is_no_fault_of_the_file() -> None:
    ending = endings.of_worker(e.WorkerExited(1, -9, oom_killed=True), "", TOOLS, 300.0, within=True)

    assert (ending.reason, ending.blames) == ("oom-killed", False)
    assert ending.says.endswith("with no more in hand than was reserved for it: others took it")
