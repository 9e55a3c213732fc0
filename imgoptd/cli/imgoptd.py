"""`imgoptd`: the daemon's command line."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from imgoptd import __version__

DEFAULT_CONFIG = Path("/etc/imgoptd/imgoptd.toml")
EXIT_CANNOT_START = 2
EXIT_FAULT = 70
"""EX_SOFTWARE of sysexits.h."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.check:
        from imgoptd.cli.check import run_check

        return run_check(options.config)
    # Imported here: `--help` and `--check` need no event loop, store or watcher.
    from imgoptd.adapters.control_socket import ControlSocketError
    from imgoptd.adapters.store import StoreError
    from imgoptd.config.load import ConfigError
    from imgoptd.daemon.garbage import Garbage
    from imgoptd.daemon.run import run

    Garbage.begin()
    try:
        return run(options.config, once=options.once)
    except (ConfigError, StoreError, ControlSocketError) as error:
        print(error, file=sys.stderr)
        return EXIT_CANNOT_START
    except Exception:
        # Not Python's own 1, which means that some file was not done.
        traceback.print_exc()
        print("imgoptd: this is a fault of imgoptd; please report it. Nothing is lost: start it again", file=sys.stderr)
        return EXIT_FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imgoptd", description="Makes every image dropped into a watched folder as small as it can safely be."
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--version", action="version", version=f"imgoptd {__version__}")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="look at the config and the machine, say what to mend, end")
    mode.add_argument(
        "--once", action="store_true", help="optimise what stands in the watched folders, as if it were new, and end"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
