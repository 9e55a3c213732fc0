"""Read the configuration again, as SIGHUP does, and print what changed or what is wrong."""

from __future__ import annotations

import argparse
import sys

from imgoptd.cli.client import Client
from imgoptd.cli.display import reload_lines
from imgoptd.cli.output import show
from imgoptd.core.text import one_line


def add(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(client: Client, options: argparse.Namespace) -> int:
    """0: the new configuration is in force. 1: it is not, the old one stays."""
    answer = client.reload()
    if answer.get("ok"):
        show(answer, reload_lines(answer), options.json)
        return 0
    show(answer, [], options.json)
    print(f"imgoptctl: the old configuration stays: {one_line(str(answer.get('error', '')))}", file=sys.stderr)
    return 1
