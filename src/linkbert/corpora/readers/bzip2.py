"""Blocks of a .bz2 file, decompressed one by one from any place: so workers share an archive.

A path and a byte offset come in, decompressed blocks come out. Every block (at most 900 kB of text) starts with the
same 48 bits, at any bit; cut out, shifted and wrapped as an archive of its own, it decompresses alone, be the archive
one stream or many, and a damaged block costs only itself (as would a chance occurrence, 1 of 10^14 bits).
"""

from __future__ import annotations

import bz2
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from linkbert.files import open_source

_BLOCK, _END = 0x314159265359, 0x177245385090  # what starts a block, what ends a stream
_STEP = 1 << 20
_LONGEST = 5 << 18  # bytes of a block; 900 kB of text that cannot be compressed make some 904 kB


# How the whole bytes inside a magic number look when it starts at bit 0..7 of a byte: bytes, bit, magic number.
_NEEDLES = [
    ((magic << (8 - bit)).to_bytes(7, "big")[1 if bit else 0 : 6], bit, magic)
    for magic in (_BLOCK, _END)
    for bit in range(8)
]


def _bits(data: bytes, start: int, stop: int) -> int:
    """Return bits [start, stop) of `data` as a number."""
    number = int.from_bytes(data[start >> 3 : (stop + 7) >> 3], "big") >> (-stop % 8)
    return number & ((1 << (stop - start)) - 1)


def _find_marks(data: bytes) -> list[tuple[int, bool]]:
    """Find where blocks start and streams end in `data`: [(bit, starts a block)], in order."""
    marks = []
    for needle, bit, magic in _NEEDLES:
        at = data.find(needle)
        while at >= 0:
            start = (at - (bit > 0)) * 8 + bit
            if start >= 0 and start + 48 <= len(data) * 8 and _bits(data, start, start + 48) == magic:
                marks.append((start, magic == _BLOCK))
            at = data.find(needle, at + 1)
    return sorted(marks)


def _decompress(data: bytes, start: int, stop: int) -> bytes | None:
    """Decompress the block in bits [start, stop); None if it is damaged."""
    crc = _bits(data, start + 48, start + 80)
    length = stop - start + 80
    bits = (_bits(data, start, stop) << 80 | _END << 32 | crc) << (-length % 8)
    try:
        return bz2.decompress(b"BZh9" + bits.to_bytes((length + 7) // 8, "big"))
    except (OSError, ValueError, EOFError):
        return None


def read_blocks(path: Path, start: int, stop: float = math.inf) -> Iterator[tuple[int, bytes | None]]:
    """Yield (byte at which it starts, decompressed block) for every block that starts at or after byte `start`.

    A damaged block, and one that the end of the file cuts off, comes as None. The file is read as the caller asks, and
    from byte `stop` on only as long as block follows block: what is no bzip2 there (zeros of a file that was made
    larger than its content) is not searched for more.
    """
    with open_source(path) as file:
        file.seek(start)
        base, data = start, b""  # data: the file from byte `base` on
        while True:
            more = file.read(_STEP)
            data += more
            marks = _find_marks(data)
            for (bit, is_block), (following, _) in pairwise(marks):
                if is_block:
                    yield base + (bit >> 3), _decompress(data, bit, following)
            waits = bool(more and marks) and len(data) - (marks[-1][0] >> 3) <= _LONGEST
            keep = marks[-1][0] >> 3 if waits else max(0, len(data) - 7)
            if not waits and marks and marks[-1][1]:  # its end is missing
                yield base + (marks[-1][0] >> 3), None
            if not more or (not waits and base + keep > stop):
                return
            base, data = base + keep, data[keep:]
