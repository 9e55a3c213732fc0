"""Give jobs out again after `pause`."""

from __future__ import annotations

import argparse

from imgoptd.cli.client import Client
from imgoptd.cli.display_jobs import pause_line
from imgoptd.cli.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(client: Client, options: argparse.Namespace) -> int:
    answer = client.resume()
    show(answer, [pause_line(answer)], options.json)
    return 0
