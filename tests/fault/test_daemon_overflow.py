"""A kernel queue of 16 events, and a flood: nothing that was dropped stays undone, and what comes later is heard."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.harness import Daemon, drop, eventually
from tests.short_queue import short_queue

FOLDERS, FILES = 1000, 3
FLOOD = f"""
import os
for folder in range({FOLDERS}):
    os.makedirs(f"{{folder % 40}}/{{folder}}")
    for number in range({FILES}):
        with open(f"{{folder % 40}}/{{folder}}/{{number}}.txt", "w") as file:
            file.write("no image")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set sysctl values")
def test_a_flood_in_a_thousand_folders_with_a_queue_of_16_is_done_whole_and_later_files_are_heard() -> None:
    with Daemon(settle="50ms") as daemon:
        with short_queue():
            daemon.start()
        subprocess.run([sys.executable, "-c", FLOOD], cwd=daemon.watched, check=True)
        done = FOLDERS * FILES
        eventually(lambda: daemon.status()["counts"]["skipped"] == done, 60, f"all {done} are told apart from images")
        assert "overflowed" in daemon.read_log()
        assert daemon.read_log().count("is scanned again") <= 2
        later = {f"{folder % 40}/{folder}/later.txt": b"no image" for folder in range(0, FOLDERS, 100)}
        daemon.wait_done(drop(daemon.watched, later))
        eventually(lambda: not daemon.status()["folders"][0]["rescan"], what="the rescan is over")
