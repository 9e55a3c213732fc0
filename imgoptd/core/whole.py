"""Does a file end as whole files of its format do?

Asked of a file that was just closed: a writer may close between pieces, and a first piece must not pass for the file.
Only formats that say where they end are answered for; of all others this knows nothing, and quiet time must tell.
"""

from __future__ import annotations

from collections.abc import Callable

Read = Callable[[int, int], bytes]
"""The bytes at an offset, at most so many; fewer at the end of the file."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
"""The last chunk with its length and CRC (PNG, 11.2.5 IEND)."""

_SEGMENTS_MOST = 1000
_SOS, _APP2 = 0xDA, 0xE2


def ends_whole(read: Read, size: int) -> bool:
    """True if the file of `size` bytes is JPEG, PNG or WebP by its head and ends where such a file ends.

    False says nothing but that it cannot be told: data may follow the end of a picture.
    """
    if size < len(_PNG_SIGNATURE) + len(_PNG_END):
        return False
    head = read(0, 12)
    if head.startswith(b"\xff\xd8\xff"):
        return read(size - 2, 2) == b"\xff\xd9" and _has_scan(read, size)
    if head.startswith(_PNG_SIGNATURE):
        return read(size - len(_PNG_END), len(_PNG_END)) == _PNG_END
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return size == 8 + int.from_bytes(head[4:8], "little")
    return False


def _has_scan(read: Read, size: int) -> bool:
    """Do the segments (ITU-T T.81, B.1.1.4) lead to a scan before the last two bytes?

    A thumbnail within the metadata ends with the same two bytes as the picture; in a scan they mean its end alone. With
    a second picture behind the first one (MPF) its end is none of the file.
    """
    at = 2
    for _ in range(_SEGMENTS_MOST):
        mark = read(at, 8)
        if len(mark) < 8 or mark[0] != 0xFF:
            return False
        if mark[1] == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(mark[2:4], "big")
        if mark[1] == _SOS:
            return at + 2 + length <= size - 2
        if length < 2 or (mark[1] == _APP2 and mark[4:8] == b"MPF\0"):
            return False
        at += 2 + length
    return False
