"""What imgoptctl prints, given the daemon's answers."""

from __future__ import annotations

import time

import pytest

from imgoptd.cli.ctl_wait import exit_status, seconds
from imgoptd.cli.display import (
    qshape_table,
    reload_lines,
    retry_lines,
    status_screen,
    wait_line,
    why_timeline,
    workers_table,
)

STATUS = {
    "state": "running",
    "generation": 1,
    "uptime_s": 12.5,
    "workers": {"wanted": 2, "running": 2, "busy": 1, "min": 0, "max": 4},
    "backlog": {"jobs": 40, "bytes": 1_270_000, "cpu_s": 31.0, "eta_s": 16.0},
    "counts": {"done": 10, "skipped": 1, "held": 0, "deferred": 2, "quarantined": 0},
    "bytes": {"before": 1000, "after": 800, "saved": 200},
    "pressure": {
        "memory_some_avg10": None,
        "available_bytes": 4 << 30,
        "budget_bytes": 2 << 30,
        "reserved_bytes": 300 << 20,
    },
    "scaling": {"state": "run", "last": {"from": 1, "to": 2, "reason": "backlog"}},
    "total": {"done": 300, "skipped": 7, "before": 5 << 30, "after": 4 << 30, "saved": 1 << 30},
}


def test_status_is_one_screen_with_every_figure() -> None:
    assert status_screen(STATUS) == [
        "imgoptd   running for 12 s, configuration 1",
        "workers   2 running of 2 wanted (0 to 4), 1 busy",
        "scaling   run, last 1 -> 2 workers (backlog)",
        "backlog   40 jobs, 1.21 MiB, 31 s of CPU, about 16 s left",
        "memory    4.00 GiB available, 300 MiB reserved of 2.00 GiB, pressure ?",
        "this run  10 done, 1 skipped, 2 deferred; saved 200 B: 1000 B -> 800 B (-20.0 %)",
        "all time  300 done, 7 skipped; saved 1.00 GiB: 5.00 GiB -> 4.00 GiB (-20.0 %)",
    ]


def test_workers_that_are_parked_are_told_beside_those_that_serve() -> None:
    workers = {"wanted": 2, "running": 2, "busy": 2, "min": 0, "max": 2, "parked": 1}
    assert status_screen({**STATUS, "workers": workers})[1].endswith("(0 to 2), 2 busy, 1 parked beside them")


@pytest.mark.parametrize("lost", sorted(STATUS))
def test_a_status_without_a_part_still_shows_the_others(lost: str) -> None:
    lines = status_screen({key: value for key, value in STATUS.items() if key != lost})

    assert len(lines) >= 6
    assert lines != status_screen(STATUS)


def test_an_idle_daemon_says_so() -> None:
    idle = {**STATUS, "backlog": {"jobs": 0, "bytes": 0, "cpu_s": 0.0, "eta_s": None}, "scaling": {"state": "run"}}

    assert status_screen(idle)[2:4] == ["scaling   run", "backlog   empty"]
    assert workers_table([]) == ["no workers: nothing waits"]


def test_workers_are_rows_in_columns() -> None:
    workers: list[dict[str, object]] = [
        {
            "worker": 1,
            "pid": 4711,
            "state": "busy",
            "cpu_s": 2.5,
            "cpu_share": 0.984,
            "rss_bytes": 90 << 20,
            "peak_bytes": 120 << 20,
            "reserved_bytes": 100 << 20,
            "jobs_done": 12,
            "bytes_in": 9 << 20,
            "bytes_out": 8 << 20,
            "age_s": 75,
            "job": "/srv/a\udcff.jpg",
        },
        {"worker": 12, "pid": None, "state": "starting", "job": None},
    ]

    assert workers_table(workers) == [
        "WORKER  PID   STATE     CPU    NOW   MEMORY    PEAK     RESERVED  JOBS  IN        OUT       AGE         JOB",
        "1       4711  busy      2.5 s  98 %  90.0 MiB  120 MiB  100 MiB   12    9.00 MiB  8.00 MiB  1 min 15 s"
        r"  /srv/a\xff.jpg",
        "12      ?     starting  ?      ?     ?         ?        ?         ?     ?         ?         ?           -",
    ]


def test_why_is_a_timeline_by_day() -> None:
    noon = time.mktime((2024, 5, 1, 12, 0, 0, 0, 0, -1))
    life = {
        "path": "/srv/a.jpg",
        "state": "done",
        "reason": "",
        "detail": "",
        "bytes_before": 1000,
        "bytes_after": 900,
        "steps": [
            {"time": noon, "step": "queued", "text": "jpeg, 640 x 480"},
            {"time": noon + 2, "step": "done", "text": ""},
            {"time": noon + 86400, "step": "settling", "text": "it changed"},
        ],
    }

    assert why_timeline(life) == [
        "/srv/a.jpg",
        "  done, 1000 B -> 900 B (-10.0 %)",
        "  2024-05-01",
        "    12:00:00  queued       jpeg, 640 x 480",
        "    12:00:02  done",
        "  2024-05-02",
        "    12:00:00  settling     it changed",
    ]


def test_why_gives_the_reason_and_its_sentence() -> None:
    life = {"path": "/srv/a.jpg", "state": "skipped", "reason": "trailer", "detail": "bytes after the end", "steps": []}

    assert why_timeline(life) == ["/srv/a.jpg", "  skipped (trailer): bytes after the end"]


def test_no_text_of_a_file_reaches_the_terminal_raw() -> None:
    life = {
        "path": "/a\x1b[2J",
        "state": "skipped",
        "detail": "\x1b]0;x\x07",
        "steps": [{"step": "\x1b", "text": "\r"}],
    }

    shown = "\n".join([*why_timeline(life), wait_line(life), *reload_lines({"changes": ["watch /\x1b: added"]})])

    assert shown.replace("\n", "").isprintable()


def test_the_shape_of_the_backlog_is_a_table_with_a_row_for_each_folder() -> None:
    row = {"path": "/srv/\udcff", "ages": [2, 0, 1], "states": {"queued": 2, "held": 1}, "oldest_s": 4000.0}
    assert qshape_table({"ages_s": [60.0, 3600.0], "folders": [row]}) == [
        "TOTAL  <=1 min  <=1 h  older  OLDEST     STATES            FOLDER",
        "3      2        -      1      1 h 6 min  1 held, 2 queued  /srv/\\xff",
    ]
    assert qshape_table({"folders": []}) == ["nothing waits"]
    assert qshape_table({"folders": [], "in_store": 70_000})[-1].startswith("and about 70000 in the store")


def test_a_retry_tells_what_it_left_and_how_many_it_queued() -> None:
    left = {"path": "/srv/a.jpg", "queued": False, "detail": "it is being worked on"}
    assert retry_lines({"files": [left, {"path": "/srv/b.jpg", "queued": True}], "queued": 1}) == [
        "/srv/a.jpg: left as it is, it is being worked on",
        "1 file queued again",
    ]
    assert retry_lines({"files": [], "queued": 0}) == ["0 files queued again"]


def test_a_store_that_cannot_be_written_is_shown_as_trouble() -> None:
    assert "TROUBLE   the disk is full" in status_screen({"store": {"trouble": "the disk is full"}})


def test_a_finished_file_is_one_line() -> None:
    assert wait_line({"path": "/srv/a.jpg", "state": "done", "reason": ""}) == "done         /srv/a.jpg"
    assert (
        wait_line({"path": "/srv/b", "state": "skipped", "reason": "empty", "detail": "it holds nothing"})
        == "skipped      /srv/b  (empty: it holds nothing)"
    )


def test_a_file_that_was_not_finished_in_time_says_so_whatever_its_state() -> None:
    waited: dict[str, object] = {"path": "/srv/a.jpg", "state": "done", "reason": "", "finished": False}
    assert wait_line(waited) == "done         /srv/a.jpg  (not finished when the time was over)"
    waited |= {"state": "deferred", "reason": "io-error", "detail": "no answer"}
    assert wait_line(waited) == "deferred     /srv/a.jpg  (not finished when the time was over; io-error: no answer)"
    assert "not finished" not in wait_line(waited | {"finished": True})


def test_a_reload_shows_its_diff_or_that_there_is_none() -> None:
    assert reload_lines({"changes": ["watch /srv/a: priority 5 -> 3"]}) == ["watch /srv/a: priority 5 -> 3"]
    assert reload_lines({"changes": []}) == ["nothing has changed"]


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["done", "skipped"], 0),
        (["done", "quarantined"], 1),
        (["held"], 1),
        (["deferred"], 1),
        (["done", "active"], 124),
        (["quarantined", "queued"], 124),
        (["settling"], 124),
        (["no-such-state"], 124),
    ],
)
def test_the_exit_status_of_wait_follows_the_states(states: list[str], status: int) -> None:
    assert exit_status([{"state": state} for state in states]) == status
    assert exit_status([{"state": state, "finished": True} for state in states]) == status


@pytest.mark.parametrize("state", ["done", "skipped", "quarantined", "held", "deferred", "queued"])
def test_a_wait_for_a_file_that_is_not_finished_is_over_time_whatever_its_state(state: str) -> None:
    assert exit_status([{"state": "done", "finished": True}, {"state": state, "finished": False}]) == 124


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "soon"])
def test_a_timeout_is_a_number_of_seconds(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        seconds(text)


def test_a_folder_that_is_not_watched_now_stands_in_the_status() -> None:
    folders = [
        {"path": "/srv/a", "trouble": ""},
        {"path": "/srv/b", "trouble": "watched folder /srv/b: No such file or directory"},
    ]
    lines = status_screen({"folders": folders})
    assert [line for line in lines if "TROUBLE" in line] == [
        "TROUBLE   watched folder /srv/b: No such file or directory"
    ]


def test_a_disk_that_is_out_of_order_stands_in_the_status_but_not_one_under_mere_suspicion() -> None:
    ill = {"folder": "/srv/b/sub", "state": "open", "detail": "its filesystem is read-only", "jobs": 12}
    breakers = [
        ill | {"next_try_s": 4.6},
        ill | {"state": "half-open", "next_try_s": None},
        ill | {"state": "suspected", "next_try_s": 30.0},
    ]
    lines = status_screen({"breakers": breakers})
    assert [line for line in lines if line.startswith("DISK")] == [
        "DISK      /srv/b/sub: its filesystem is read-only; 12 jobs wait, it is tried again in 4.6 s",
        "DISK      /srv/b/sub: its filesystem is read-only; 12 jobs wait, it is tried again now",
    ]
