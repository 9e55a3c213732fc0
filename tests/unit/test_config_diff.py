from dataclasses import replace
from pathlib import Path

import pytest

from imgoptd.config.diff import diff
from imgoptd.config.load import loads
from imgoptd.config.schema import Config

WATCH = '[[watch]]\npath = "/srv/a"\n'
OUTPUT = WATCH + 'mode = "output"\noutput = "/o"\n'


def config(content: str) -> Config:
    return loads(content, Path("x.toml"), Path("/"))


def test_two_equal_configurations_have_no_changes() -> None:
    assert diff(config(WATCH), replace(config(WATCH), source=Path("y.toml"))) == []


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (WATCH, WATCH + "priority = 3", "watch /srv/a: priority 5 -> 3"),
        (WATCH, WATCH + 'settle = "500ms"', "watch /srv/a: settle 1s -> 500ms"),
        (WATCH, WATCH + 'min_saving = "2.5%"', "watch /srv/a: min_saving 1% -> 2.5%"),
        (WATCH, WATCH + "recursive = false", "watch /srv/a: recursive true -> false"),
        (WATCH, WATCH + 'existing = "optimize"', "watch /srv/a: existing ignore -> optimize"),
        (WATCH, WATCH + 'exclude = ["a\\n"]', r'watch /srv/a: exclude [] -> ["a\n"]'),
        (OUTPUT, OUTPUT.replace("/o", "/p"), "watch /srv/a: output /o -> /p"),
        (WATCH, WATCH + '[workers]\nmemory_budget = "2GiB"', "workers.memory_budget: auto -> 2GiB"),
        (WATCH, WATCH + '[workers]\nmemory_budget = "50%"', "workers.memory_budget: auto -> 50%"),
        (WATCH, WATCH + "[workers]\nmax = 2", "workers.max: 0 -> 2"),
        (WATCH, WATCH + '[undo]\nmax_size = "1GiB"', "undo.max_size: 10GiB -> 1GiB"),
        (WATCH, WATCH + '[daemon]\nstop_timeout = "1min"', "daemon.stop_timeout: 30s -> 1min"),
    ],
)
def test_a_change_is_shown_as_the_file_has_it(old: str, new: str, change: str) -> None:
    [found] = diff(config(old), config(new))
    assert str(found) == change
    assert not found.needs_restart


def test_folders_are_added_and_removed_by_their_path() -> None:
    old = config('[[watch]]\npath = "/srv/c"\n' + WATCH)
    new = config(WATCH + '[[watch]]\npath = "/srv/b"\n')
    assert [str(change) for change in diff(old, new)] == ["watch /srv/b: added", "watch /srv/c: removed"]


def test_a_change_that_counts_from_the_next_start_on_says_so() -> None:
    new = config(WATCH + '[daemon]\nstate_dir = "/s"\ncontrol = "/c"\nlog = "json"\n')
    changes = diff(config(WATCH), new)
    assert all(change.needs_restart for change in changes)
    assert [str(change) for change in changes] == [
        "daemon.state_dir: /var/lib/imgoptd -> /s (from the next start on)",
        "daemon.control: /run/imgoptd/control.sock -> /c (from the next start on)",
        "daemon.log: auto -> json (from the next start on)",
    ]


def test_an_output_tree_that_comes_is_two_changes() -> None:
    changes = [str(change) for change in diff(config(WATCH), config(OUTPUT))]
    assert changes == ["watch /srv/a: mode replace -> output", 'watch /srv/a: output "" -> /o']
