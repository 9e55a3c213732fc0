"""The life of a file: each step, decision and reason."""

from __future__ import annotations

import argparse
import os

from imgoptd.cli.client import Client
from imgoptd.cli.display import why_timeline
from imgoptd.cli.output import show
from imgoptd.cli.paths import ask_for_each


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=os.fsencode, help="the file")


def run(client: Client, options: argparse.Namespace) -> int:
    life = ask_for_each(lambda paths: client.why(paths[0]), [options.path])
    show(life, why_timeline(life), options.json)
    return 0
