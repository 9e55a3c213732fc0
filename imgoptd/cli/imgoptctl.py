"""imgoptctl: look at a running imgoptd and steer it. One module a command; each has `add` (its arguments) and `run`."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Protocol

from imgoptd.cli import (
    ctl_jobs,
    ctl_pause,
    ctl_qshape,
    ctl_reload,
    ctl_restore,
    ctl_resume,
    ctl_retry,
    ctl_scale,
    ctl_status,
    ctl_top,
    ctl_wait,
    ctl_why,
    ctl_workers,
)
from imgoptd.cli.client import DEFAULT_SOCKET, Client, ControlFailure


class Command(Protocol):
    """What each command's module has; its docstring's first line is its help."""

    def add(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, client: Client, options: argparse.Namespace) -> int: ...


COMMANDS: dict[str, Command] = {
    "status": ctl_status,
    "top": ctl_top,
    "workers": ctl_workers,
    "jobs": ctl_jobs,
    "qshape": ctl_qshape,
    "why": ctl_why,
    "wait": ctl_wait,
    "scale": ctl_scale,
    "pause": ctl_pause,
    "resume": ctl_resume,
    "retry": ctl_retry,
    "restore": ctl_restore,
    "reload": ctl_reload,
}

EXIT_REFUSED = 2
"""The daemon cannot be reached or refuses, or the command line is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a terminal that cannot show a name must not end in a traceback
            reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    try:
        status = COMMANDS[options.command].run(Client(options.socket), options)
        if sys.stdout is None:  # closed by who started us: Python has none then
            return _unwritten(os.strerror(errno.EBADF))
        sys.stdout.flush()
    except ControlFailure as failure:
        return _fail(failure, options.json)
    except BrokenPipeError:
        # the reader (head, less) has left; so that the interpreter does not complain at exit, stdout goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:  # a full disk behind a redirection: the answer was not written whole
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _unwritten(error.strerror or str(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def parser() -> argparse.ArgumentParser:
    """The command line. --json and --socket are taken before and after the command."""
    top = argparse.ArgumentParser(prog="imgoptctl", description="Look at a running imgoptd and steer it.")
    _add_common(top, json_default=False, socket_default=os.environ.get("IMGOPTD_CONTROL") or DEFAULT_SOCKET)
    common = argparse.ArgumentParser(add_help=False)
    _add_common(common, json_default=argparse.SUPPRESS, socket_default=argparse.SUPPRESS)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        module.add(commands.add_parser(name, help=summary, description=summary, parents=[common]))
    return top


def _add_common(to: argparse.ArgumentParser, json_default: object, socket_default: object) -> None:
    to.add_argument("--json", action="store_true", default=json_default, help="print the answer as JSON")
    to.add_argument(
        "--socket",
        metavar="PATH",
        default=socket_default,
        help=f"control socket of the daemon (default: $IMGOPTD_CONTROL, or {DEFAULT_SOCKET})",
    )


def _fail(failure: ControlFailure, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": {"reason": failure.reason, "message": str(failure)}}))
    print(f"imgoptctl: {failure}", file=sys.stderr)
    return EXIT_REFUSED


def _unwritten(why: str) -> int:
    print(f"imgoptctl: the answer could not be written: {why}", file=sys.stderr)
    return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main())
