"""What a check of configuration and machine found, as every face of the program shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    """The daemon runs, with less than it could do."""
    ERROR = "error"
    """The daemon does not start, or could not do anything at all."""


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    subject: str
    """What was looked at: a folder, a section of the configuration, a part of the machine."""
    sentence: str
    mend: str = ""
    """What to do about it; empty where all is well."""


def exit_status(findings: Iterable[Finding]) -> int:
    """0 fine, 1 would run, with warnings, 2 would not start."""
    levels = {finding.level for finding in findings}
    if Level.ERROR in levels:
        return 2
    return 1 if Level.WARNING in levels else 0
