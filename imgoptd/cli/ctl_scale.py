"""How many workers there may be until the next start; without arguments, how many there may be now."""

from __future__ import annotations

import argparse

from imgoptd.cli.client import Client, ControlFailure
from imgoptd.cli.display_jobs import scale_line
from imgoptd.cli.output import show

WORKERS_MOST = 1024
"""As in the configuration."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--min", metavar="N", type=workers, help="keep so many also when idle")
    parser.add_argument("--max", metavar="N", type=workers, help="never more than so many; 0: the CPUs it may use")
    parser.add_argument("--auto", action="store_true", help="as the configuration says again")


def run(client: Client, options: argparse.Namespace) -> int:
    if options.auto and (options.min is not None or options.max is not None):
        raise ControlFailure("--auto goes without --min and --max", "give the range back, or name another")
    if options.auto:
        answer = client.scale_auto()
    elif options.min is None and options.max is None:
        answer = client.scale_range()
    else:
        answer = client.scale(options.min, options.max)
    show(answer, [scale_line(answer)], options.json)
    return 0


def workers(text: str) -> int:
    """A number of workers; argparse tells what is wrong with anything else."""
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= WORKERS_MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to {WORKERS_MOST}")
    return int(text)
