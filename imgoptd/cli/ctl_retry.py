"""Queue files again: those named, or all that are quarantined, deferred or held."""

from __future__ import annotations

import argparse
import os

from imgoptd.cli.client import Client
from imgoptd.cli.display import retry_lines
from imgoptd.cli.output import show
from imgoptd.cli.paths import ask_for_each


def add(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("paths", metavar="PATH", nargs="*", type=os.fsencode, default=[], help="the files")
    which.add_argument("--failed", action="store_true", help="all that are quarantined, deferred or held")


def run(client: Client, options: argparse.Namespace) -> int:
    answer = client.retry(None) if options.failed else ask_for_each(client.retry, options.paths)
    show(answer, retry_lines(answer), options.json)
    return 0
