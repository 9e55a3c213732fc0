"""From a TOML file to a valid Config, or to one line that says what is wrong and what to do.

Relative paths in the file are relative to the working directory of the daemon, not to the file: `config/demo.toml`
watches `./drop` of the folder it is started in. A service is started in `/` and gets absolute paths.

Keys whose work this version cannot do are refused, never passed over: nobody shall believe that a copy is kept, or a
photo shrunk, because a line in the file says so.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli

from imgoptd.config import units
from imgoptd.config.overlaps import check_overlaps
from imgoptd.config.schema import Config, DaemonSection, MemoryBudget, UndoSection, Watch, WorkersSection
from imgoptd.config.table import (
    ConfigError,
    Table,
    between,
    boolean,
    choice,
    integer,
    mapping,
    quoted,
    suggest,
    text,
    texts,
)
from imgoptd.config.units import Wrong
from imgoptd.core.model import JobSettings

__all__ = ["ConfigError", "load", "loads"]

ONLY_LOSSLESS = "this version does lossless optimisation only"

BUILT_IN_PROFILES = ("archive", "web")

SOCKET_PATH_LIMIT_BYTES = 107
"""`sun_path` of a unix socket address holds 108 bytes with its closing zero: unix(7)."""

LONGEST_S = 10 * 365 * 86400.0


def _read(path: Path) -> bytes:
    """The bytes of a regular file; a FIFO in its place must not hold a reload for ever. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        return file.read()


def load(path: Path) -> Config:
    """Read and check the file. Raises ConfigError, also for a file that is missing, unreadable or no TOML."""
    try:
        raw = _read(path)
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise ConfigError(path, "", what, "give the right file with --config") from error
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(path, f"line {line}", "is not UTF-8", "save the file as UTF-8") from error
    return loads(content, path)


def loads(content: str, source: Path, base: Path | None = None) -> Config:
    """Check the text of a configuration. `base` is what relative paths start from; None is the working directory."""
    top = Table(source, "", _parse(content, source))
    top.only(("daemon", "workers", "profile", "watch", "undo", "metrics"))
    folder = _Base(Path.cwd() if base is None else base)
    daemon = _daemon(top.table("daemon"), folder)
    profiles = _profiles(top.table("profile"))
    _metrics(top.table("metrics"))
    undo = _undo(top.table("undo"))
    config = Config(
        source=source,
        daemon=daemon,
        workers=_workers(top.table("workers")),
        undo=undo,
        watches=tuple(_watch(table, folder, profiles, undo) for table in _watch_tables(top)),
    )
    return check_overlaps(config)


def _parse(content: str, source: Path) -> dict[str, Any]:
    try:
        return tomli.loads(content)
    except tomli.TOMLDecodeError as error:
        what = f"is no TOML: {error.msg} (column {error.colno})"
        raise ConfigError(source, f"line {error.lineno}", what, "mend this line, or the one before it") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets hundreds deep
        raise ConfigError(source, "", f"is no TOML that can be read: {error}", "mend the file") from error


# ---- paths ----------------------------------------------------------------------------------------------------------


class _Base:
    """Reads paths of the file, made absolute from one folder. Symlinks are not resolved: the path stays as written."""

    def __init__(self, base: Path) -> None:
        self._base = os.fsencode(base)

    def read(self, value: object) -> bytes:
        # The text of the file is UTF-8, so the name on disk is too, whatever the locale of the daemon.
        path = text(value).encode()
        if not path:
            raise Wrong("is empty", "write a path")
        if b"\0" in path:
            raise Wrong("holds a zero byte", "write a path that can exist")
        if path.split(b"/")[0].startswith(b"~"):
            raise Wrong(
                'starts with "~", which only a shell expands', 'write the whole path, or "./~..." for that name'
            )
        parts = path.split(b"/")
        while parts[0] in (b".", b".."):
            parts = parts[1:] or [b""]
        if b".." in parts:
            # a/link/../b is not a/b when link is a symlink
            raise Wrong('has ".." behind a folder', 'write the path without ".."')
        return b"/" + os.path.normpath(os.path.join(self._base, path)).lstrip(b"/")

    def path(self, value: object) -> Path:
        return Path(os.fsdecode(self.read(value)))

    def socket(self, value: object) -> Path:
        read = self.read(value)
        if len(read) > SOCKET_PATH_LIMIT_BYTES:
            raise Wrong(
                f"is longer than a socket's path may be ({SOCKET_PATH_LIMIT_BYTES} bytes)", "write a shorter one"
            )
        return Path(os.fsdecode(read))

    def watched(self, value: object) -> bytes:
        read = self.read(value)
        if read == b"/":
            raise Wrong("would take in /proc, /sys and the system itself", "name the folders that hold your images")
        return read


# ---- sections -------------------------------------------------------------------------------------------------------


def _daemon(table: Table, folder: _Base) -> DaemonSection:
    table.only(("state_dir", "control", "log", "stop_timeout"))
    default = DaemonSection()
    return DaemonSection(
        state_dir=table.take("state_dir", folder.path, default.state_dir),
        control=table.take("control", folder.socket, default.control),
        log=table.take("log", choice("auto", "journal", "text", "json"), default.log),
        stop_timeout_s=table.take("stop_timeout", _time(0.1, 86400.0), default.stop_timeout_s),
    )


def _workers(table: Table) -> WorkersSection:
    table.only(("min", "max", "memory_budget", "job_timeout", "nice"))
    default = WorkersSection()
    section = WorkersSection(
        min=table.take("min", integer(0, 1024), default.min),
        max=table.take("max", integer(0, 1024), default.max),
        memory_budget=table.take("memory_budget", _memory_budget, default.memory_budget),
        job_timeout_s=table.take("job_timeout", _time(1.0, 86400.0), default.job_timeout_s),
        nice=table.take("nice", integer(0, 19), default.nice),
    )
    if section.max and section.min > section.max:
        table.fail("min", f"is more than max = {section.max}", "lower min or raise max")
    return section


def _memory_budget(value: object) -> MemoryBudget:
    if value == "auto":
        return MemoryBudget()
    try:
        if isinstance(value, str) and value.strip().endswith("%"):
            budget = MemoryBudget(fraction=units.fraction(value))
        else:
            budget = MemoryBudget(bytes=units.size(value))
    except Wrong as wrong:
        raise Wrong(wrong.what, 'write "auto", a size like "2GiB" or a share like "50%"') from wrong
    if not (budget.bytes or budget.fraction):
        raise Wrong("leaves no memory for any worker", 'write "auto", a size like "2GiB" or a share like "50%"')
    return budget


def _undo(table: Table) -> UndoSection:
    table.only(("keep", "lossless", "max_size"))
    default = UndoSection()
    return UndoSection(
        keep_s=table.take("keep", _time(0.0, LONGEST_S), default.keep_s),
        lossless=table.take("lossless", boolean, default.lossless),
        max_size_bytes=table.take("max_size", units.size, default.max_size_bytes),
    )


def _metrics(table: Table) -> None:
    table.only(("listen",))
    if table.take("listen", text, ""):
        table.fail("listen", "this version has no status page and no metrics", "remove it")


def _time(low_s: float, high_s: float) -> Callable[[object], float]:
    return between(units.seconds, low_s, high_s, units.show_time)


def _profiles(table: Table) -> tuple[str, ...]:
    """Check the profiles; their names, the built-in ones included."""
    own = []
    for name in table.names():
        profile = table.table(name)
        if name in BUILT_IN_PROFILES:
            if profile.names():
                table.fail(name, "is built in and cannot be changed", "give yours another name, and extends")
            continue
        _own_profile(profile)
        own.append(name)
    return (*BUILT_IN_PROFILES, *own)


def _own_profile(profile: Table) -> None:
    profile.only(("extends", "jpeg", "convert", "resize", "metadata"))
    base = profile.need("extends", choice(*BUILT_IN_PROFILES), 'write extends = "archive"')
    metadata = profile.take("metadata", choice("keep", "private", "strip"), "keep")
    if base != "archive":
        profile.fail("extends", ONLY_LOSSLESS, 'write "archive"')
    for key in ("jpeg", "convert", "resize"):
        if key in profile:
            profile.fail(key, ONLY_LOSSLESS, "remove it")
    if metadata != "keep":
        profile.fail("metadata", f"all metadata is kept: {ONLY_LOSSLESS}", "remove it")


# ---- watched folders ------------------------------------------------------------------------------------------------

WATCH_KEYS = (
    "path", "profile", "mode", "output", "recursive", "existing", "settle", "priority", "backend", "include", "exclude",
    "min_saving", "companions", "hard_links",
)  # fmt: skip


def _watch_tables(top: Table) -> list[Table]:
    def read(value: object) -> list[Table]:
        if not isinstance(value, list):
            raise Wrong("is not a list of tables", "write [[watch]] with two brackets")
        return [_watch_table(top.source, number, mapping(one)) for number, one in enumerate(value, 1)]

    mend = 'add one: a line [[watch]], and below it path = "/folder/with/images"'
    tables = top.need("watch", read, mend)
    if not tables:
        top.fail("watch", "names no folder", mend)
    return tables


def _watch_table(source: Path, number: int, values: dict[str, Any]) -> Table:
    path = values.get("path")
    return Table(source, f"watch {quoted(path) if isinstance(path, str) else number}", values, separator=" ")


def _watch(table: Table, folder: _Base, profiles: tuple[str, ...], undo: UndoSection) -> Watch:
    table.only(WATCH_KEYS)
    default = Watch(path=b"")
    mode = table.take("mode", choice("replace", "output"), default.mode)
    if mode == "output":
        output = table.need("output", folder.watched, "name the folder that the results shall go to")
    else:
        output = default.output
        if "output" in table:
            table.fail("output", 'has no meaning with mode = "replace"', 'write mode = "output", or remove it')
    profile = table.take("profile", text, default.profile)
    if profile not in profiles:
        table.fail("profile", "is not defined", suggest(profile, profiles, "use one of"))
    if profile == "web":
        table.fail("profile", ONLY_LOSSLESS, 'write "archive", or remove it')
    min_saving = table.take("min_saving", units.fraction, default.min_saving)
    if min_saving >= 1:
        table.fail("min_saving", "can never be reached", 'write it like "1%"')
    return Watch(
        path=table.need("path", folder.watched, "name the folder to watch"),
        profile=profile,
        mode=mode,
        output=output,
        recursive=table.take("recursive", boolean, default.recursive),
        existing=table.take("existing", choice("ignore", "optimize"), default.existing),
        # With no quiet time at all a file would be read between two writes wherever leases are not to be had.
        settle_s=table.take("settle", _time(0.01, 86400.0), default.settle_s),
        priority=table.take("priority", integer(0, 9), default.priority),
        backend=table.take("backend", choice("auto", "native", "poll"), default.backend),
        include=table.take("include", _include, default.include),
        exclude=table.take("exclude", _patterns, default.exclude),
        min_saving=min_saving,
        companions=table.take("companions", choice("leave", "optimize"), default.companions),
        hard_links=table.take("hard_links", choice("leave", "part"), default.hard_links),
        # With an output tree no original is displaced.
        settings=JobSettings(
            profile, min_saving, keep_original=undo.lossless and undo.keep_s > 0 and mode == "replace"
        ),
    )


def _patterns(value: object) -> tuple[str, ...]:
    patterns = texts(value)
    for pattern in patterns:
        if not pattern.strip("/"):
            raise Wrong("holds an empty pattern", 'write patterns like "*.jpg" or "raw/*"')
    return patterns


def _include(value: object) -> tuple[str, ...]:
    patterns = _patterns(value)
    if not patterns:
        raise Wrong("lets no file in", 'remove it, or write ["*"]')
    return patterns
