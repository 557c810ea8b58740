"""Metadata in AVIF and HEIF files (ISO/IEC 23008-12), wherever in the file their items are stored."""

from collections.abc import Iterator
from contextlib import suppress

from blazechat.media.metadata.iso_bmff import Box, boxes
from blazechat.media.metadata.patches import MalformedContainer, blank, empty_xmp, orientation_only
from blazechat.media.worker_protocol import Patch

KEPT_BOXES = {b"ftyp", b"styp", b"meta", b"mdat", b"moov", b"moof", b"mfra", b"sidx", b"pdin"}
"""At the top level. Other boxes become free space, such as XMP in a `uuid` box and what manufacturers
append."""
REMOVED_BOXES = {b"udta", b"uuid", b"xml ", b"bxml", b"free", b"skip"}
"""Inside `moov`, `trak` and `meta`."""
FREE = b"free"
METADATA_ITEMS = {b"Exif", b"mime", b"uri "}
"""Kinds of items that are metadata."""
FILE_OFFSET, IDAT_OFFSET = 0, 1
"""Construction methods: an item's extents count from the beginning of the file, or from that of `idat`."""

Extents = list[tuple[int, int]]
"""Start and end (exclusive) of each part of an item."""


def find_patches(content: bytes, orientation: int) -> list[Patch]:
    """Return patches that remove all metadata but the orientation. Raises MalformedContainer."""
    found: list[Patch] = []
    top = _top_boxes(content)
    for box in top:
        if box.kind == b"meta":
            found += _strip_meta(content, box, orientation)
        elif box.kind == b"moov":
            found += _strip_movie(content, box, orientation)
        elif box.kind not in KEPT_BOXES:
            found += _freed(box)
    return [*found, blank(top[-1].end, len(content))]


def _top_boxes(content: bytes) -> list[Box]:
    """Return the valid boxes at the top level. A decoder has what it needs before the first invalid one."""
    found: list[Box] = []
    with suppress(MalformedContainer):
        for box in boxes(content, 0, len(content)):
            found.append(box)  # noqa: PERF402 -- those before an error count
    if not any(box.kind in (b"meta", b"moov") for box in found):
        raise MalformedContainer
    return found


def _strip_movie(content: bytes, movie: Box, orientation: int) -> list[Patch]:
    found: list[Patch] = []
    for box in boxes(content, movie.body, movie.end):
        if box.kind in REMOVED_BOXES:
            found += _freed(box)
        elif box.kind == b"meta":
            found += _strip_meta(content, box, orientation)
        elif box.kind == b"trak":
            found += _strip_movie(content, box, orientation)
    return found


def _strip_meta(content: bytes, meta: Box, orientation: int) -> list[Patch]:
    found: list[Patch] = []
    children = {box.kind: box for box in boxes(content, meta.body + 4, meta.end)}
    for box in boxes(content, meta.body + 4, meta.end):
        if box.kind in REMOVED_BOXES:
            found += _freed(box)
    if b"iinf" not in children or b"iloc" not in children:
        return found
    kinds = dict(_items(content, children[b"iinf"]))
    idat = children[b"idat"].body if b"idat" in children else 0
    for item, extents in _locations(content, children[b"iloc"], idat):
        if kinds.get(item) in METADATA_ITEMS:
            found += _emptied(content, kinds[item], extents, orientation)
    return found


def _items(content: bytes, box: Box) -> Iterator[tuple[int, bytes]]:
    """Yield the id and kind of each item in an `iinf` box."""
    for entry in boxes(content, box.body + (6 if content[box.body] == 0 else 8), box.end):
        fields = BoxReader(content, entry)
        version = fields.number(1)
        fields.skip(3)
        if entry.kind == b"infe" and version >= 2:
            item = fields.number(2 if version == 2 else 4)
            fields.skip(2)
            yield item, fields.number(4).to_bytes(4)


def _locations(content: bytes, box: Box, idat: int) -> Iterator[tuple[int, Extents | None]]:
    """Yield the id and the extents of each item in an `iloc` box; None if they are inside another item."""
    fields = BoxReader(content, box)
    version = fields.number(1)
    fields.skip(3)
    sizes = fields.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(fields.number(2 if version < 2 else 4)):
        item = fields.number(2 if version < 2 else 4)
        method = fields.number(2) & 15 if version else FILE_OFFSET
        fields.skip(2)
        base = fields.number(base_size) + (idat if method == IDAT_OFFSET else 0)
        extents = []
        for _ in range(fields.number(2)):
            fields.skip(index_size if version else 0)
            start, length = base + fields.number(offset_size), fields.number(length_size)
            extents.append((start, start + length if length else len(content)))
        yield item, extents if method in (FILE_OFFSET, IDAT_OFFSET) else None


def _emptied(content: bytes, kind: bytes, extents: Extents | None, orientation: int) -> Iterator[Patch]:
    if extents is None or any(end > len(content) for _, end in extents):
        raise MalformedContainer
    size = sum(end - start for start, end in extents)
    if kind == b"Exif":  # begins with the offset of the TIFF header
        replacement = bytes(min(4, size)) + orientation_only(orientation, max(size - 4, 0))
    else:
        replacement = empty_xmp(size)
    for start, end in extents:
        yield Patch(start, replacement[: end - start])
        replacement = replacement[end - start :]


def _freed(box: Box) -> list[Patch]:
    return [Patch(box.start + 4, FREE), blank(box.body, box.end)]


class BoxReader:
    """Reads the numbers of a box in turn. Raises MalformedContainer at the end of the box."""

    def __init__(self, content: bytes, box: Box) -> None:
        self._content, self._offset, self._end = content, box.body, box.end

    def skip(self, size: int) -> None:
        self._offset += size
        if self._offset > self._end:
            raise MalformedContainer

    def number(self, size: int) -> int:
        start = self._offset
        self.skip(size)
        return int.from_bytes(self._content[start : self._offset])
