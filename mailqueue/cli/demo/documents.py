"""A real PDF and a real PNG, made in code, so that the demo attaches real files and ships none."""

from __future__ import annotations

import struct
import zlib

__all__ = ["pdf", "png"]


def png(width: int = 96, height: int = 64) -> bytes:
    """A PNG (ISO/IEC 15948) with a colour gradient."""
    # Each row begins with its filter type, 0: none.
    rows = b"".join(b"\0" + _row(width, height, line) for line in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def pdf(title: str = "mailqueue demo", width: int = 160, height: int = 120) -> bytes:
    """A PDF 1.4 page (ISO 32000-1) with a line of text and an uncompressed picture, larger than 32 KB.

    That is the size from which a part travels beside the task, by its content hash.
    """
    page = f"BT /F1 24 Tf 72 720 Td ({title}) Tj ET q 320 0 0 240 72 440 cm /Picture Do Q".encode("ascii")
    picture = b"".join(_row(width, height, line) for line in range(height))
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R >> /XObject << /Picture 6 0 R >> >> >>"
        ),
        _stream(b"", page),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        _stream(
            f"/Type /XObject /Subtype /Image /Width {width} /Height {height}"
            " /ColorSpace /DeviceRGB /BitsPerComponent 8 ".encode("ascii"),
            picture,
        ),
    )
    # The second line tells transports that the file is binary (ISO 32000-1, 7.5.2).
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def _stream(entries: bytes, data: bytes) -> bytes:
    return b"<< %b/Length %d >>\nstream\n%b\nendstream" % (entries, len(data), data)


def _row(width: int, height: int, line: int) -> bytes:
    green = 255 * line // height
    return b"".join(bytes((255 * column // width, green, 160)) for column in range(width))
