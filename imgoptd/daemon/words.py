"""What is said when a run of the daemon begins and ends, and what is returned to the shell."""

from __future__ import annotations

from collections.abc import Sequence

from imgoptd.config.schema import Watch
from imgoptd.core.engine import Engine
from imgoptd.core.model import JobState
from imgoptd.core.text import show_bytes, show_path


def greeting(watches: Sequence[Watch], *, once: bool) -> str:
    names = ", ".join(f"{show_path(watch.path)} ({watch.profile})" for watch in watches)
    return f"optimising what stands in {names}" if once else f"ready: drop images into {names}"


def goodbye(engine: Engine) -> str:
    """One line: what this run did and left."""
    counts = engine.story.counts
    saved = show_bytes(counts["bytes_before"] - counts["bytes_after"])
    parts = [f"{counts[JobState.DONE]} done", f"{counts[JobState.SKIPPED]} skipped"]
    others = {
        "quarantined": counts[JobState.QUARANTINED],
        "deferred": engine.deferred(),
        "held": len(engine.jobs.held),
    }
    parts += [f"{number} {name}" for name, number in others.items() if number]
    return f"stopped: {', '.join(parts)}, {saved} saved"


def exit_status_once(engine: Engine, *, begun: bool, troubled: bool) -> int:
    """Of `--once`: 0 all done, skipped or held; 1 some file quarantined, deferred or left, or a folder out of reach."""
    quarantined = engine.story.counts[JobState.QUARANTINED]
    left = engine.unfinished() or not begun
    return 1 if quarantined or engine.deferred() or left or troubled else 0
