"""What a new configuration changes, in lines a person can read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from imgoptd.config.schema import Config, MemoryBudget, Watch
from imgoptd.config.table import show_value
from imgoptd.config.units import show_fraction, show_size, show_time
from imgoptd.core.text import one_line, show_path

NEEDS_RESTART = frozenset({"daemon.state_dir", "daemon.control", "daemon.log"})
"""Keys that are read once, at the start."""

DERIVED = frozenset({"path", "settings", "trees_inside"})
"""Fields of a watch that are shown elsewhere: the name of the line, and what other keys come to."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `text` is a line such as `watch /srv/a: priority 5 -> 3`."""

    text: str
    needs_restart: bool = False
    """The new value counts from the next start of the daemon on."""

    def __str__(self) -> str:
        return f"{self.text} (from the next start on)" if self.needs_restart else self.text


def diff(old: Config, new: Config) -> list[Change]:
    """All changes from `old` to `new`: sections first, then folders by path. Empty when both do the same."""
    changes = []
    for section in ("daemon", "workers", "undo"):
        for key, before, after in _differing(getattr(old, section), getattr(new, section)):
            name = f"{section}.{key}"
            changes.append(Change(f"{name}: {before} -> {after}", name in NEEDS_RESTART))
    changes.extend(Change(line) for line in _folders(old, new))
    return changes


def _folders(old: Config, new: Config) -> Iterator[str]:
    before = {watch.path: watch for watch in old.watches}
    after = {watch.path: watch for watch in new.watches}
    for path in sorted(before.keys() | after.keys()):
        name = f"watch {show_path(path)}"
        if path not in after:
            yield f"{name}: removed"
        elif path not in before:
            yield f"{name}: added"
        else:
            for key, was, becomes in _differing(before[path], after[path]):
                yield f"{name}: {key} {was} -> {becomes}"


def _differing(old: Any, new: Any) -> Iterator[tuple[str, str, str]]:
    """Key, old and new value, as the file has them, of each field in which two values of one dataclass differ."""
    skipped = DERIVED if isinstance(old, Watch) else ()
    for field in fields(old):
        was, becomes = getattr(old, field.name), getattr(new, field.name)
        if field.name not in skipped and was != becomes:
            key, show = _shown_as(field.name)
            yield key, show(was), show(becomes)


def _shown_as(name: str) -> tuple[str, Callable[[Any], str]]:
    """The key of a field, which has its unit in its name, and how its value is written."""
    if name == "memory_budget":
        return name, _show_budget
    if name == "min_saving":
        return name, show_fraction
    if name.endswith("_bytes"):
        return name.removesuffix("_bytes"), show_size
    if name.endswith("_s"):
        return name.removesuffix("_s"), show_time
    return name, _show_plain


def _show_budget(budget: MemoryBudget) -> str:
    if budget.bytes is not None:
        return show_size(budget.bytes)
    return "auto" if budget.fraction is None else show_fraction(budget.fraction)


def _show_plain(value: object) -> str:
    if isinstance(value, tuple):
        return show_value(list(value))
    if isinstance(value, bytes):
        return show_path(value) or '""'
    if isinstance(value, Path):
        return show_path(os.fsencode(value))
    return one_line(value) if isinstance(value, str) else show_value(value)
