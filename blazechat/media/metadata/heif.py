"""Metadata in AVIF and HEIF files (ISO/IEC 23008-12), wherever their items lie."""

from collections.abc import Iterator
from contextlib import suppress

from blazechat.media.metadata.iso_bmff import Box, boxes
from blazechat.media.metadata.patches import MalformedContainer, blank, empty_xmp, orientation_only
from blazechat.media.worker_protocol import Patch

KEPT = {b"ftyp", b"styp", b"meta", b"mdat", b"moov", b"moof", b"mfra", b"sidx", b"pdin"}
"""At the top. Others become free space: XMP in a `uuid`, what makers append."""
GOING = {b"udta", b"uuid", b"xml ", b"bxml", b"free", b"skip"}
"""Within `moov`, `trak` and `meta`."""
FREE = b"free"
METADATA = {b"Exif", b"mime", b"uri "}
"""Kinds of items."""
IN_FILE, IN_BOX = 0, 1
"""Where an item's extents count from: the file's beginning, or that of `idat`."""


def patches(content: bytes, orientation: int) -> list[Patch]:
    """Raises Unwalkable."""
    found: list[Patch] = []
    top = _top(content)
    for box in top:
        if box.kind == b"meta":
            found += _described(content, box, orientation)
        elif box.kind == b"moov":
            found += _film(content, box, orientation)
        elif box.kind not in KEPT:
            found += _freed(box)
    return [*found, blank(top[-1].end, len(content))]


def _top(content: bytes) -> list[Box]:
    """The boxes at the top, up to where there are none any more: decoders have seen enough by then."""
    found: list[Box] = []
    with suppress(MalformedContainer):
        for box in boxes(content, 0, len(content)):
            found.append(box)  # noqa: PERF402 -- those before an error count
    if not any(box.kind in (b"meta", b"moov") for box in found):
        raise MalformedContainer
    return found


def _film(content: bytes, film: Box, orientation: int) -> list[Patch]:
    found: list[Patch] = []
    for box in boxes(content, film.body, film.end):
        if box.kind in GOING:
            found += _freed(box)
        elif box.kind == b"meta":
            found += _described(content, box, orientation)
        elif box.kind == b"trak":
            found += _film(content, box, orientation)
    return found


def _described(content: bytes, meta: Box, orientation: int) -> list[Patch]:
    found: list[Patch] = []
    parts = {box.kind: box for box in boxes(content, meta.body + 4, meta.end)}
    for box in boxes(content, meta.body + 4, meta.end):
        if box.kind in GOING:
            found += _freed(box)
    if b"iinf" not in parts or b"iloc" not in parts:
        return found
    kinds = dict(_items(content, parts[b"iinf"]))
    base = parts[b"idat"].body if b"idat" in parts else 0
    for item, places in _places(content, parts[b"iloc"], base):
        if kinds.get(item) in METADATA:
            found += _emptied(content, kinds[item], places, orientation)
    return found


def _items(content: bytes, box: Box) -> Iterator[tuple[int, bytes]]:
    """Each item's id and kind."""
    for entry in boxes(content, box.body + (6 if content[box.body] == 0 else 8), box.end):
        fields = Fields(content, entry)
        version = fields.number(1)
        fields.skip(3)
        if entry.kind == b"infe" and version >= 2:
            item = fields.number(2 if version == 2 else 4)
            fields.skip(2)
            yield item, fields.number(4).to_bytes(4)


def _places(content: bytes, box: Box, base: int) -> Iterator[tuple[int, list[tuple[int, int]] | None]]:
    """Each item's id, and start and end of its extents; None if they are within another item."""
    fields = Fields(content, box)
    version = fields.number(1)
    fields.skip(3)
    sizes = fields.number(2)
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(fields.number(2 if version < 2 else 4)):
        item = fields.number(2 if version < 2 else 4)
        method = fields.number(2) & 15 if version else IN_FILE
        fields.skip(2)
        start = fields.number(of_base) + (base if method == IN_BOX else 0)
        places = []
        for _ in range(fields.number(2)):
            fields.skip(of_index if version else 0)
            offset, length = start + fields.number(of_offset), fields.number(of_length)
            places.append((offset, offset + length if length else len(content)))
        yield item, places if method in (IN_FILE, IN_BOX) else None


def _emptied(
    content: bytes, kind: bytes, places: list[tuple[int, int]] | None, orientation: int
) -> Iterator[Patch]:
    if places is None or any(end > len(content) for _, end in places):
        raise MalformedContainer
    room = sum(end - start for start, end in places)
    if kind == b"Exif":  # begins with the offset of the TIFF header
        filling = bytes(min(4, room)) + orientation_only(orientation, max(room - 4, 0))
    else:
        filling = empty_xmp(room)
    for start, end in places:
        yield Patch(start, filling[: end - start])
        filling = filling[end - start :]


def _freed(box: Box) -> list[Patch]:
    return [Patch(box.start + 4, FREE), blank(box.body, box.end)]


class Fields:
    """A box's numbers, one after the other. Raises Unwalkable behind its end."""

    def __init__(self, content: bytes, box: Box) -> None:
        self._content, self._at, self._end = content, box.body, box.end

    def skip(self, size: int) -> None:
        self._at += size
        if self._at > self._end:
            raise MalformedContainer

    def number(self, size: int) -> int:
        start = self._at
        self.skip(size)
        return int.from_bytes(self._content[start : self._at])
