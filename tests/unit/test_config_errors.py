"""What is wrong with a configuration is said in one line, with its mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.config.load import WATCH_KEYS, ConfigError, loads
from tests.unit.test_config_load import BASE, SOURCE, WATCH


def error_of(content: str, source: Path = SOURCE) -> str:
    """The message, without the file's name that leads it."""
    with pytest.raises(ConfigError) as caught:
        loads(content, source, BASE)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{SOURCE}: ")
    return line.removeprefix(f"{SOURCE}: ")


LOSSLESS = "this version does lossless optimisation only"
ITS_OWN_INPUT = (
    "is the watched folder itself, or lies around it: results would be taken for originals; "
    "name a folder beside the watched ones, or inside of one"
)
ADD_WATCH = 'add one: a line [[watch]], and below it path = "/folder/with/images"'

ERRORS = [
    # unknown keys, at each level
    ("[demon]", 'demon = {}: is not a known key; did you mean "daemon"?'),
    ("[daemon]\nlgo = 1", 'daemon.lgo = 1: is not a known key; did you mean "log"?'),
    ("[daemon]\nLOG = 1", 'daemon.LOG = 1: is not a known key; did you mean "log"?'),
    (
        "[workers]\nmax_workers = 1",
        "workers.max_workers = 1: is not a known key; remove it, or use one of min, max, "
        "memory_budget, job_timeout, nice",
    ),
    ("[undo]\nkep = 1", 'undo.kep = 1: is not a known key; did you mean "keep"?'),
    ("[metrics]\nlisten_on = 1", 'metrics.listen_on = 1: is not a known key; did you mean "listen"?'),
    ("[profile.m]\nextend = 1", 'profile.m.extend = 1: is not a known key; did you mean "extends"?'),
    (WATCH + "prioritty = 1", 'watch "/srv/a" prioritty = 1: is not a known key; did you mean "priority"?'),
    (
        WATCH + '"a\\nb" = "\\u001b"',
        'watch "/srv/a" "a\\nb" = "\\x1b": is not a known key; remove it, or use one of path, '
        "profile, mode, output, recursive, existing, settle, priority, backend, include, exclude, min_saving, "
        "companions, hard_links",
    ),
    # types
    ("daemon = 1", "daemon = 1: is not a table; write it as a [section] with keys of its own"),
    ("[daemon]\nlog = 1", "daemon.log = 1: is not a text; put it in quotes"),
    (
        "[workers]\nmin = true",
        "workers.min = true: is not a whole number; write a number from 0 to 1024, without quotes",
    ),
    ("[workers]\nmin = 1.0", "workers.min = 1.0: is not a whole number; write a number from 0 to 1024, without quotes"),
    ("[undo]\nlossless = 0", "undo.lossless = 0: is neither true nor false; write true or false, without quotes"),
    (
        WATCH + 'exclude = "raw"',
        'watch "/srv/a" exclude = "raw": is not a list of texts; write it like ["*.jpg", "*.png"]',
    ),
    (WATCH + "include = [1]", 'watch "/srv/a" include = [1]: is not a list of texts; write it like ["*.jpg", "*.png"]'),
    ("watch = 3", "watch = 3: is not a list of tables; write [[watch]] with two brackets"),
    ('[watch]\npath = "a"', 'watch = { path = "a" }: is not a list of tables; write [[watch]] with two brackets'),
    ("watch = [1]", "watch = [1]: is not a table; write it as a [section] with keys of its own"),
    (
        "[profile]\nmine = 1979-05-27",
        "profile.mine = 1979-05-27: is not a table; write it as a [section] with keys of its own",
    ),
    # values
    ('[daemon]\nlog = "Jornal"', 'daemon.log = "Jornal": is not one of its values; did you mean "journal"?'),
    (
        '[daemon]\nlog = "syslog-ng"',
        'daemon.log = "syslog-ng": is not one of its values; use one of auto, journal, text, json',
    ),
    ('[daemon]\nstop_timeout = "0s"', 'daemon.stop_timeout = "0s": is out of range; write 100ms to 1d'),
    ("[daemon]\nstop_timeout = 30", 'daemon.stop_timeout = 30: is not a time with its unit; write it like "30s"'),
    ("[workers]\nmin = 3\nmax = 2", "workers.min = 3: is more than max = 2; lower min or raise max"),
    ("[workers]\nmax = -1", "workers.max = -1: is out of range; write a number from 0 to 1024"),
    ("[workers]\nnice = 20", "workers.nice = 20: is out of range; write a number from 0 to 19"),
    (
        '[workers]\nmemory_budget = "2GB"',
        'workers.memory_budget = "2GB": has an unknown unit "GB"; write "auto", a size '
        'like "2GiB" or a share like "50%"',
    ),
    (
        '[workers]\nmemory_budget = "0%"',
        'workers.memory_budget = "0%": leaves no memory for any worker; write "auto", a '
        'size like "2GiB" or a share like "50%"',
    ),
    (WATCH + "priority = 12", 'watch "/srv/a" priority = 12: is out of range; write a number from 0 to 9'),
    (WATCH + 'settle = "0"', 'watch "/srv/a" settle = "0": is out of range; write 10ms to 1d'),
    (
        WATCH + 'existing = "ignored"',
        'watch "/srv/a" existing = "ignored": is not one of its values; did you mean "ignore"?',
    ),
    (
        WATCH + 'backend = "inotify"',
        'watch "/srv/a" backend = "inotify": is not one of its values; use one of auto, native, poll',
    ),
    (WATCH + 'profile = "arhive"', 'watch "/srv/a" profile = "arhive": is not defined; did you mean "archive"?'),
    (WATCH + 'min_saving = "100%"', 'watch "/srv/a" min_saving = "100%": can never be reached; write it like "1%"'),
    (WATCH + 'min_saving = "200%"', 'watch "/srv/a" min_saving = "200%": is more than all of it; write at most "100%"'),
    (WATCH + "include = []", 'watch "/srv/a" include = []: lets no file in; remove it, or write ["*"]'),
    (
        WATCH + 'exclude = ["/"]',
        'watch "/srv/a" exclude = ["/"]: holds an empty pattern; write patterns like "*.jpg" or "raw/*"',
    ),
    # paths
    ('[[watch]]\npath = ""', 'watch "" path = "": is empty; write a path'),
    ("[[watch]]\npath = 7", "watch 1 path = 7: is not a text; put it in quotes"),
    (
        '[[watch]]\npath = "~/a"',
        'watch "~/a" path = "~/a": starts with "~", which only a shell expands; write the whole '
        'path, or "./~..." for that name',
    ),
    (
        '[[watch]]\npath = "/a/../b"',
        'watch "/a/../b" path = "/a/../b": has ".." behind a folder; write the path without ".."',
    ),
    ('[[watch]]\npath = "a\\u0000"', 'watch "a\\x00" path = "a\\x00": holds a zero byte; write a path that can exist'),
    (
        '[[watch]]\npath = "/"',
        'watch "/" path = "/": would take in /proc, /sys and the system itself; name the folders that hold your images',
    ),
    (
        f'[daemon]\ncontrol = "/{"c" * 107}"',
        f"daemon.control = \"/{'c' * 75}...: is longer than a socket's path may be (107 bytes); write a shorter one",
    ),
    # folders
    ("", f"watch: is missing; {ADD_WATCH}"),
    ("watch = []", f"watch = []: names no folder; {ADD_WATCH}"),
    ("[[watch]]\n", "watch 1 path: is missing; name the folder to watch"),
    (WATCH + WATCH, 'watch path = "/srv/a": is watched twice; remove one of the two'),
    (
        WATCH + '[[watch]]\npath = "/srv/a/b"',
        'watch path = "/srv/a/b": lies inside the watched folder "/srv/a"; a file '
        "would have two sets of rules: remove one, or write recursive = false for the outer one",
    ),
    (
        '[[watch]]\npath = "/srv/a/b"\n' + WATCH,
        'watch path = "/srv/a": lies around the watched folder "/srv/a/b"; a file '
        "would have two sets of rules: remove one, or write recursive = false for the outer one",
    ),
    (
        WATCH + '[daemon]\nstate_dir = "/srv/a/state"',
        'watch path = "/srv/a": overlaps with the daemon\'s own state_dir '
        '"/srv/a/state"; move state_dir out of the watched folder',
    ),
    (
        WATCH + '[daemon]\nstate_dir = "/srv"',
        'watch path = "/srv/a": overlaps with the daemon\'s own state_dir "/srv"; '
        "move state_dir out of the watched folder",
    ),
    # output trees
    (WATCH + 'mode = "output"', 'watch "/srv/a" output: is missing; name the folder that the results shall go to'),
    (
        WATCH + 'output = "/o"',
        'watch "/srv/a" output = "/o": has no meaning with mode = "replace"; write mode = "output", or remove it',
    ),
    (WATCH + 'mode = "output"\noutput = "/srv/a"', f'watch "/srv/a" output = "/srv/a": {ITS_OWN_INPUT}'),
    (WATCH + 'mode = "output"\noutput = "/srv"', f'watch "/srv/a" output = "/srv": {ITS_OWN_INPUT}'),
    (
        WATCH + 'mode = "output"\noutput = "/"',
        'watch "/srv/a" output = "/": would take in /proc, /sys and the system itself; '
        "name the folders that hold your images",
    ),
    (
        WATCH + 'mode = "output"\noutput = "/out"\n[[watch]]\npath = "/out/a"',
        'watch "/srv/a" output = "/out": holds the watched folder "/out/a": results of one would be originals of the '
        "other; name a folder beside the watched ones, or inside of one",
    ),
    (
        WATCH + 'mode = "output"\noutput = "/var/lib/imgoptd/small"',
        'watch "/srv/a" output = "/var/lib/imgoptd/small": overlaps with the daemon\'s own state_dir '
        '"/var/lib/imgoptd"; name another folder',
    ),
    # what this version cannot do
    (WATCH + 'profile = "web"', f'watch "/srv/a" profile = "web": {LOSSLESS}; write "archive", or remove it'),
    ('[profile.m]\nextends = "web"', f'profile.m.extends = "web": {LOSSLESS}; write "archive"'),
    (
        '[profile.m]\nextends = "archive"\njpeg = { quality = 82 }',
        f"profile.m.jpeg = {{ quality = 82 }}: {LOSSLESS}; remove it",
    ),
    ('[profile.m]\nextends = "archive"\nconvert = ["webp"]', f'profile.m.convert = ["webp"]: {LOSSLESS}; remove it'),
    ('[profile.m]\nextends = "archive"\nresize = {}', f"profile.m.resize = {{}}: {LOSSLESS}; remove it"),
    (
        '[profile.m]\nextends = "archive"\nmetadata = "strip"',
        f'profile.m.metadata = "strip": all metadata is kept: {LOSSLESS}; remove it',
    ),
    (
        '[metrics]\nlisten = "127.0.0.1:9393"',
        'metrics.listen = "127.0.0.1:9393": this version has no status page and no metrics; remove it',
    ),
    # profiles
    ('[profile.m]\nmetadata = "keep"', 'profile.m.extends: is missing; write extends = "archive"'),
    ('[profile.m]\nextends = "mine"', 'profile.m.extends = "mine": is not one of its values; use one of archive, web'),
    (
        "[profile.web]\njpeg = {}",
        "profile.web = { jpeg = {} }: is built in and cannot be changed; give yours another name, and extends",
    ),
    # syntax
    ("[daemon]\nlog =\n", "line 2: is no TOML: Invalid value (column 6); mend this line, or the one before it"),
    (
        "[daemon]\nlog = 'x'\nlog = 'y'",
        "line 3: is no TOML: Cannot overwrite a value (column 10); mend this line, or the one before it",
    ),
    (
        "a = " + "1" * 5000,
        "is no TOML that can be read: Exceeds the limit (4300 digits) for integer string conversion: "
        "value has 5000 digits; use sys.set_int_max_str_digits() to increase the limit; mend the file",
    ),
    (
        "a = " + "[" * 5000,
        "is no TOML that can be read: TOML inline arrays/tables are nested more than the allowed 400 "
        "levels; mend the file",
    ),
]


@pytest.mark.parametrize(("content", "message"), ERRORS)
def test_what_is_wrong_is_said_in_one_line_with_its_mend(content: str, message: str) -> None:
    assert error_of(content) == message


def test_a_file_name_that_would_break_the_line_is_shown_escaped() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("", Path("/a\nb\udcff.toml"), BASE)
    assert str(caught.value).startswith(r"/a\nb\xff.toml: watch: is missing")


TOML_VALUES = st.one_of(
    st.sampled_from(["true", "1", "-1", "1.5", "nan", "[]", "{}", '""', '"x"', '"1s"', "[[1]]", "07:32:00", '["*"]'])
)
OTHER_KEYS = (
    "state_dir", "control", "log", "stop_timeout", "min", "max", "memory_budget", "job_timeout", "nice", "keep",
    "lossless", "max_size", "listen", "extends", "jpeg", "convert", "resize", "metadata",
)  # fmt: skip
KEYS = st.sampled_from([*WATCH_KEYS, *OTHER_KEYS])
SECTIONS = st.sampled_from(["[daemon]", "[workers]", "[undo]", "[metrics]", "[profile.m]", WATCH, "[[watch]]"])


@given(st.lists(st.tuples(SECTIONS, st.dictionaries(KEYS, TOML_VALUES, max_size=3)), max_size=4))
def test_any_value_at_any_key_is_taken_or_refused_in_one_line(sections: list[tuple[str, dict[str, str]]]) -> None:
    content = "\n".join(
        "\n".join([head, *(f"{key} = {value}" for key, value in keys.items())]) for head, keys in sections
    )
    try:
        assert loads(content, SOURCE, BASE).watches
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
