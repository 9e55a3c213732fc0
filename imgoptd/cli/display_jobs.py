"""What imgoptctl prints of the queue and of what was asked of the whole daemon: pure, as `display`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgoptd.cli.display import UNKNOWN, bytes_of, free, number, part, path_text, seconds, table, word

_HEADING = ("STATE", "CLASS", "PRIO", "SIZE", "FORMAT", "MEMORY", "CPU", "DONE IN", "WAITS", "PATH")


def jobs_table(answer: Mapping[str, Any]) -> list[str]:
    """`imgoptctl jobs`: a row for each, and how many there are."""
    jobs = answer.get("jobs") or []
    lines = table([_HEADING, *(_row(job) for job in jobs)]) if jobs else []
    total, shown = answer.get("total"), len(jobs)
    counts = ", ".join(f"{count} {state}" for state, count in part(answer, "counts").items() if count)
    if not jobs and not total:
        return [f"no such jobs; in all: {counts}" if counts else "nothing waits"]
    return [*lines, "", f"{shown} of {UNKNOWN if total is None else total} shown; in all: {counts or 'nothing waits'}"]


def scale_line(answer: Mapping[str, Any]) -> str:
    """`imgoptctl scale`: how many workers there may be."""
    configured = part(answer, "configured")
    text = f"{number(answer, 'min')} to {number(answer, 'max')} workers"
    if not answer.get("overridden"):
        return f"{text}, as configured"
    back = f"configured: {number(configured, 'min')} to {number(configured, 'max')}; --auto gives it back"
    return f"{text} until the next start ({back})"


def pause_line(answer: Mapping[str, Any]) -> str:
    """`imgoptctl pause` and `resume`."""
    state = word(answer, "state")
    already = "" if answer.get("changed", True) else "already "
    text = f"{already}{state}: {number(answer, 'running')} running, {number(answer, 'queued')} queued"
    return f"{text}; imgoptctl resume goes on" if state == "paused" else text


def _row(job: Mapping[str, Any]) -> tuple[str, ...]:
    reason = ": ".join(piece for piece in (free(job, "reason"), free(job, "detail")) if piece)
    fresh = {True: "fresh", False: "bulk"}.get(job["fresh"], UNKNOWN) if "fresh" in job else UNKNOWN
    shown = path_text(job.get("path", "")) + (f"  ({reason})" if reason else "")
    figures = (number(job, "priority"), bytes_of(job, "bytes"), free(job, "format") or UNKNOWN)
    estimates = (bytes_of(job, "memory_bytes"), seconds(job, "cpu_s"), seconds(job, "eta_s"), seconds(job, "waits_s"))
    return (word(job, "state"), fresh, *figures, *estimates, shown)
