"""Status and workers, live: drawn anew each second until Ctrl-C; with --json an object a second, each on a line."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time

from imgoptd.cli.client import Client
from imgoptd.cli.display import status_screen, workers_table

EVERY_S = 1.0
_HOME, _TO_END = "\x1b[H", "\x1b[J"
_LINE_END = "\x1b[K\n"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", metavar="N", type=int, help="end after so many times (default: at Ctrl-C)")


def run(client: Client, options: argparse.Namespace) -> int:
    """0 at Ctrl-C, too: that is how it is meant to be left."""
    times = 0
    try:
        while True:
            _show(client, options.json)
            times += 1
            if options.count is not None and times >= options.count:
                return 0
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        return 0


def _show(client: Client, as_json: bool) -> None:
    status, workers = client.status(), client.workers()
    if as_json:
        print(json.dumps({"status": status, "workers": workers}), flush=True)
        return
    lines = [*status_screen(status), "", *workers_table(workers)]
    if not sys.stdout.isatty():  # a file or a pipe: each screen after the other, without a terminal's signs
        print("\n".join([*lines, ""]), flush=True)
        return
    size = shutil.get_terminal_size()
    shown = [line[: size.columns] for line in lines[: size.lines - 1]]
    # Each line is written over the old one and its rest cleared: a screen that is cleared first flickers.
    text = _HOME + "".join(line + _LINE_END for line in shown) + _TO_END
    os.write(sys.stdout.fileno(), text.encode(errors="backslashreplace"))
