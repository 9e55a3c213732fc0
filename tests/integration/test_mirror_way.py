"""Placing in an output tree on a real disk: what is carried over, what is never touched, and what is refused."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from imgoptd.adapters.replace import UNFINISHED, ReplaceError
from tests.mirroring import Trees, intend, mirrored, put, recovered, refused, start
from tests.replacing import NEW, NEWER, OLD, can_refuse, said_by, seen, temps

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_filter = pytest.mark.skipif(not can_refuse(), reason="no seccomp filter is written for this architecture")


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    made = Trees(tmp_path / "watched", tmp_path / "output")
    for tree in made:
        tree.mkdir()
    (made.watched / "a.jpg").write_bytes(OLD)
    (made.watched / "a.jpg").chmod(0o640)
    os.setxattr(made.watched / "a.jpg", "user.rating", b"5")
    os.utime(made.watched / "a.jpg", ns=(1_400_000_000_111_111_111, 1_500_000_000_222_222_222))
    return made


@pytest.mark.parametrize("result", [NEW, b""], ids=["result", "copy"])
def test_the_output_has_all_of_the_original_and_the_original_keeps_its_inode_and_times(
    trees: Trees, result: bytes
) -> None:
    before = (trees.watched / "a.jpg").stat()
    mirrored(trees, result=result)
    after = (trees.watched / "a.jpg").stat()
    assert after == before
    assert seen(trees.output / "a.jpg") == seen(trees.watched / "a.jpg")._replace(content=result or OLD)
    assert temps(trees.output) == temps(trees.watched) == []


def test_folders_are_made_like_those_of_the_original_and_can_be_written_by_us(trees: Trees) -> None:
    (trees.watched / "x/y").mkdir(parents=True)
    (trees.watched / "x/y/a.jpg").write_bytes(OLD)
    (trees.watched / "x").chmod(0o2775)
    (trees.watched / "x/y").chmod(0o511)
    mirrored(trees, "x/y/a.jpg")
    assert [(trees.output / name).stat().st_mode & 0o7777 for name in ("x", "x/y")] == [0o2775, 0o711]


@needs_root
def test_folders_get_the_owner_of_those_of_the_original(trees: Trees) -> None:
    (trees.watched / "x").mkdir()
    (trees.watched / "x/a.jpg").write_bytes(OLD)
    os.chown(trees.watched / "x", 1234, 4321)
    mirrored(trees, "x/a.jpg")
    made = (trees.output / "x").stat()
    assert (made.st_uid, made.st_gid) == (1234, 4321)


@needs_root
def test_a_folder_whose_owner_cannot_be_given_opens_to_nobody_else() -> None:
    code = """
import os, sys
from imgoptd.adapters.mirror.folders import give_rights
from typing import Any
import tempfile
with tempfile.TemporaryDirectory() as folder:
    fd = os.open(folder, os.O_RDONLY)
    give_rights(fd, os.open(sys.argv[1], os.O_PATH))
    print(oct(os.fstat(fd).st_mode & 0o7777))
"""
    with TemporaryDirectory() as like:
        os.chown(like, 0, 2)
        os.chmod(like, 0o2775)
        assert said_by(code, like, nobody=True) == "0o705"


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """`system.posix_acl_access` of these: tag, rights, and whose (acl(5), linux/posix_acl_xattr.h)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_a_folder_with_an_access_list_opens_to_the_same_people_and_not_to_its_group(trees: Trees) -> None:
    (trees.watched / "x").mkdir()
    (trees.watched / "x/a.jpg").write_bytes(OLD)
    nobody_in_general = 2**32 - 1
    owner, group, mask, other = ((tag, rights, nobody_in_general) for tag, rights in ((1, 7), (4, 0), (16, 7), (32, 0)))
    wanted = access_list(owner, (2, 7, 1234), group, mask, other)
    os.setxattr(trees.watched / "x", "system.posix_acl_access", wanted)
    mirrored(trees, "x/a.jpg")
    assert os.getxattr(trees.output / "x", "system.posix_acl_access") == wanted


@needs_root
def test_where_the_output_tree_has_no_access_lists_the_group_has_no_rights(trees: Trees) -> None:
    (trees.watched / "x").mkdir()
    (trees.watched / "x/a.jpg").write_bytes(OLD)
    entries = ((1, 7, 2**32 - 1), (2, 7, 1234), (4, 0, 2**32 - 1), (16, 7, 2**32 - 1), (32, 5, 2**32 - 1))
    os.setxattr(trees.watched / "x", "system.posix_acl_access", access_list(*entries))
    mounted = subprocess.run(["mount", "-t", "ramfs", "ramfs", trees.output], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no ramfs can be mounted: {mounted.stderr.decode().strip()}")
    try:
        mirrored(trees, "x/a.jpg")
        assert (trees.output / "x").stat().st_mode & 0o7777 == 0o705
    finally:
        subprocess.run(["umount", trees.output], check=True)


def test_an_empty_folder_of_somebody_in_the_output_tree_keeps_its_rights(trees: Trees) -> None:
    for tree, mode in ((trees.watched, 0o777), (trees.output, 0o700)):
        (tree / "x").mkdir()
        (tree / "x").chmod(mode)
    (trees.watched / "x/a.jpg").write_bytes(OLD)
    mirrored(trees, "x/a.jpg")
    assert (trees.output / "x").stat().st_mode & 0o7777 == 0o700


def test_a_hard_linked_or_read_only_original_is_mirrored(trees: Trees) -> None:
    (trees.watched / "a.jpg").chmod(0o444)
    os.link(trees.watched / "a.jpg", trees.watched / "b.jpg")
    mirrored(trees)
    assert seen(trees.output / "a.jpg") == seen(trees.watched / "a.jpg")._replace(content=NEW)
    assert (trees.output / "a.jpg").stat().st_nlink == 1


# ---- names that are taken -------------------------------------------------------------------------------------------


def test_what_we_did_not_put_there_is_left_alone(trees: Trees) -> None:
    (trees.output / "a.jpg").write_bytes(NEWER)
    assert refused(trees) == "rejected output-taken"
    assert (trees.output / "a.jpg").read_bytes() == NEWER


def test_what_came_while_the_worker_was_at_it_is_left_alone(trees: Trees) -> None:
    with start(trees, "a.jpg", None) as job:
        intent = intend(trees, "a.jpg", job)
        (trees.output / "a.jpg").write_bytes(NEWER)
        with pytest.raises(ReplaceError) as caught:
            put(job, intent)
    assert caught.value.failure.reason == "output-taken"
    assert os.listdir(trees.output) == ["a.jpg"]
    assert (trees.output / "a.jpg").read_bytes() == NEWER


@needs_filter
@pytest.mark.parametrize("refusals", ["tmpfile", "tmpfile noreplace"])
def test_so_it_is_where_a_filesystem_can_do_less(trees: Trees, refusals: str) -> None:
    code = f"""
import sys
from pathlib import Path
from typing import Any
from tests.mirroring import *
for what in {refusals!r}.split():
    refuse(what)
trees = Trees(Path(sys.argv[1]), Path(sys.argv[2]))
with start(trees, "a.jpg", None) as job:
    intent = intend(trees, "a.jpg", job)
    (trees.output / "a.jpg").write_bytes(b"theirs")
    try:
        put(job, intent)
    except Refused as error:
        print(error.failure.reason, sorted(os.listdir(trees.output)), (trees.output / "a.jpg").read_bytes())
"""
    assert said_by(code, *map(str, trees)) == "output-taken ['a.jpg'] b'theirs'"


def test_our_own_earlier_output_is_replaced_when_the_original_has_changed(trees: Trees) -> None:
    earlier = mirrored(trees, result=b"")
    (trees.watched / "a.jpg").write_bytes(OLD + b"more")
    later = mirrored(trees, earlier=earlier)
    assert later.source_sha256 != earlier.source_sha256
    assert (trees.output / "a.jpg").read_bytes() == NEW
    assert os.listdir(trees.output) == ["a.jpg"]


def test_our_own_earlier_output_that_somebody_changed_is_his(trees: Trees) -> None:
    earlier = mirrored(trees)
    with (trees.output / "a.jpg").open("ab") as file:
        file.write(b"edited")
    assert refused(trees, earlier=earlier) == "rejected output-taken"
    assert (trees.output / "a.jpg").read_bytes() == NEW + b"edited"


def test_one_that_has_its_identity_and_another_content_is_not_ours(trees: Trees) -> None:
    earlier = mirrored(trees)
    (trees.watched / "a.jpg").write_bytes(OLD + b"more")
    assert refused(trees, earlier=replace(earlier, sha256="00" * 32)) == "rejected output-taken"
    assert os.listdir(trees.output) == ["a.jpg"]


def test_an_earlier_output_that_is_being_written_to_is_waited_for(trees: Trees) -> None:
    earlier = mirrored(trees)
    with (trees.output / "a.jpg").open("ab"):
        assert refused(trees, earlier=earlier) == "transient output-busy"


def test_an_earlier_output_that_was_removed_is_made_again(trees: Trees) -> None:
    earlier = mirrored(trees)
    (trees.output / "a.jpg").unlink()
    mirrored(trees, earlier=earlier)
    assert (trees.output / "a.jpg").read_bytes() == NEW


@pytest.mark.parametrize("kind", ["file", "link"])
def test_something_else_in_the_place_of_a_folder_is_never_passed_nor_removed(trees: Trees, kind: str) -> None:
    elsewhere = trees.output.parent / "elsewhere"
    elsewhere.mkdir()
    (trees.watched / "x").mkdir()
    (trees.watched / "x/a.jpg").write_bytes(OLD)
    if kind == "file":
        (trees.output / "x").write_bytes(b"theirs")
    else:
        (trees.output / "x").symlink_to(elsewhere)
    assert refused(trees, "x/a.jpg") == "rejected output-taken"
    assert os.listdir(elsewhere) == []


# ---- the original meanwhile -----------------------------------------------------------------------------------------


def test_an_original_that_changed_meanwhile_puts_nothing_anywhere(trees: Trees) -> None:
    with start(trees, "a.jpg", None) as job:
        intent = intend(trees, "a.jpg", job)
        (trees.watched / "a.jpg").write_bytes(NEWER)
        with pytest.raises(ReplaceError) as caught:
            put(job, intent)
    assert caught.value.failure.kind == "changed"
    assert os.listdir(trees.output) == []


def test_an_original_that_is_being_written_to_puts_nothing_anywhere(trees: Trees) -> None:
    with start(trees, "a.jpg", None) as job:
        intent = intend(trees, "a.jpg", job)
        with (trees.watched / "a.jpg").open("r+b"), pytest.raises(ReplaceError) as caught:
            put(job, intent)
    assert caught.value.failure.reason == "busy"
    assert os.listdir(trees.output) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.EEXIST])
def test_a_name_that_was_given_before_an_error_was_told_is_left_to_the_recovery(
    trees: Trees, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As when the answer of a network filesystem is lost, and the request made again; there is none here."""
    link = os.link

    def link_without_answer(*arguments: Any, **options: Any) -> None:
        link(*arguments, **options)
        raise OSError(code, os.strerror(code))

    with start(trees, "a.jpg", None) as job:
        intent = intend(trees, "a.jpg", job)
        monkeypatch.setattr(os, "link", link_without_answer)
        with pytest.raises(ReplaceError) as refused:
            put(job, intent)
    assert refused.value.failure.reason == UNFINISHED
    recovery = recovered(trees, intent)
    assert (recovery.finished, recovery.settled) == (True, True)
    assert (trees.output / "a.jpg").read_bytes() == NEW
