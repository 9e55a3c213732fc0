"""Values to columns and back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from imgoptd.core.model import (
    FileRecord,
    FileRef,
    Identity,
    ImageFacts,
    Intent,
    JobState,
    Kept,
    KeptAt,
    Mirrored,
    Output,
    Receipt,
    Restoring,
)

Row = Sequence[Any]

FILE_COLUMNS = (  # as `row_of`
    "state, identity, reason, detail, uid, fresh, attempts, sha256, facts, bytes_before, bytes_after, output"
)
INTENT_COLUMNS = (
    "temp_name, original, result, result_sha256, original_sha256, keep_place, keep_name, tree, source, source_sha256"
)
UNSEEN = (None, None, "", "", -1, 0, 0, None, None, 0, 0, b"")
"""The values of FILE_COLUMNS of a row that only names a path that other tables speak of."""

KEPT_COLUMNS = "place, name, bytes, identity, sha256, result, result_sha256, restoring_temp, restoring"
OUTPUT_COLUMNS = "root, identity, sha256, source_sha256"
RECEIPT_COLUMNS = "before_sha256, after_sha256, bytes_before, bytes_after, profile"


class Known(NamedTuple):
    """What a rescan compares with: as much of a file's row as tells whether the file is to be looked at.

    It is as it stands in the store, and taken apart only where somebody asks: of a million files nobody does.
    """

    path: bytes
    text: str
    """Of its identity."""
    told: str
    """Its state."""
    reason: str
    output: bytes

    @property
    def identity(self) -> Identity:
        return identity_from(self.text)

    @property
    def state(self) -> JobState:
        return JobState(self.told)


_FACTS = msgspec.json.Decoder(ImageFacts)


def clean(text: str) -> str:
    r"""The text with lone surrogates (of a name that is not UTF-8, say) as `\udcff`: SQLite takes UTF-8 alone."""
    return text.encode("utf-8", "backslashreplace").decode()


def digest(hexadecimal: str) -> bytes | None:
    """Half the size of the hex text; an unknown hash is NULL. Raises ValueError for what is no hexadecimal."""
    return bytes.fromhex(hexadecimal) or None


def hexadecimal(digest: bytes | None) -> str:
    return "" if digest is None else digest.hex()


def identity_text(identity: Identity) -> str:
    return ":".join(map(str, identity))


def identity_from(text: str) -> Identity:
    return Identity(*map(int, text.split(":")))


def row_of(record: FileRecord) -> tuple[Any, ...]:
    """The values of FILE_COLUMNS."""
    facts = None if record.facts is None else msgspec.json.encode(record.facts).decode()
    return (
        record.state.value,
        identity_text(record.identity),
        clean(record.reason),
        clean(record.detail),
        record.uid,
        int(record.fresh),
        record.attempts,
        digest(record.sha256),
        facts,
        record.bytes_before,
        record.bytes_after,
        record.output,
    )


def file_from(ref: FileRef, row: Row) -> FileRecord:
    state, identity, reason, detail, uid, fresh, attempts, sha256, facts, before, after, output = row
    return FileRecord(
        ref=ref,
        identity=identity_from(identity),
        state=JobState(state),
        reason=reason,
        detail=detail,
        uid=uid,
        fresh=bool(fresh),
        attempts=attempts,
        sha256=hexadecimal(sha256),
        facts=None if facts is None else _FACTS.decode(facts),
        bytes_before=before,
        bytes_after=after,
        output=output,
    )


def row_of_intent(intent: Intent) -> tuple[Any, ...]:
    """The values of INTENT_COLUMNS."""
    mirrored = intent.mirrored
    return (
        intent.temp_name,
        identity_text(intent.original),
        None if intent.result is None else identity_text(intent.result),
        digest(intent.result_sha256),
        digest(intent.original_sha256),
        None if intent.keep is None else intent.keep.place,
        None if intent.keep is None else intent.keep.name,
        None if mirrored is None else mirrored.root,
        None if mirrored is None else identity_text(mirrored.source),
        None if mirrored is None else digest(mirrored.source_sha256),
    )


def intent_from(ref: FileRef, row: Row) -> Intent:
    temp_name, original, result, result_sha256, original_sha256, keep_place, keep_name, *tree = row
    root, source, source_sha256 = tree
    return Intent(
        ref=ref,
        temp_name=temp_name,
        original=identity_from(original),
        result=None if result is None else identity_from(result),
        result_sha256=hexadecimal(result_sha256),
        original_sha256=hexadecimal(original_sha256),
        keep=None if keep_name is None else KeptAt(keep_place, keep_name),
        mirrored=None if root is None else Mirrored(root, identity_from(source), hexadecimal(source_sha256)),
    )


def row_of_kept(kept: Kept) -> tuple[Any, ...]:
    """The values of KEPT_COLUMNS."""
    restoring = kept.restoring
    return (
        kept.at.place,
        kept.at.name,
        kept.identity.size,
        identity_text(kept.identity),
        digest(kept.sha256),
        identity_text(kept.result),
        digest(kept.result_sha256),
        None if restoring is None else restoring.temp_name,
        None if restoring is None else identity_text(restoring.identity),
    )


def kept_from(ref: FileRef, row: Row) -> Kept:
    place, name, _, identity, sha256, result, result_sha256, temp_name, restoring = row
    return Kept(
        ref=ref,
        at=KeptAt(place, name),
        identity=identity_from(identity),
        sha256=hexadecimal(sha256),
        result=identity_from(result),
        result_sha256=hexadecimal(result_sha256),
        restoring=None if temp_name is None else Restoring(temp_name, identity_from(restoring)),
    )


def row_of_receipt(receipt: Receipt) -> tuple[Any, ...]:
    """The values of RECEIPT_COLUMNS."""
    before, after = digest(receipt.before_sha256), digest(receipt.after_sha256)
    return before, after, receipt.bytes_before, receipt.bytes_after, clean(receipt.profile)


def receipt_from(ref: FileRef, row: Row) -> Receipt:
    before, after, bytes_before, bytes_after, profile = row
    return Receipt(ref, hexadecimal(before), hexadecimal(after), bytes_before, bytes_after, profile)


def row_of_output(output: Output) -> tuple[Any, ...]:
    """The values of OUTPUT_COLUMNS."""
    return output.root, identity_text(output.identity), digest(output.sha256), digest(output.source_sha256)


def output_from(ref: FileRef, row: Row) -> Output:
    root, identity, sha256, source_sha256 = row
    return Output(ref, root, identity_from(identity), hexadecimal(sha256), hexadecimal(source_sha256))
