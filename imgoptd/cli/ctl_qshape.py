"""The shape of the backlog: how many files of each folder wait, and for how long."""

from __future__ import annotations

import argparse

from imgoptd.cli.client import Client
from imgoptd.cli.display import qshape_table
from imgoptd.cli.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(client: Client, options: argparse.Namespace) -> int:
    answer = client.qshape()
    show(answer, qshape_table(answer), options.json)
    return 0
