"""What a job may take that runs alone."""

from __future__ import annotations

import pytest

from imgoptd.core.admission import MIB, MemoryView
from imgoptd.core.alone import room_bytes


@pytest.mark.parametrize(
    ("available", "limit", "idle", "room"),
    [
        (920, 1000, 0, 800),
        (820, 1000, 100, 800),
        (700, 1000, 0, None),
        (None, 1000, 0, None),
        (920, None, 0, None),
    ],
)
def test_alone_on_a_machine_a_job_leaves_the_reserve_and_what_the_daemon_holds(
    available: int | None, limit: int | None, idle: int, room: int | None
) -> None:
    view = MemoryView(
        None if available is None else available * MIB, None if limit is None else limit * MIB, budget_bytes=None
    )
    assert room_bytes(view, idle * MIB) == (None if room is None else room * MIB)
