"""The queue as it will run, with estimates: what runs, what waits in order, what is held, deferred, or settles."""

from __future__ import annotations

import argparse

from imgoptd.cli.client import Client
from imgoptd.cli.display_jobs import jobs_table
from imgoptd.cli.output import show
from imgoptd.core.model import JobState

JOBS_MOST = 10_000


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        metavar="S",
        choices=[str(state) for state in JobState],
        help=f"only those in this state: {', '.join(JobState)}; ended ones with the latest first",
    )
    parser.add_argument("--limit", metavar="N", type=number, default=100, help="so many rows at most (default: 100)")


def run(client: Client, options: argparse.Namespace) -> int:
    answer = client.jobs(options.state, options.limit)
    show(answer, jobs_table(answer), options.json)
    return 0


def number(text: str) -> int:
    """How many rows; argparse tells what is wrong with anything else."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= JOBS_MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {JOBS_MOST}")
    return int(text)
