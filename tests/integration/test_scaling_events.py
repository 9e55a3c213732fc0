"""Scaling decisions as the operator finds them: in a real journald, with every input."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from imgoptd.adapters.journald import MESSAGE_IDS
from tests.harness import Daemon, eventually
from tests.integration.journald_fixture import PrivateJournal

INPUTS = (
    *("WORKERS", "IDLE_WORKERS", "WORKERS_MIN", "WORKERS_MAX", "BACKLOG_JOBS", "BACKLOG_CPU_S", "CPUS", "OTHERS_CPUS"),
    *("AVAILABLE_BYTES", "RESERVED_BYTES", "BUDGET_BYTES", "PSI_SOME_AVG10", "PSI_SOME_RATE", "DRAINING"),
)


@pytest.fixture
def logged(journal: PrivateJournal) -> Iterator[list[dict[str, str]]]:
    """Of a daemon that optimised two pictures and then had nothing to do: its scaling events in order."""
    with Daemon(existing="optimize") as daemon:
        text = daemon.config.read_text().replace('log = "text"', 'log = "journal"')
        daemon.config.write_text(text)
        for number in range(2):
            Image.effect_noise((640, 480), 30 + number).save(daemon.watched / f"{number}.png")
        command = [*journal.enter, str(Path(sys.executable).parent / "imgoptd"), "--config", str(daemon.config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            paths = [str(path) for path in sorted(daemon.watched.iterdir())]
            eventually(lambda: daemon.ctl("status").status == 0, 20.0, "the daemon answers")
            assert daemon.ctl("wait", "--timeout", "60", *paths).status == 0
            # The worker leaves by itself after the cooldown of 15 s.
            eventually(lambda: daemon.status()["workers"]["running"] == 0, 40.0, "the idle worker is retired")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        yield journal.entries(f"MESSAGE_ID={MESSAGE_IDS['scale']}", f"_PID={process.pid}")


def test_growing_and_shrinking_stand_in_the_journal_with_every_input(
    logged: list[dict[str, str]],
) -> None:
    assert logged, "no scaling event was found by its MESSAGE_ID"
    up, down = logged[0], logged[-1]
    assert (up["IMGOPTD_FROM"], up["IMGOPTD_REASON"]) == ("0", "backlog")
    assert int(up["IMGOPTD_TO"]) >= 1
    assert int(up["IMGOPTD_BACKLOG_JOBS"]) >= 1
    assert (down["IMGOPTD_TO"], down["IMGOPTD_REASON"]) == ("0", "idle")
    for entry in logged:
        assert entry["IMGOPTD_EVENT"] == "scale"
        assert entry["SYSLOG_IDENTIFIER"] == "imgoptd"
        missing = [name for name in INPUTS if not entry.get(f"IMGOPTD_{name}")]
        assert not missing, f"inputs of the decision are missing: {missing}"
