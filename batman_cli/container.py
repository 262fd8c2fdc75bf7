"""Where raw files that are no TIFF keep what TIFF tags say: Canon's CR3 and Fujifilm's RAF.

CR3: Laurent Clévy's description of it (github.com/lclevy/canon_cr3); its boxes are those of
ISO/IEC 14496-12. RAF: as ExifTool documents FujiFilm's; its preview has a block as of Exif 2.32.
"""

import struct
from collections.abc import Iterator

CR3_START, CR3_AT = b"ftypcrx ", 4
CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")  # UUID of the box with Canon's own boxes
CR3_TIFFS = (b"CMT1", b"CMT2")  # of the picture, and Exif
RAF_START, RAF_PREVIEW = b"FUJIFILMCCD-RAW ", 84  # where place and length of a JPEG stand
EXIF_START, EXIF_AT = b"Exif\0\0", 6  # of a JPEG: after its start, a marker and a length
BOX_BYTES = 8  # size and type of a box


def tiff_blocks(content: bytes) -> list[bytes] | None:
    """The TIFF files inside a raw file; None where it is neither CR3 nor RAF. Never raises.

    content: the whole file, or at least its start.
    """
    if content.startswith(CR3_START, CR3_AT):
        movie = b"".join(body for kind, body in _boxes(content) if kind == b"moov")
        own = (body for kind, body in _boxes(movie) if kind == b"uuid" and body.startswith(CANON))
        found = dict(box for body in own for box in _boxes(body[len(CANON) :]))
        return [found[name] for name in CR3_TIFFS if name in found]
    if content.startswith(RAF_START) and len(content) >= RAF_PREVIEW + 8:
        start, length = struct.unpack_from(">II", content, RAF_PREVIEW)
        preview = content[start : start + length]
        is_exif = preview.startswith(EXIF_START, EXIF_AT)
        return [preview[EXIF_AT + len(EXIF_START) :]] if is_exif else []
    return None


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of one box after the other, up to the first that is cut off or senseless."""
    place = 0
    while place + BOX_BYTES <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if size < BOX_BYTES or place + size > len(content):
            return
        yield kind, content[place + BOX_BYTES : place + size]
        place += size
