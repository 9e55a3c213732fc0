"""Give no more jobs out, until `resume` or the next start; those that run are finished."""

from __future__ import annotations

import argparse

from imgoptd.cli.client import Client
from imgoptd.cli.display_jobs import pause_line
from imgoptd.cli.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(client: Client, options: argparse.Namespace) -> int:
    answer = client.pause()
    show(answer, [pause_line(answer)], options.json)
    return 0
