from pathlib import Path

import pytest

from imgoptd.config.load import loads
from imgoptd.config.schema import Config, DaemonSection, MemoryBudget, UndoSection, Watch, WorkersSection
from imgoptd.core.model import JobSettings

SOURCE = Path("/etc/imgoptd/imgoptd.toml")
BASE = Path("/base")
WATCH = '[[watch]]\npath = "/srv/a"\n'


def test_one_watched_folder_is_enough_and_the_rest_is_default() -> None:
    assert loads(WATCH, SOURCE, BASE) == Config(
        source=SOURCE,
        daemon=DaemonSection(),
        workers=WorkersSection(),
        undo=UndoSection(),
        watches=(Watch(path=b"/srv/a"),),
    )


def test_every_key_is_read() -> None:
    content = """
    [daemon]
    state_dir = "/s"
    control = "/c.sock"
    log = "json"
    stop_timeout = "10s"
    [workers]
    min = 1
    max = 4
    memory_budget = "2GiB"
    job_timeout = "1min"
    nice = 5
    [profile.archive]
    [profile.web]
    [profile.mine]
    extends = "archive"
    metadata = "keep"
    [[watch]]
    path = "/srv/photos/"
    profile = "mine"
    mode = "replace"
    recursive = false
    existing = "optimize"
    settle = "2s"
    priority = 3
    backend = "poll"
    include = ["*.jpg"]
    exclude = ["raw"]
    min_saving = "5%"
    companions = "optimize"
    hard_links = "part"
    [undo]
    keep = "1d"
    lossless = false
    max_size = "1GiB"
    [metrics]
    listen = ""
    """
    config = loads(content, SOURCE, BASE)
    assert config.daemon == DaemonSection(Path("/s"), Path("/c.sock"), "json", 10.0)
    assert config.workers == WorkersSection(1, 4, MemoryBudget(bytes=2 << 30), 60.0, 5)
    assert config.undo == UndoSection(86400.0, False, 1 << 30)
    assert config.watches == (
        Watch(
            path=b"/srv/photos",
            profile="mine",
            recursive=False,
            existing="optimize",
            settle_s=2.0,
            priority=3,
            backend="poll",
            include=("*.jpg",),
            exclude=("raw",),
            min_saving=0.05,
            companions="optimize",
            hard_links="part",
            settings=JobSettings(profile="mine", min_saving=0.05),
        ),
    )


@pytest.mark.parametrize(
    ("written", "budget"),
    [("auto", MemoryBudget()), ("50%", MemoryBudget(fraction=0.5)), ("512MiB", MemoryBudget(bytes=512 << 20))],
)
def test_a_memory_budget_is_automatic_a_size_or_a_share(written: str, budget: MemoryBudget) -> None:
    config = loads(f'{WATCH}[workers]\nmemory_budget = "{written}"', SOURCE, BASE)
    assert config.workers.memory_budget == budget


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("./drop", "/base/drop"),
        ("drop", "/base/drop"),
        (".", "/base"),
        ("../drop", "/drop"),
        ("/srv//ä/./b/", "/srv/ä/b"),
        ("//srv/a", "/srv/a"),
    ],
)
def test_a_path_becomes_absolute_from_the_working_directory(written: str, meant: str) -> None:
    [watch] = loads(f'[[watch]]\npath = "{written}"', SOURCE, BASE).watches
    assert watch.path == meant.encode()


def test_undo_may_be_switched_off() -> None:
    assert loads(f"{WATCH}[undo]\nkeep = 0\nmax_size = 0", SOURCE, BASE).undo == UndoSection(0.0, False, 0)


@pytest.mark.parametrize(
    ("section", "kept"), [("", False), ("lossless = true", True), ("lossless = true\nkeep = 0", False)]
)
def test_originals_of_lossless_results_are_kept_where_that_is_asked_for(section: str, kept: bool) -> None:
    (watch,) = loads(f"[undo]\n{section}\n{WATCH}", SOURCE, BASE).watches
    assert watch.settings.keep_original is kept


def test_a_folder_beneath_one_that_is_not_recursive_may_be_watched() -> None:
    config = loads(f'{WATCH}recursive = false\n[[watch]]\npath = "/srv/a/b"\n', SOURCE, BASE)
    assert [watch.path for watch in config.watches] == [b"/srv/a", b"/srv/a/b"]


def test_folders_whose_names_only_begin_alike_do_not_overlap() -> None:
    config = loads(f'{WATCH}[[watch]]\npath = "/srv/ab"\n[daemon]\nstate_dir = "/srv/abc"', SOURCE, BASE)
    assert len(config.watches) == 2


# ---- output trees ---------------------------------------------------------------------------------------------------


def test_an_output_tree_in_a_watched_folder_is_no_input_of_that_folder_whoever_fills_it() -> None:
    content = WATCH + 'mode = "output"\noutput = "/srv/b/small"\n[[watch]]\npath = "/srv/b"\n'
    outer, inner = loads(content, SOURCE, BASE).watches
    assert (outer.mode, outer.output, outer.trees_inside) == ("output", b"/srv/b/small", ())
    assert inner.trees_inside == (b"small",)


def test_two_folders_may_have_one_output_tree_and_it_may_be_relative() -> None:
    mirrored = 'mode = "output"\noutput = "./small"\n'
    config = loads(f'{WATCH}{mirrored}[[watch]]\npath = "/srv/b"\n{mirrored}', SOURCE, BASE)
    assert {watch.output for watch in config.watches} == {b"/base/small"}


def test_no_original_is_kept_where_none_is_displaced() -> None:
    undo = "[undo]\nlossless = true\n"
    assert loads(WATCH + undo, SOURCE, BASE).watches[0].settings.keep_original
    mirrored = loads(f'{WATCH}mode = "output"\noutput = "/o"\n{undo}', SOURCE, BASE)
    assert not mirrored.watches[0].settings.keep_original
