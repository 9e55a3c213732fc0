"""More drops than memory is to hold, and a kill -9 in the middle: every file is done, none twice."""

from __future__ import annotations

import os
import sys

import tests.images
from imgoptd.adapters.store import Store
from imgoptd.core.model import FileRef, JobState
from tests.harness import Daemon, drop, eventually

FILES = 150
SMALL_MEMORY = """
import sys
from imgoptd.core import overflow
overflow.BULK_MOST, overflow.FRESH_MOST = 10, 20
from imgoptd.cli.imgoptd import main
sys.exit(main())
"""


def test_what_waits_in_the_store_alone_is_done_once_though_the_daemon_is_killed() -> None:
    pictures = {
        f"{number % 5}/{number}.jpg": tests.images.with_segment(
            tests.images.jpeg(tests.images.photo(48, 32)), 0xFE, b"%d" % number
        )
        for number in range(FILES)
    }
    with Daemon(settle="50ms") as daemon:
        daemon.run_within(lambda program: [sys.executable, "-c", SMALL_MEMORY])
        daemon.start()
        assert daemon.ctl("pause").status == 0
        paths = drop(daemon.watched, pictures)
        waits = FILES - 20
        eventually(lambda: daemon.status()["backlog"]["in_store"] >= waits, 60, "most wait in the store alone")
        assert daemon.status()["backlog"]["jobs"] >= FILES
        assert daemon.ctl("resume").status == 0
        eventually(lambda: daemon.status()["counts"]["done"] >= FILES // 3, 60, "a third is done")
        daemon.kill()
        daemon.start()
        daemon.wait_done(paths)
        assert daemon.status()["backlog"]["in_store"] == 0
        assert daemon.stop() == 0
        store = Store.open(daemon.base / "state")
        refs = [FileRef(os.fsencode(daemon.watched), os.fsencode(name)) for name in pictures]
        found = [store.file(ref) for ref in refs]
        assert all(record is not None and record.state is JobState.DONE for record in found)
        assert [len(store.receipts(ref)) for ref in refs] == [1] * FILES
        store.close()
        assert all(path.stat().st_size < len(pictures[str(path.relative_to(daemon.watched))]) for path in paths)
