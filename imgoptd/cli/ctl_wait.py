"""Return once each file is finished: 0 done or skipped, 1 quarantined, held or deferred, 124 after the timeout."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any

from imgoptd.cli.client import Client
from imgoptd.cli.display import wait_line
from imgoptd.cli.output import show
from imgoptd.cli.paths import ask_for_each

EXIT_TIMEOUT = 124
"""As timeout(1) has it."""

_WELL = frozenset({"done", "skipped"})
_ENDED_OTHERWISE = frozenset({"quarantined", "held", "deferred"})


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", type=os.fsencode, help="the files to wait for")
    parser.add_argument("--timeout", metavar="S", type=seconds, default=None, help="seconds to wait at most")


def run(client: Client, options: argparse.Namespace) -> int:
    files = ask_for_each(lambda paths: client.wait(paths, options.timeout), options.paths)
    show(files, [wait_line(file) for file in files], options.json)
    return exit_status(files)


def exit_status(files: Sequence[Mapping[str, Any]]) -> int:
    """Of how the files stood when the wait ended.

    A file may be at rest in a state and still not be finished: it speaks of what stood at the path before.
    """
    states = {str(file.get("state")) for file in files}
    if any(file.get("finished") is False for file in files) or not _WELL.union(_ENDED_OTHERWISE).issuperset(states):
        return EXIT_TIMEOUT
    return 0 if _WELL.issuperset(states) else 1


def seconds(text: str) -> float:
    """A duration on the command line; argparse turns the ValueError into `invalid seconds value`."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value
