"""What a job may take that runs alone, on a machine that nobody else uses."""

from __future__ import annotations

from imgoptd.core.admission import MemoryView


def room_bytes(view: MemoryView, idle_bytes: int) -> int | None:
    """All that leaves the reserve, without what the daemon and idle workers hold; None: others hold memory, too.

    `idle_bytes`: what workers without a job held at the last reading beyond what idle ones hold. They have given it
    back since, or will not.
    """
    if view.available_bytes is None or view.limit_bytes is None:
        return None
    available = view.available_bytes + idle_bytes
    if available < view.limit_bytes - view.reserve_bytes:
        return None
    return max(0, available - view.reserve_bytes)
