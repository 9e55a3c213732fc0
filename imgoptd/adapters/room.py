"""The floor: free space that is never taken from a filesystem."""

from __future__ import annotations

import os

from imgoptd.adapters.troubles import NO_SPACE
from imgoptd.core.model import Failure, FailureKind
from imgoptd.core.text import show_bytes

FLOOR_MOST_BYTES = 256 << 20
FLOOR_SHARE = 0.02


def floor_of(space: os.statvfs_result) -> int:
    """Bytes that stay free: 2 % of the filesystem, 256 MiB at most. 0 where it does not say how large it is."""
    return min(FLOOR_MOST_BYTES, int(FLOOR_SHARE * space.f_blocks * space.f_frsize))


def told_room(space: os.statvfs_result) -> tuple[bool, str]:
    """Is there more than the floor? And the figures, for a person. What tells no figures is taken to have room."""
    free, floor = show_bytes(space.f_bavail * space.f_frsize), show_bytes(floor_of(space))
    if want_of_room(space, 0) is None:
        return True, f"{free} free, of which {floor} are never taken" if space.f_blocks else f"{free} free"
    return False, f"only {free} are free, and {floor} (2 %, 256 MiB at most) must stay so: files wait"


def want_of_room(space: os.statvfs_result, need_bytes: int, *, most_is_floor: bool = False) -> Failure | None:
    """TRANSIENT `no-space` where less than the floor would stay free after `need_bytes` more; None where there is room.

    What the filesystem keeps for root alone does not count as free. With `most_is_floor` no more than the floor itself
    is asked for above it.
    """
    if not space.f_blocks:
        return None  # a filesystem that tells no figures
    floor, free = floor_of(space), space.f_bavail * space.f_frsize
    if most_is_floor:
        need_bytes = min(need_bytes, floor)
    if free - need_bytes >= floor:
        return None
    detail = (
        f"its filesystem has {show_bytes(free)} free; beside a result of up to {show_bytes(need_bytes)} it must keep "
        f"{show_bytes(floor)} (2 %, 256 MiB at most)"
    )
    return Failure(FailureKind.TRANSIENT, NO_SPACE, detail)
