"""Which folders may lie in which: a file has one set of rules, and nothing that we write is ever input."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from imgoptd.config.schema import Config, Watch
from imgoptd.config.table import ConfigError, quoted


def check_overlaps(config: Config) -> Config:
    """The configuration, each watched folder knowing the output trees that lie in it. Raises ConfigError."""
    for number, watch in enumerate(config.watches):
        for other in config.watches[:number]:
            _check_watches(config, watch, other)
        _check_state_dir(config, watch)
    for watch in config.watches:
        if watch.output:
            _check_output(config, watch)
    trees = {watch.output for watch in config.watches if watch.output}
    watches = (replace(watch, trees_inside=trees_inside(watch.path, trees)) for watch in config.watches)
    return replace(config, watches=tuple(watches))


def _check_watches(config: Config, watch: Watch, other: Watch) -> None:
    if watch.path == other.path:
        raise _error(config, watch, "path", "is watched twice", "remove one of the two")
    for inner, outer, where in ((watch, other, "inside"), (other, watch, "around")):
        if outer.recursive and _lies_in(inner.path, outer.path):
            what = f"lies {where} the watched folder {_shown(other.path)}"
            mend = "a file would have two sets of rules: remove one, or write recursive = false for the outer one"
            raise _error(config, watch, "path", what, mend)


def _check_state_dir(config: Config, watch: Watch) -> None:
    state_dir = os.fsencode(config.daemon.state_dir)
    what = f"overlaps with the daemon's own state_dir {_shown(state_dir)}"
    if _lies_in(watch.path, state_dir) or (watch.recursive and _lies_in(state_dir, watch.path)):
        raise _error(config, watch, "path", what, "move state_dir out of the watched folder")
    if watch.output and (_lies_in(watch.output, state_dir) or _lies_in(state_dir, watch.output)):
        raise _error(config, watch, "output", what, "name another folder")


def _check_output(config: Config, watch: Watch) -> None:
    """No folder is watched in an output tree: results would be taken for originals, and worked on again.

    That also rules out a chain, one watch working on what another puts out. Symbolic links are followed here.
    """
    for other in config.watches:
        if not (_lies_in(other.path, watch.output) or _lies_in(_real(other.path), _real(watch.output))):
            continue
        if other is watch:
            what = "is the watched folder itself, or lies around it: results would be taken for originals"
        else:
            what = f"holds the watched folder {_shown(other.path)}: results of one would be originals of the other"
        raise _error(config, watch, "output", what, "name a folder beside the watched ones, or inside of one")


def trees_inside(watched: bytes, trees: Iterable[bytes]) -> tuple[bytes, ...]:
    """Those of the output trees that lie in the watched folder: their paths below it. Symbolic links are followed."""
    found = set()
    for tree in trees:
        for inner, outer in ((tree, watched), (_real(tree), _real(watched))):
            if _lies_in(inner, outer) and inner != outer:
                found.add(inner[len(outer) :].lstrip(b"/"))
    return tuple(sorted(found))


def _lies_in(inner: bytes, outer: bytes) -> bool:
    return inner == outer or inner.startswith(outer + b"/")


def _real(path: bytes) -> bytes:
    return os.path.realpath(path)


def _shown(path: bytes) -> str:
    return quoted(os.fsdecode(path))


def _error(config: Config, watch: Watch, key: str, what: str, mend: str) -> ConfigError:
    value = watch.path if key == "path" else watch.output
    subject = (
        f"watch path = {_shown(value)}" if key == "path" else f"watch {_shown(watch.path)} output = {_shown(value)}"
    )
    return ConfigError(config.source, subject, what, mend)
