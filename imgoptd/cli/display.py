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


def status_screen(status: Mapping[str, Any]) -> list[str]:
    """`imgoptctl status`: one screen."""
    workers, backlog = _part(status, "workers"), _part(status, "backlog")
    pressure, scaling = _part(status, "pressure"), _part(status, "scaling")
    lines = [
        _row(
            "imgoptd",
            f"{_word(status, 'state')} for {_seconds(status, 'uptime_s')}, "
            f"configuration {_number(status, 'generation')}",
        ),
        _row(
            "workers",
            f"{_number(workers, 'running')} running of {_number(workers, 'wanted')} wanted "
            f"({_number(workers, 'min')} to {_number(workers, 'max')}), {_number(workers, 'busy')} busy",
        ),
        _row("scaling", _scaling(scaling)),
        _row("backlog", _backlog(backlog)),
        _row(
            "memory",
            f"{_bytes(pressure, 'available_bytes')} available, {_bytes(pressure, 'reserved_bytes')} reserved "
            f"of {_bytes(pressure, 'budget_bytes')}, pressure {_percent(pressure, 'memory_some_avg10')}",
        ),
        _row("this run", _counts(_part(status, "counts"), _part(status, "bytes"))),
    ]
    total = _part(status, "total")
    if total:
        # `total` repeats counts and bytes for all time; whether nested or flat is the daemon's affair
        lines.append(_row("all time", _counts(_part(total, "counts") or total, _part(total, "bytes") or total)))
    if _free(_part(status, "store"), "trouble"):
        lines.append(_row("TROUBLE", _free(_part(status, "store"), "trouble")))
    undo = _part(status, "undo")
    if undo.get("files"):
        kept = f"{_number(undo, 'files')} originals kept, {_bytes(undo, 'bytes')} of {_bytes(undo, 'max_bytes')}"
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
    rows = [("WORKER", "PID", "STATE", "CPU", "MEMORY", "JOBS", "AGE", "JOB")]
    rows += [
        (
            _number(worker, "worker"),
            _number(worker, "pid"),
            _word(worker, "state"),
            _seconds(worker, "cpu_s"),
            _bytes(worker, "rss_bytes"),
            _number(worker, "jobs_done"),
            _seconds(worker, "age_s"),
            path_text(worker["job"]) if worker.get("job") else "-",
        )
        for worker in workers
    ]
    return _table(rows)


def qshape_table(answer: Mapping[str, Any]) -> list[str]:
    """`imgoptctl qshape`: how many files of each folder wait for how long."""
    folders = answer.get("folders") or []
    if not folders:
        return ["nothing waits"]
    bounds = [float(bound) for bound in answer.get("ages_s") or []]
    columns = [f"<={show_seconds(bound)}" for bound in bounds] + ["older"]
    rows = [("TOTAL", *columns, "OLDEST", "STATES", "FOLDER")]
    for folder in folders:
        ages = [int(count) for count in folder.get("ages") or []]
        states = ", ".join(f"{count} {state}" for state, count in sorted(_part(folder, "states").items()))
        figures = (str(sum(ages)), *(str(count) if count else "-" for count in ages), _seconds(folder, "oldest_s"))
        rows.append((*figures, states, path_text(folder.get("path", ""))))
    return _table(rows)


def retry_lines(answer: Mapping[str, Any]) -> list[str]:
    """`imgoptctl retry`: what is done once more, and what not."""
    lines = [
        f"{path_text(file.get('path', ''))}: left as it is, {_free(file, 'detail')}"
        for file in answer.get("files") or []
        if not file.get("queued")
    ]
    number = answer.get("queued")
    return [*lines, f"{number} file{'' if number == 1 else 's'} queued again"]


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
        lines.append(f"    {time.strftime('%H:%M:%S', when)}  {_word(step, 'step'):<12} {_free(step, 'text')}".rstrip())
    return lines


def wait_line(file: Mapping[str, Any]) -> str:
    """`imgoptctl wait`: one finished, or unfinished, file."""
    reason = ": ".join(part for part in (_free(file, "reason"), _free(file, "detail")) if part)
    if file.get("finished") is False:
        reason = "; ".join(part for part in ("not finished when the time was over", reason) if part)
    return f"{_word(file, 'state'):<12} {path_text(file.get('path', ''))}" + (f"  ({reason})" if reason else "")


def restore_line(file: Mapping[str, Any]) -> str:
    """`imgoptctl restore`: one file."""
    word = "restored" if file.get("restored") else "left"
    reason = ": ".join(part for part in (_free(file, "reason"), _free(file, "detail")) if part)
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


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first row is the heading; the last column is as wide as it likes."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]) for row in rows
    ]


def _standing(life: Mapping[str, Any]) -> str:
    text = _word(life, "state")
    before, after = life.get("bytes_before"), life.get("bytes_after")
    if life.get("state") == "done" and isinstance(before, int) and isinstance(after, int):
        text += f", {show_saving(before, after)}"
    if _free(life, "reason"):
        text += f" ({_free(life, 'reason')})"
    return text + (f": {_free(life, 'detail')}" if _free(life, "detail") else "")


def _scaling(scaling: Mapping[str, Any]) -> str:
    last = _part(scaling, "last")
    if not last:
        return _word(scaling, "state")
    return (
        f"{_word(scaling, 'state')}, last {_number(last, 'from')} -> {_number(last, 'to')} workers "
        f"({_word(last, 'reason')})"
    )


def _backlog(backlog: Mapping[str, Any]) -> str:
    if backlog.get("jobs") == 0:
        return "empty"
    text = f"{_number(backlog, 'jobs')} jobs, {_bytes(backlog, 'bytes')}, {_seconds(backlog, 'cpu_s')} of CPU"
    return text + (f", about {_seconds(backlog, 'eta_s')} left" if backlog.get("eta_s") is not None else "")


def _breaker(breaker: Mapping[str, Any]) -> str:
    waiting = (
        f"{path_text(breaker.get('folder') or '')}: {_word(breaker, 'detail')}; {_number(breaker, 'jobs')} jobs wait"
    )
    tried = "it is tried again now"
    if breaker.get("next_try_s") is not None:
        tried = f"it is tried again in {_seconds(breaker, 'next_try_s')}"
    return f"{waiting}, {tried}"


def _counts(counts: Mapping[str, Any], sizes: Mapping[str, Any]) -> str:
    named = ", ".join(
        f"{counts[name]} {name}"
        for name in ("done", "skipped", "held", "deferred", "quarantined")
        if counts.get(name) or (name in ("done", "skipped") and name in counts)
    )
    before, after, saved = sizes.get("before"), sizes.get("after"), sizes.get("saved")
    if isinstance(before, int) and isinstance(after, int) and before > 0:
        return f"{named}; saved {_bytes(sizes, 'saved')}: {show_saving(before, after)}"
    return f"{named}; saved {show_bytes(saved) if isinstance(saved, int) else UNKNOWN}"


def _row(name: str, text: str) -> str:
    return f"{name:<9} {text}"


def _part(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = mapping.get(key)
    return value if isinstance(value, Mapping) else {}


def _free(mapping: Mapping[str, Any], key: str) -> str:
    return one_line(str(mapping.get(key) or ""))


def _word(mapping: Mapping[str, Any], key: str) -> str:
    return _free(mapping, key) or UNKNOWN


def _number(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return UNKNOWN if value is None else str(value)


def _bytes(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return show_bytes(int(value)) if isinstance(value, int | float) else UNKNOWN


def _seconds(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return show_seconds(float(value)) if isinstance(value, int | float) else UNKNOWN


def _percent(mapping: Mapping[str, Any], key: str) -> str:
    value = mapping.get(key)
    return f"{value:.1f} %" if isinstance(value, int | float) else UNKNOWN
