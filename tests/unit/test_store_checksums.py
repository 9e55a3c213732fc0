"""What tells that a row of the store, or its seal, is not what was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.adapters.store_seal import BrokenSeal, Seal, SealState, unpack
from imgoptd.adapters.store_tables import COLUMNS, is_sound, sealed

numbers = st.integers(-(2**63), 2**63 - 1)
values = st.none() | numbers | st.binary(max_size=20) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rows = st.lists(values, min_size=1, max_size=6)
counts = st.integers(0, 2**63)
salts = st.binary(min_size=8, max_size=8)
seals = st.builds(Seal, st.sampled_from(SealState), st.integers(1, 999), st.booleans(), counts, counts, salts)


@given(rows, st.data())
def test_another_value_in_a_row_is_noticed(row: list[object], data: st.DataObject) -> None:
    written = sealed("file", *row)
    assert is_sound("file", written)
    place = data.draw(st.integers(0, len(row) - 1))
    other = data.draw(values.filter(lambda value: value != row[place] or type(value) is not type(row[place])))
    assert not is_sound("file", (*written[:place], other, *written[place + 1 :]))


@given(st.binary(min_size=1, max_size=30), st.data())
def test_each_flipped_bit_of_a_value_is_noticed(value: bytes, data: st.DataObject) -> None:
    written = sealed("root", 1, value, 0)
    place, bit = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(0, 7))
    flipped = bytearray(value)
    flipped[place] ^= 1 << bit
    assert not is_sound("root", (1, bytes(flipped), 0, written[-1]))


def test_a_row_of_one_table_is_none_of_another() -> None:
    assert not is_sound("meta", sealed("total", "commits", 1))


def test_bytes_and_text_and_numbers_are_told_apart() -> None:
    checksums = {sealed("total", value)[-1] for value in (b"1", "1", 1, None, b"", "", 0)}
    assert len(checksums) == 7


def test_text_that_was_never_utf8_is_no_sound_row() -> None:
    assert not is_sound("total", ("\udcff", 1, 0))


def test_each_table_begins_with_its_key() -> None:
    assert {table: columns.split(", ")[0] for table, columns in COLUMNS.items()} == {
        "meta": "key", "root": "id", "file": "id", "intent": "file", "output": "file", "receipt": "id", "kept": "id",
        "total": "key", "step": "file", "learned": "kind",
    }  # fmt: skip


@given(seals)
def test_a_seal_is_read_as_it_was_written_and_always_as_long(seal: Seal) -> None:
    assert unpack(seal.pack()) == seal
    assert len(seal.pack()) == len(Seal(SealState.OPEN, 1).pack()) < 512


def test_each_flipped_bit_and_each_cut_breaks_a_seal() -> None:
    whole = Seal(SealState.CLOSED, 2, True, 12, 345, b"saltsalt").pack()
    flipped = [
        whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
        for place in range(len(whole))
        for bit in range(8)
    ]
    for broken in [*flipped, *(whole[:length] for length in range(len(whole))), whole + b" "]:
        with pytest.raises(BrokenSeal):
            unpack(broken)
