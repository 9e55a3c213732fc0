"""One screen: workers, backlog, pressure, what was done and saved."""

from __future__ import annotations

import argparse

from imgoptd.cli.client import Client
from imgoptd.cli.display import status_screen
from imgoptd.cli.output import show


def add(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(client: Client, options: argparse.Namespace) -> int:
    status = client.status()
    show(status, status_screen(status), options.json)
    return 0
