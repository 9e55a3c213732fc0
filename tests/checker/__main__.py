"""`python -m tests.checker BEFORE AFTER`: compare two folders, say what did not survive."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.checker import compare, decoders, snapshot


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.checker", description="Compare a folder before and after.")
    options.add_argument("before")
    options.add_argument("after")
    options.add_argument("--tags", action="store_true", help="let exiftool compare every tag too (0.2 s a file)")
    chosen = options.parse_args()
    for subject, tools in decoders().items():
        print(f"{subject}: {tools}")
    before, after = snapshot(chosen.before, tags=chosen.tags), snapshot(chosen.after, tags=chosen.tags)
    found = compare(before, after, atime=False)  # reading one to copy it moved its times
    for difference in found:
        print(difference)
    sizes = [sum(facts.content.size for facts in side.values() if facts.content) for side in (before, after)]
    kinds = Counter(facts.content.format if facts.content else facts.kind for facts in before.values())
    print(f"{dict(kinds)}: {sizes[0]} -> {sizes[1]} bytes, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
