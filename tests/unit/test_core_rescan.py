"""What a rescan draws attention to, in any pieces and pages: the same as comparing each path by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.finished import (
    COMPANIONS,
    EXISTING,
    HARD_LINKED,
    NO_IDENTITY,
    NOT_A_FILE,
    PROTECTED,
    SYMLINK,
    VANISHED,
)
from imgoptd.core.model import FINAL_STATES, Identity, JobState
from imgoptd.core.rescan import EVERY_S, REST, STEP, Found, Kind, Merge, Seen, Stood, Terms, next_s
from imgoptd.core.since import Since


class Row(NamedTuple):
    path: bytes
    identity: Identity
    state: JobState
    reason: str
    output: bytes = b""

    @property
    def text(self) -> str:
        return ":".join(map(str, self.identity))

    @property
    def told(self) -> str:
        return self.state.value


A = Identity(1, 10, 100, 1000)
ROOT = Seen(b"", Kind.LISTED, Identity(1, 2, 0, 0))
TERMS = Terms()
REGULAR = Terms(regular=True)


def merged(
    seen: Sequence[Seen],
    rows: Sequence[Row],
    terms: Terms = TERMS,
    piece: int = 3,
    page: int = 2,
    start: bytes = b"",
    ignored: frozenset[bytes] = frozenset(),
) -> Found:
    merge = Merge(terms, ignored.__contains__, start)
    pieces: Iterator[Sequence[Seen]] = iter([seen[at : at + piece] for at in range(0, len(seen), piece)])
    total = Found()
    while not merge.over:
        if merge.wants_rows:
            taken = [row for row in rows if row.path > merge.after][:page]
            merge.rows(taken, last=len(taken) < page, proven=False)
        elif merge.wants_proof:
            merge.proven()
        found = merge.advance(pieces)
        total.hints += found.hints
        total.stood += found.stood
        total.gone += found.gone
    return total


def stands(kind: Kind = Kind.REGULAR, identity: Identity = A, mode: int = 0o644, nlink: int = 1) -> list[Seen]:
    return [ROOT, Seen(b"a", kind, identity, mode, nlink)]


def row(state: JobState, reason: str = "", identity: Identity = A) -> list[Row]:
    return [Row(b"a", identity, state, reason)]


def is_hinted(seen: list[Seen], rows: list[Row], terms: Terms = TERMS) -> bool:
    found = merged(seen, rows, terms)
    assert found.hints in ([], [b"a"])
    assert not found.gone
    return bool(found.hints)


def test_an_unknown_file_is_hinted_at() -> None:
    assert is_hinted(stands(), [])


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_a_file_known_as_finished_costs_nothing_until_it_changes(state: JobState) -> None:
    assert not is_hinted(stands(), row(state))
    for other in (A._replace(ino=11), A._replace(size=101), A._replace(mtime_ns=1001)):
        assert is_hinted(stands(identity=other), row(state))


@pytest.mark.parametrize("state", [JobState.DONE, JobState.SKIPPED])
def test_rows_that_say_what_the_walk_says_need_no_proof(state: JobState) -> None:
    merge = Merge(TERMS, lambda path: False)
    merge.rows(row(state), last=True, proven=False)
    assert merge.advance(iter([stands()])) == Found()
    assert merge.over and merge.entries == 1 and not merge.wants_proof


@pytest.mark.parametrize(
    ("seen", "rows"),
    [
        (stands(identity=A._replace(size=1)), row(JobState.DONE)),
        (stands(), row(JobState.QUEUED)),
        (stands(), [Row(b"b", A, JobState.DONE, "")]),
        (stands(), [Row(b"0", A, JobState.SKIPPED, "")]),
        ([ROOT], row(JobState.SKIPPED)),
        ([ROOT, Seen(b"b/", Kind.LISTED, A)], row(JobState.SKIPPED)),
    ],
    ids=["changed", "unfinished", "unknown before a row", "unknown after a row", "gone at the end", "gone before"],
)
def test_nothing_is_made_of_rows_before_they_are_proven(seen: list[Seen], rows: list[Row]) -> None:
    merge = Merge(REGULAR, lambda path: False)
    merge.rows(rows, last=True, proven=False)
    walk = iter([seen])
    assert merge.advance(walk) == merge.advance(walk) == Found()
    assert merge.wants_proof and not merge.over
    merge.proven()
    merge.advance(walk)
    assert merge.over and not merge.wants_proof


def test_another_number_of_its_device_makes_no_other_file() -> None:
    assert not is_hinted(stands(identity=A._replace(dev=7)), row(JobState.SKIPPED, EXISTING))


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.ACTIVE])
@pytest.mark.parametrize("terms", [Terms(), REGULAR])
def test_what_the_engine_has_by_its_row_is_hinted_at_only_once_it_has_changed(state: JobState, terms: Terms) -> None:
    assert not is_hinted(stands(), row(state), terms)
    assert is_hinted(stands(identity=A._replace(size=1)), row(state), terms)
    assert is_hinted([ROOT], row(state), terms)


@pytest.mark.parametrize("state", [JobState.DEFERRED, JobState.HELD])
def test_what_waits_for_better_times_is_hinted_at_but_by_a_regular_scan(state: JobState) -> None:
    assert is_hinted(stands(), row(state))
    assert not is_hinted(stands(), row(state), REGULAR)


def test_rights_and_links_are_judged_by_the_stat() -> None:
    assert not is_hinted(stands(mode=0o444), row(JobState.SKIPPED, PROTECTED))
    assert is_hinted(stands(mode=0o644), row(JobState.SKIPPED, PROTECTED))
    assert not is_hinted(stands(nlink=2), row(JobState.SKIPPED, HARD_LINKED))
    assert is_hinted(stands(nlink=1), row(JobState.SKIPPED, HARD_LINKED))
    assert is_hinted(stands(nlink=2), row(JobState.SKIPPED, HARD_LINKED), Terms(part_hard_links=True))


@pytest.mark.parametrize("reason", sorted(COMPANIONS))
def test_what_is_left_for_the_sake_of_others_is_looked_at_again_only_where_that_may_have_ended(reason: str) -> None:
    assert not is_hinted(stands(), row(JobState.SKIPPED, reason))
    assert is_hinted(stands(), row(JobState.SKIPPED, reason), Terms(spare_companions=False))
    assert is_hinted(stands(mode=0o444), row(JobState.SKIPPED, reason))


def test_a_file_that_had_vanished_and_is_back_is_hinted_at() -> None:
    assert is_hinted(stands(), row(JobState.SKIPPED, VANISHED))


def test_what_stood_there_is_spared_only_where_it_is_to_be_spared() -> None:
    assert not is_hinted(stands(), row(JobState.SKIPPED, EXISTING))
    assert is_hinted(stands(), row(JobState.SKIPPED, EXISTING), Terms(spare_existing=False))


def test_an_impatient_run_tries_quarantined_files_anew() -> None:
    assert is_hinted(stands(), row(JobState.QUARANTINED), Terms(patient=False))


@pytest.mark.parametrize(("kind", "reason"), [(Kind.SYMLINK, SYMLINK), (Kind.OTHER, NOT_A_FILE)])
def test_what_is_no_regular_file_costs_nothing_while_it_stays_of_its_kind(kind: Kind, reason: str) -> None:
    assert not is_hinted(stands(kind), row(JobState.SKIPPED, reason, NO_IDENTITY))
    assert is_hinted(stands(kind), row(JobState.DONE))
    assert is_hinted(stands(), row(JobState.SKIPPED, reason, NO_IDENTITY))


def test_a_ctime_of_a_clock_that_was_set_does_not_prove_that_a_file_came_since() -> None:
    day_ns, second_ns = 86_400 * 10**9, 10**9
    seen = [
        ROOT,
        Seen(b"came at the end", Kind.REGULAR, A, ctime_ns=day_ns + 5 * second_ns),
        Seen(b"from later", Kind.REGULAR, A, ctime_ns=day_ns + 6 * second_ns),
        Seen(b"from tomorrow", Kind.REGULAR, A, ctime_ns=2 * day_ns),
    ]
    merge = Merge(Terms(baseline=Since(day_ns, at_s=100.0)), lambda path: False, now_s=lambda: 105.0)
    merge.rows([], last=True)
    found = merge.advance(iter([seen]))
    assert [one.path for one in found.stood] == [b"from later", b"from tomorrow"]
    assert found.hints == [b"came at the end"]


def test_the_first_scan_tells_old_files_by_their_stat_and_hints_at_what_came_since() -> None:
    def at(path: bytes, ctime_ns: int, kind: Kind = Kind.REGULAR) -> Seen:
        return Seen(path, kind, A, uid=5, ctime_ns=ctime_ns)

    seen = [ROOT, at(b"link", 1, Kind.SYMLINK), at(b"new", 50), at(b"old", 49)]
    found = merged(seen, [], Terms(baseline=Since(50)))
    assert (found.stood, found.hints) == ([Stood(b"old", A, 5)], [b"link", b"new"])
    assert merged(seen, [], Terms(baseline=Since())).hints == [b"link"]


def test_only_a_regular_scan_forgets_and_only_what_protects_nothing() -> None:
    skipped = [Row(b"a", A, JobState.SKIPPED, "not-smaller")]
    assert merged([ROOT], skipped, REGULAR).gone == [b"a"]
    assert merged([ROOT], skipped).gone == []
    for kept in (Row(b"a", A, JobState.DONE, ""), Row(b"a", A, JobState.SKIPPED, EXISTING)):
        assert merged([ROOT], [kept], REGULAR).gone == []


@pytest.mark.parametrize("reason", [VANISHED, SYMLINK, NOT_A_FILE])
def test_what_is_gone_and_never_had_a_content_is_forgotten_wherever_it_lay(reason: str) -> None:
    assert merged([ROOT], [Row(b"a", NO_IDENTITY, JobState.SKIPPED, reason)], REGULAR).gone == [b"a"]


def test_rows_of_a_disk_that_is_not_mounted_are_kept() -> None:
    disk = Seen(b"disk/", Kind.LISTED, Identity(1, 5, 0, 0))
    rows = [Row(b"disk/a", A._replace(dev=9), JobState.SKIPPED, "not-smaller")]
    assert merged([ROOT, disk], rows, REGULAR).gone == []
    assert merged([ROOT, disk._replace(identity=Identity(9, 2, 0, 0))], rows, REGULAR).gone == [b"disk/a"]
    assert merged([ROOT], rows, REGULAR).gone == []


def test_rows_in_a_folder_that_could_not_be_listed_are_left_alone() -> None:
    seen = [ROOT, Seen(b"b/", Kind.UNLISTED, NO_IDENTITY)]
    rows = [Row(path, A, JobState.QUEUED, "") for path in (b"a", b"b/c/d", b"b/e", b"b0")]
    assert merged(seen, rows).hints == [b"a", b"b0"]


def test_what_the_rules_ignore_is_neither_hinted_at_nor_forgotten() -> None:
    rows = [Row(b"a", A, JobState.SKIPPED, VANISHED), Row(b"b", A, JobState.QUEUED, "")]
    ignored = frozenset({b"a", b"b", b"c"})
    found = merged([ROOT, Seen(b"c", Kind.REGULAR, A)], rows, REGULAR, ignored=ignored)
    assert found == Found()


def test_of_a_subtree_only_its_own_rows_are_compared() -> None:
    seen = [Seen(b"b/", Kind.LISTED, Identity(1, 5, 0, 0)), Seen(b"b/x", Kind.REGULAR, A)]
    rows = [Row(path, A, JobState.QUEUED, "") for path in (b"a", b"b", b"b/y", b"b0", b"c")]
    assert merged(seen, rows, start=b"b").hints == [b"b/x", b"b/y"]


def test_a_step_is_bounded_even_where_all_is_new() -> None:
    seen = [ROOT, *(Seen(b"%06d" % number, Kind.REGULAR, A) for number in range(2 * STEP))]
    merge = Merge(TERMS, lambda path: False)
    merge.rows([], last=True)
    pieces = iter([seen])
    assert len(merge.advance(pieces).hints) <= STEP
    assert not merge.over


# ---- against a comparison of each path by itself --------------------------------------------------------------------

names = st.sampled_from([b"a", b"a.b", b"a0", b"b", b"\xff"])
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
identities = st.builds(Identity, st.just(1), st.integers(1, 2), st.just(1), st.just(1))
rows_of = st.builds(
    Row,
    paths,
    identities,
    st.sampled_from([JobState.DONE, JobState.SKIPPED, JobState.QUEUED, JobState.QUARANTINED]),
    st.sampled_from(["", EXISTING, VANISHED, PROTECTED]),
)


def tree(files: dict[bytes, Identity]) -> list[Seen]:
    """A walk that finds these: a path that is a folder of another one is no file."""
    folders = {path.rpartition(b"/")[0] for path in files}
    for path in list(folders):
        while path:
            path = path.rpartition(b"/")[0]
            folders.add(path)
    marks = [Seen(path + b"/" if path else b"", Kind.LISTED, Identity(1, 1, 0, 0)) for path in folders | {b""}]
    regular = [Seen(path, Kind.REGULAR, identity) for path, identity in files.items() if path not in folders]
    return sorted([*marks, *regular])


def one_by_one(seen: list[Seen], rows: list[Row], terms: Terms) -> tuple[list[bytes], list[bytes]]:
    hints, gone = set(), set()
    stat = {one.path: one for one in seen if one.kind is Kind.REGULAR}
    known = {one.path: one for one in rows}
    for path in stat.keys() | known.keys():
        found = merged([ROOT, stat[path]] if path in stat else [ROOT], [known[path]] if path in known else [], terms)
        hints.update(found.hints)
        gone.update(found.gone)
    return sorted(hints), sorted(gone)


@given(
    st.dictionaries(paths, identities, max_size=12),
    st.lists(rows_of, max_size=12, unique_by=lambda row: row.path),
    st.booleans(),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_pieces_and_pages_change_nothing(
    files: dict[bytes, Identity], rows: list[Row], regular: bool, piece: int, page: int
) -> None:
    terms = replace(TERMS, regular=regular)
    seen = tree(files)
    rows.sort()
    found = merged(seen, rows, terms, piece, page)
    assert (found.hints, found.gone) == one_by_one(seen, rows, terms)


def test_the_next_regular_scan_comes_in_an_hour_or_later_where_a_pass_takes_long() -> None:
    assert next_s(100.0, 0.5) == 100.0 + EVERY_S
    assert next_s(100.0, 600.0) == 100.0 + 600.0 * REST


def test_what_was_finished_for_another_output_tree_or_in_place_is_hinted_at() -> None:
    for output, tree, hints in ((b"/o", b"/o", []), (b"/o", b"/p", [b"a"]), (b"", b"/o", [b"a"]), (b"/o", b"", [b"a"])):
        done = [Row(b"a", A, JobState.DONE, "optimized", output)]
        assert merged(stands(), done, replace(TERMS, output=tree)).hints == hints
    assert merged(stands(), row(JobState.SKIPPED, EXISTING), replace(TERMS, output=b"/o")).hints == []


def test_rights_and_links_keep_no_original_from_its_output_tree() -> None:
    for reason, mode, nlink in ((PROTECTED, 0o444, 1), (HARD_LINKED, 0o644, 2)):
        known = row(JobState.SKIPPED, reason)
        assert merged(stands(mode=mode, nlink=nlink), known).hints == []
        assert merged(stands(mode=mode, nlink=nlink), known, replace(TERMS, output=b"/o")).hints == [b"a"]
