"""What imgoptctl prints for people: pure, from the daemon's answers to lines of text.

A figure that the daemon does not know is shown as `?`; a missing part never ends in a traceback.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from imgoptd.core.text import one_line, show_bytes, show_path, show_saving, show_seconds

UNKNOWN = "?"


def _parked(workers: Mapping[str, Any]) -> str:
    """Those kept for when the work of their folder and owner has its turn again."""
    return f", {number(workers, 'parked')} parked beside them" if workers.get("parked") else ""


def status_screen(status: Mapping[str, Any]) -> list[str]:
    """`imgoptctl status`: one screen."""
    workers, backlog = part(status, "workers"), part(status, "backlog")
    pressure, scaling = part(status, "pressure"), part(status, "scaling")
    lines = [
        _row(
            "imgoptd",
            f"{word(status, 'state')} for {seconds(status, 'uptime_s')}, configuration {number(status, 'generation')}",
        ),
        _row(
            "workers",
            f"{number(workers, 'running')} running of {number(workers, 'wanted')} wanted "
            f"({number(workers, 'min')} to {number(workers, 'max')}{_by_command(workers)}), "
            f"{number(workers, 'busy')} busy{_parked(workers)}",
        ),
        _row("scaling", _scaling(scaling)),
        _row("backlog", _backlog(backlog)),
        _row(
            "memory",
            f"{bytes_of(pressure, 'available_bytes')} available, {bytes_of(pressure, 'reserved_bytes')} reserved "
            f"of {bytes_of(pressure, 'budget_bytes')}, pressure {_percent(pressure, 'memory_some_avg10')}",
        ),
        _row("this run", _counts(part(status, "counts"), part(status, "bytes"))),
    ]
    total = part(status, "total")
    if total:
        # `total` repeats counts and bytes for all time; whether nested or flat is the daemon's affair
        lines.append(_row("all time", _counts(part(total, "counts") or total, part(total, "bytes") or total)))
    if free(part(status, "store"), "trouble"):
        lines.append(_row("TROUBLE", free(part(status, "store"), "trouble")))
    undo = part(status, "undo")
    if undo.get("files"):
        kept = f"{number(undo, 'files')} originals kept, {bytes_of(undo, 'bytes')} of {bytes_of(undo, 'max_bytes')}"
        lines.append(_row("undo", kept))
    for folder in status.get("folders") or ():
        if folder.get("trouble"):
            lines.append(_row("TROUBLE", one_line(str(folder["trouble"]))))
    lines += [_row("DISK", _breaker(one)) for one in status.get("breakers") or () if one.get("state") != "suspected"]
    return lines


def workers_table(workers: Sequence[Mapping[str, Any]]) -> list[str]:
    """`imgoptctl workers`: a row for each."""
    if not workers:
        return ["no workers: nothing waits"]
    rows = [("WORKER", "PID", "STATE", "CPU", "NOW", "MEMORY", "PEAK", "RESERVED", "JOBS", "IN", "OUT", "AGE", "JOB")]
    rows += [
        (
            number(worker, "worker"),
            number(worker, "pid"),
            word(worker, "state"),
            seconds(worker, "cpu_s"),
            _share(worker, "cpu_share"),
            bytes_of(worker, "rss_bytes"),
            bytes_of(worker, "peak_bytes"),
            bytes_of(worker, "reserved_bytes"),
            number(worker, "jobs_done"),
            bytes_of(worker, "bytes_in"),
            bytes_of(worker, "bytes_out"),
            seconds(worker, "age_s"),
            path_text(worker["job"]) if worker.get("job") else "-",
        )
        for worker in workers
    ]
    return table(rows)


def qshape_table(answer: Mapping[str, Any]) -> list[str]:
    """`imgoptctl qshape`: how many files of each folder wait for how long."""
    folders = answer.get("folders") or []
    stored = int(answer.get("in_store") or 0)
    beyond = [f"and about {stored} in the store, taken up as there is room"] if stored else []
    if not folders:
        return beyond or ["nothing waits"]
    bounds = [float(bound) for bound in answer.get("ages_s") or []]
    columns = [f"<={show_seconds(bound)}" for bound in bounds] + ["older"]
    rows = [("TOTAL", *columns, "OLDEST", "STATES", "FOLDER")]
    for folder in folders:
        ages = [int(count) for count in folder.get("ages") or []]
        states = ", ".join(f"{count} {state}" for state, count in sorted(part(folder, "states").items()))
        figures = (str(sum(ages)), *(str(count) if count else "-" for count in ages), seconds(folder, "oldest_s"))
        rows.append((*figures, states, path_text(folder.get("path", ""))))
    return [*table(rows), *beyond]


def retry_lines(answer: Mapping[str, Any]) -> list[str]:
    """`imgoptctl retry`: what is done once more, and what not."""
    lines = [
        f"{path_text(file.get('path', ''))}: left as it is, {free(file, 'detail')}"
        for file in answer.get("files") or []
        if not file.get("queued")
    ]
    queued = answer.get("queued")
    return [*lines, f"{queued} file{'' if queued == 1 else 's'} queued again"]


def why_timeline(life: Mapping[str, Any]) -> list[str]:
    """`imgoptctl why`: where the file stands, then each step with its local time."""
    lines = [path_text(life.get("path", "")), f"  {_standing(life)}"]
    until = life.get("kept_until")
    if isinstance(until, int | float):
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(until))
        lines.append(f"  the original is kept until {date}: imgoptctl restore brings it back")
    day = ""
    for step in life.get("steps") or []:
        when = time.localtime(float(step.get("time") or 0))
        if time.strftime("%Y-%m-%d", when) != day:
            day = time.strftime("%Y-%m-%d", when)
            lines.append(f"  {day}")
        lines.append(f"    {time.strftime('%H:%M:%S', when)}  {word(step, 'step'):<12} {free(step, 'text')}".rstrip())
    return lines


def wait_line(file: Mapping[str, Any]) -> str:
    """`imgoptctl wait`: one finished, or unfinished, file."""
    reason = ": ".join(part for part in (free(file, "reason"), free(file, "detail")) if part)
    if file.get("finished") is False:
        reason = "; ".join(part for part in ("not finished when the time was over", reason) if part)
    return f"{word(file, 'state'):<12} {path_text(file.get('path', ''))}" + (f"  ({reason})" if reason else "")


def restore_line(file: Mapping[str, Any]) -> str:
    """`imgoptctl restore`: one file."""
    word = "restored" if file.get("restored") else "left"
    reason = ": ".join(part for part in (free(file, "reason"), free(file, "detail")) if part)
    return f"{word:<12} {path_text(file.get('path', ''))}" + (f"  ({reason})" if reason else "")


def reload_lines(answer: Mapping[str, Any]) -> list[str]:
    """`imgoptctl reload`, when it succeeded: the diff."""
    changes = [one_line(str(change)) for change in answer.get("changes") or []]
    return changes or ["nothing has changed"]


def path_text(path: str) -> str:
    """A path from an answer, printable; bytes that are no UTF-8 came as lone surrogates."""
    try:
        return show_path(os.fsencode(path))
    except UnicodeEncodeError:
        return one_line(path)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first row is the heading; the last column is as wide as it likes."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]) for row in rows
    ]


def _standing(life: Mapping[str, Any]) -> str:
    text = word(life, "state")
    before, after = life.get("bytes_before"), life.get("bytes_after")
    if life.get("state") == "done" and isinstance(before, int) and isinstance(after, int):
        text += f", {show_saving(before, after)}"
    if free(life, "reason"):
        text += f" ({free(life, 'reason')})"
    return text + (f": {free(life, 'detail')}" if free(life, "detail") else "")


def _scaling(scaling: Mapping[str, Any]) -> str:
    last = part(scaling, "last")
    if not last:
        return word(scaling, "state")
    return (
        f"{word(scaling, 'state')}, last {number(last, 'from')} -> {number(last, 'to')} workers "
        f"({word(last, 'reason')})"
    )


def _backlog(backlog: Mapping[str, Any]) -> str:
    if backlog.get("jobs") == 0:
        return "empty"
    text = f"{number(backlog, 'jobs')} jobs, {bytes_of(backlog, 'bytes')}, {seconds(backlog, 'cpu_s')} of CPU"
    return text + (f", about {seconds(backlog, 'eta_s')} left" if backlog.get("eta_s") is not None else "")


def _breaker(breaker: Mapping[str, Any]) -> str:
    waiting = (
        f"{path_text(breaker.get('folder') or '')}: {word(breaker, 'detail')}; {number(breaker, 'jobs')} jobs wait"
    )
    tried = "it is tried again now"
    if breaker.get("next_try_s") is not None:
        tried = f"it is tried again in {seconds(breaker, 'next_try_s')}"
    return f"{waiting}, {tried}"


def _counts(counts: Mapping[str, Any], sizes: Mapping[str, Any]) -> str:
    named = ", ".join(
        f"{counts[name]} {name}"
        for name in ("done", "skipped", "held", "deferred", "quarantined")
        if counts.get(name) or (name in ("done", "skipped") and name in counts)
    )
    before, after, saved = sizes.get("before"), sizes.get("after"), sizes.get("saved")
    if isinstance(before, int) and isinstance(after, int) and before > 0:
        return f"{named}; saved {bytes_of(sizes, 'saved')}: {show_saving(before, after)}"
    return f"{named}; saved {show_bytes(saved) if isinstance(saved, int) else UNKNOWN}"


def _row(name: str, text: str) -> str:
    return f"{name:<9} {text}"


def part(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, Mapping) else {}


def free(mapping: Mapping[str, Any], key: str) -> str:
    return one_line(str(mapping.get(key) or ""))


def word(mapping: Mapping[str, Any], key: str) -> str:
    return free(mapping, key) or UNKNOWN


def number(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return UNKNOWN if value is None else str(value)


def bytes_of(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return show_bytes(int(value)) if isinstance(value, int | float) else UNKNOWN


def seconds(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return show_seconds(float(value)) if isinstance(value, int | float) else UNKNOWN


def _by_command(workers: Mapping[str, Any]) -> str:
    return " by command" if workers.get("overridden") else ""


def _share(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return f"{value:.0%}".replace("%", " %") if isinstance(value, int | float) else UNKNOWN


def _percent(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return f"{value:.1f} %" if isinstance(value, int | float) else UNKNOWN
