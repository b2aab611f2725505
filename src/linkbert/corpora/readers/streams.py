"""What readers of large files share: a decompressed stream cut into pieces, and text that should be UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from linkbert.corpora.reader import Skipped
from linkbert.files import CutFileError, decompressed_blocks, source_size

LONGEST = 1 << 28  # bytes without an end


def cut_stream(path: Path, end: bytes, size: int) -> Iterator[tuple[bytes, int, int, str | None]]:
    """Decompress a file and cut it behind some of its `end`s: (piece of about `size`, start, stop, fault).

    `start` and `stop` are bytes of the file on disk. `fault` is None where more follows; of the last piece, which may
    be empty, it says what is wrong with the file, or "".
    """
    pending, start, position, fault = bytearray(), 0, 0, ""
    try:
        for block, position in decompressed_blocks(path):
            pending += block
            if len(pending) < size:
                continue
            found = pending.rfind(end, max(0, len(pending) - len(block) - len(end)))
            if found >= 0:
                stop = found + len(end)
                yield bytes(pending[:stop]), start, position, None
                start = position
                del pending[:stop]
            elif len(pending) > LONGEST:
                raise ValueError(f"{path} is not in this format: it has {LONGEST >> 20} MB without {end.decode()!r}")
    except CutFileError as error:
        fault = str(error)
    yield bytes(pending), start, max(position, source_size(path)), fault


def decode_utf8(data: bytes, skipped: Skipped, where: str) -> str:
    """Decode text; what is not UTF-8 in it is replaced and counted."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        skipped.note("invalid UTF-8 (replaced)", where)
        return data.decode(errors="replace")
