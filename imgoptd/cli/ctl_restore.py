"""Bring originals back, byte for byte, with their metadata: 0 all restored, 1 some not, each with its reason."""

from __future__ import annotations

import argparse
import os

from imgoptd.cli.client import Client, ControlFailure
from imgoptd.cli.display import restore_line
from imgoptd.cli.output import show
from imgoptd.cli.paths import ask_for_each, candidates
from imgoptd.config import units
from imgoptd.config.units import Wrong


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="*", type=os.fsencode, help="the files")
    parser.add_argument(
        "--since", metavar="TIME", type=duration, help="all that were optimised in this time: 2h, 30min"
    )
    parser.add_argument("--folder", metavar="F", type=os.fsencode, help="with --since: only those below this folder")
    parser.add_argument(
        "--force", action="store_true", help="also where another file stands there now, which is kept beside it"
    )


def run(client: Client, options: argparse.Namespace) -> int:
    if not options.paths and options.since is None:
        raise ControlFailure("nothing says what to restore", "name files, or write --since 2h")
    if options.folder is not None and options.since is None:
        raise ControlFailure("--folder goes with --since", "write --since 2h --folder F, or name files")
    folders = [] if options.folder is None else candidates(options.folder)
    files = ask_for_each(lambda paths: client.restore(paths, options.since, folders, options.force), options.paths)
    lines = [restore_line(file) for file in files] or ["nothing is kept from that time"]
    show(files, lines, options.json)
    return 0 if all(file.get("restored") for file in files) else 1


def duration(text: str) -> float:
    """A time as in the configuration, in seconds; argparse tells what is wrong with another."""
    try:
        return units.seconds(text)
    except Wrong as wrong:
        raise argparse.ArgumentTypeError(f"{text!r} {wrong.what}; {wrong.mend}") from wrong
