"""What an output tree allows: looked at, and tried with files of our own that are gone again at once."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from imgoptd.adapters.beneath import KernelTooOld
from imgoptd.adapters.inspect_folder import Report, abilities, space, writable
from imgoptd.adapters.mirror import open_tree
from imgoptd.core.text import show_path
from imgoptd.wire.findings import Finding, Level


def inspect_output(root: bytes, watched: Sequence[bytes]) -> list[Finding]:
    """All findings of one output tree; `watched` are the watched folders.

    What is wrong with it is a warning: the daemon runs, and its jobs wait.
    """
    findings: list[Finding] = []
    subject = f"output {show_path(root)}"

    def report(level: Level, sentence: str, mend: str = "") -> None:
        findings.append(Finding(level, subject, sentence, mend))

    try:
        status = os.stat(root)
    except FileNotFoundError:
        _missing(root, report)
        return findings
    except OSError as error:
        report(Level.WARNING, f"{error.strerror}; jobs wait for it", "let this user enter the folders above it")
        return findings
    if not stat.S_ISDIR(status.st_mode):
        report(Level.WARNING, "is not a folder; jobs wait for it", "name a folder as output")
    elif _leads_elsewhere(root, watched, report):
        pass
    elif writable(root, report):
        space(root, report)
        abilities(root, report, input_too=False)
    return findings


def _leads_elsewhere(root: bytes, watched: Sequence[bytes], report: Report) -> bool:
    try:
        open_tree(root, watched).close()
    except (OSError, KernelTooOld) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            report(Level.WARNING, f"{error.strerror}; jobs wait for it")
            return True
    return False


def _missing(root: bytes, report: Report) -> None:
    parent = os.path.dirname(root)
    if os.access(parent, os.W_OK | os.X_OK, effective_ids=True):
        report(Level.OK, "is not there yet: the daemon makes it, unless it once put results there")
    else:
        sentence = "is not there, and the daemon cannot make it; jobs wait for it"
        report(Level.WARNING, sentence, f"make it or mount it, or let user {os.geteuid()} write in {show_path(parent)}")
