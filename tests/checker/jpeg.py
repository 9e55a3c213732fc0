"""JPEG as a list of segments (ITU-T T.81, annex B)."""

from __future__ import annotations

from dataclasses import dataclass, field

_SOI, _EOI, _SOS, _DQT, _COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xFE
_SOF = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_STANDALONE = {0x01, *range(0xD0, 0xD8)}


class Broken(Exception):
    """The bytes do not follow the format to its end."""


@dataclass(slots=True)
class Jpeg:
    frame: tuple[int, ...] = ()
    """Precision, height, width, then id and sampling of each component."""
    quantisation: dict[int, bytes] = field(default_factory=dict)
    """Table number -> its 64 values, as 16-bit big-endian."""
    component_tables: tuple[int, ...] = ()
    """Which quantisation table each component uses."""
    metadata: list[tuple[int, bytes]] = field(default_factory=list)
    """Every APPn and COM segment in order: marker, body."""
    trailer: bytes = b""

    @property
    def component_quantisation(self) -> tuple[bytes, ...]:
        """The values each component is quantised with, whatever number the table has."""
        return tuple(self.quantisation.get(number, b"") for number in self.component_tables)


def parse(data: bytes) -> Jpeg:
    """Walk all segments and scans up to EOI. Raises Broken."""
    if data[:2] != b"\xff\xd8":
        raise Broken("no SOI")
    picture, at = Jpeg(), 2
    while True:
        marker, at = _marker(data, at)
        if marker == _EOI:
            picture.trailer = data[at:]
            if not picture.frame:
                raise Broken("no frame header")
            return picture
        if marker in _STANDALONE:
            continue
        if marker == _SOI:
            raise Broken("a second SOI")
        length = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + length]
        if length < 2 or len(body) != length - 2:
            raise Broken(f"segment {marker:02x} is cut")
        at += length
        _take(picture, marker, body)
        if marker == _SOS:
            at = _end_of_scan(data, at)


def _marker(data: bytes, at: int) -> tuple[int, int]:
    if data[at : at + 1] != b"\xff":
        raise Broken(f"no marker at {at}")
    while data[at : at + 1] == b"\xff":
        at += 1
    if at >= len(data):
        raise Broken("ends without EOI")
    return data[at], at + 1


def _take(picture: Jpeg, marker: int, body: bytes) -> None:
    if 0xE0 <= marker <= 0xEF or marker == _COM:
        picture.metadata.append((marker, body))
    elif marker in _SOF:
        components = [body[6 + 3 * n : 9 + 3 * n] for n in range(body[5])]
        sampling = tuple(value for part in components for value in part[:2])
        picture.frame = (body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), *sampling)
        picture.component_tables = tuple(part[2] for part in components)
    elif marker == _DQT:
        at = 0
        while at < len(body):
            wide, number = body[at] >> 4, body[at] & 15
            size = 128 if wide else 64
            values = body[at + 1 : at + 1 + size]
            picture.quantisation[number] = values if wide else b"".join(bytes((0, value)) for value in values)
            at += 1 + size


def _end_of_scan(data: bytes, at: int) -> int:
    """The offset of the marker that ends the entropy-coded data which begins at `at`."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            raise Broken("ends inside a scan")
        following = data[at + 1]
        if following == 0 or 0xD0 <= following <= 0xD7:
            at += 2
        elif following == 0xFF:
            at += 1
        else:
            return at
