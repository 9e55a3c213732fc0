"""One way to print an answer: as JSON for scripts or as lines for people."""

from __future__ import annotations

import json
from collections.abc import Sequence


def show(answer: object, lines: Sequence[str], as_json: bool) -> None:
    """Print the answer as indented ASCII JSON, or else the lines."""
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    for line in lines:
        print(line)
