"""An output tree after a crash at any step: the old or the new stands whole, or nothing, and no temp is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgoptd.adapters.look import identity_of
from tests.mirroring import Trees, in_process, mirrored, recovered
from tests.replacing import NEW, OLD, can_refuse, filled, seen, temps

needs_filter = pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")
NAME = "sub/a.jpg"


def fill(root: Path) -> None:
    for tree in ("watched/sub", "output"):
        (root / tree).mkdir(parents=True)
    (root / "watched/sub").chmod(0o750)
    source = root / "watched" / NAME
    source.write_bytes(OLD)
    source.chmod(0o440)  # a file that is replaced in place by nobody, and mirrored all the same
    os.setxattr(source, "user.rating", b"5")
    os.utime(source, ns=(1_400_000_000_111_111_111, 1_500_000_000_222_222_222))


@pytest.fixture(params=["disk", "overlay"])
def trees(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trees]:
    with filled(request.param, tmp_path, fill) as made:
        yield Trees(made / "watched", made / "output")


def untouched(trees: Trees) -> tuple[object, ...]:
    status = (trees.watched / NAME).stat()
    return (status.st_ino, status.st_ctime_ns, status.st_nlink, seen(trees.watched / NAME))


@pytest.mark.parametrize("result", [NEW, b""], ids=["result", "copy"])
@pytest.mark.parametrize("point", ["mirror.after_mkdir", "replace.after_prepare", "mirror.after_link"])
def test_killed_at_any_step_a_first_output_stands_whole_or_not_at_all(trees: Trees, point: str, result: bytes) -> None:
    source = seen(trees.watched / NAME)
    status, intents = in_process(trees, failpoint=point, result=result)
    assert status == -signal.SIGKILL
    assert bool(intents) == (point == "mirror.after_link")
    for intent in intents:
        assert recovered(trees, intent).finished
        assert seen(trees.output / NAME) == source._replace(content=result or OLD)
    if not intents:
        assert not (trees.output / NAME).exists()
    assert temps(trees.output) == temps(trees.watched) == []
    assert seen(trees.watched / NAME) == source


def test_a_folder_left_half_made_by_a_crash_gets_its_rights_from_the_next_file(trees: Trees) -> None:
    assert in_process(trees, failpoint="mirror.after_mkdir")[0] == -signal.SIGKILL
    assert (trees.output / "sub").stat().st_mode & 0o7777 == 0o1700
    mirrored(trees, NAME)
    assert (trees.output / "sub").stat().st_mode & 0o7777 == 0o750


@pytest.mark.parametrize("point", ["after_link", "after_exchange", "before_unlink", "after_unlink"])
def test_killed_at_any_step_an_earlier_output_stands_whole_or_the_new_one_does(trees: Trees, point: str) -> None:
    earlier = mirrored(trees, NAME, result=b"")
    source = seen(trees.watched / NAME)
    status, intents = in_process(trees, failpoint="replace." + point, earlier=earlier)
    assert status == -signal.SIGKILL
    done = recovered(trees, intents[-1])
    assert done.finished == (point != "after_link")
    assert done.identity == identity_of((trees.output / NAME).stat())
    assert seen(trees.output / NAME) == source._replace(content=NEW if done.finished else OLD)
    assert temps(trees.output) == []
    assert seen(trees.watched / NAME) == source


@needs_filter
@pytest.mark.parametrize("point", ["replace.after_materialise", "mirror.after_link"])
def test_killed_with_a_copied_result_likewise(trees: Trees, point: str) -> None:
    source = seen(trees.watched / NAME)
    status, intents = in_process(trees, "tmpfile", failpoint=point)
    assert status == -signal.SIGKILL
    assert intents[0].result is None, "a temp with a name is made only under an intent"
    assert recovered(trees, intents[-1]).finished == (point == "mirror.after_link")
    if point == "mirror.after_link":
        assert seen(trees.output / NAME) == source._replace(content=NEW)
    assert temps(trees.output) == []


@needs_filter
def test_without_nameless_files_and_flags_of_rename_a_name_that_is_taken_is_left_alone(trees: Trees) -> None:
    (trees.output / "sub").mkdir()
    status, _ = in_process(trees, "tmpfile", "noreplace", failpoint="")
    assert status == 0
    assert seen(trees.output / NAME).content == NEW
    assert temps(trees.output) == []


def test_what_was_put_over_the_output_since_the_crash_stays(trees: Trees) -> None:
    intents = in_process(trees, failpoint="mirror.after_link")[1]
    (trees.output / "draft").write_bytes(b"somebody's")
    (trees.output / "draft").rename(trees.output / NAME)
    assert not recovered(trees, intents[-1]).finished
    assert (trees.output / NAME).read_bytes() == b"somebody's"
