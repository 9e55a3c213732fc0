"""`imgoptd --check`: every finding with its mend, and an exit status for scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from imgoptd.adapters.inspection import inspect
from imgoptd.config.load import ConfigError, load
from imgoptd.wire.findings import Finding, Level, exit_status

_CLOSING = ("fine", "would run, with warnings", "would not start")


def run_check(config: Path) -> int:
    """Check the file and the machine, print all of it, return the exit status."""
    try:
        loaded = load(config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return report(inspect(loaded), sys.stdout)


def report(findings: Sequence[Finding], out: TextIO) -> int:
    """Print the findings, worst last, where the eye is. Returns the exit status: 0 fine, 1 warnings, 2 errors."""
    order = (Level.OK, Level.WARNING, Level.ERROR)
    for finding in sorted(findings, key=lambda finding: order.index(finding.level)):
        out.write(f"{finding.level:<8} {finding.subject}: {finding.sentence}\n")
        if finding.mend:
            out.write(f"{'':<8} -> {finding.mend}\n")
    status = exit_status(findings)
    out.write(f"{_CLOSING[status]}\n")
    return status
