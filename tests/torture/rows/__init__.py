"""The rows: a module each, with NAME, ASKS and `run`. What lies in this folder is found by itself.

`run(seconds, seed, rounds=None)` ends by itself after `rounds` trials or within `seconds` and a little, prints nothing
but through `report.say`, and raises CannotRun where the machine lacks what it needs.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, cast

from tests.torture.report import Report


class Row(Protocol):
    NAME: str
    ASKS: str
    """What is asked of the daemon, in words."""

    def run(self, seconds: float, seed: int, rounds: int | None = None) -> Report: ...


def found() -> dict[str, Row]:
    """Every row by its name, in the order of the names."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    rows = [cast(Row, module) for module in modules]
    return {row.NAME: row for row in sorted(rows, key=lambda row: row.NAME)}
