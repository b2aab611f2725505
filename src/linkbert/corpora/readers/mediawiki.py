"""MediaWiki dumps (pages-articles XML; plain, .bz2, .gz, .xz, .zst) to Documents and Redirects.

A .bz2 file can be entered anywhere, block by block: a shard is a range of its bytes, with the pages whose `<page>`
starts there. Of others the parent cuts what it decompresses between pages. Pages are found by their tags, not by an XML
parser: in a dump every `<` of the text is `&lt;`, so this is safe, and a damaged page costs only itself.
"""

import bz2
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from linkbert.corpora.reader import CUT, EMPTY, PAGE_CUT, FaultError, NoOptions, Reader, Shard, Skipped
from linkbert.corpora.readers.site import (
    REDIRECT_WORDS,
    Site,
    decode_entities,
    is_disambiguation,
    name_subpages,
    normal_title,
    resolve,
)
from linkbert.corpora.readers.streams import LARGEST, TOO_LARGE, cut_stream, decode_utf8
from linkbert.corpora.readers.wikitext import parse
from linkbert.files import CutFileError, Member, decompressed_blocks, open_source, source_size
from linkbert.records import Document, Redirect

ARCHIVE_BYTES = 1 << 20  # of a .bz2 file to a shard: some 4 MB of XML
XML_BYTES = 1 << 22  # of XML to a shard
TAG, END = b"<page>", b"</page>"
_HEAD_BYTES = 1 << 20  # within which the first page starts


def plan(path: Path, _: NoOptions) -> Iterator[Shard]:
    """Cut a dump into shards; ValueError if it is not a dump. The same file always gives the same shards.

    `extra` is the head of the dump, which says what holds for all of it, and whether the shard is the last.
    """
    head = _read_head(path)
    if isinstance(path, Member) or path.suffix.lower() != ".bz2":
        pieces = cut_stream(path, END, XML_BYTES)
        yield from (replace(piece, extra=(head, piece.extra)) for piece in pieces)
        return
    size = source_size(path)
    starts = range(0, max(1, size // ARCHIVE_BYTES) * ARCHIVE_BYTES, ARCHIVE_BYTES)  # the last one is never short
    for start in starts:
        last = start == starts[-1]
        yield Shard(str(path), start, size if last else start + ARCHIVE_BYTES, extra=(head, last))


def read(shard: Shard, _: NoOptions, skipped: Skipped) -> Iterator[Document | Redirect]:
    """Read the pages of one shard; what is skipped is counted in `skipped` by its cause."""
    site = read_site(shard.extra[0])
    blocks = read_blocks(shard.source, shard.start, shard.stop) if shard.data is None else [(shard.start, shard.data)]
    for page in _split_pages(blocks, shard, skipped):
        if record := _read_page(page, site, skipped):
            yield record


def _read_head(path: Path) -> bytes:
    """Read what stands before the first page; ValueError if the file is not a dump."""
    head = b""
    try:
        for block, _ in decompressed_blocks(path):
            head += block
            if TAG in head or len(head) > _HEAD_BYTES or (len(head) > 4096 and b"<mediawiki" not in head[:4096]):
                break
    except CutFileError as error:
        if not head:
            raise ValueError(f"{error}; nothing can be read of it, download it again") from None
    if not head:
        raise FaultError(EMPTY, f"{path} is empty: there is no dump in it, download it again")
    if b"<mediawiki" not in head[:4096]:
        raise ValueError(
            f"{path} is not a MediaWiki dump (it does not start with <mediawiki>): "
            "take a pages-articles XML file, or name the format with --format"
        )
    return head.partition(TAG)[0]


def _split_pages(blocks: Iterable[tuple[int, bytes | None]], shard: Shard, skipped: Skipped) -> Iterator[bytes]:
    """Cut XML into the pages that start in our blocks: b"<page>...", without the closing tag; a damaged one is None."""
    where = f"{shard.path}, bytes {shard.start} to {shard.stop}"
    data, position, ours = bytearray(), 0, 0  # what is not yet read of all pieces, where it starts, where ours end
    whole = False  # some of the source was seen, and nothing is missing in front of `data`

    def is_open() -> bool:
        return data.find(TAG, 0, max(ours - position, 0) + len(TAG) - 1) >= 0

    for at, piece in blocks:
        is_ours = at < shard.stop or shard.data is not None
        if not (is_ours or is_open() or any(data.endswith(TAG[:length]) for length in range(1, len(TAG)))):
            return
        before, whole = len(data), piece is not None
        data += piece or b""
        ours += len(piece or b"") * is_ours
        if piece is None:
            skipped.note(CUT, where)
            if is_open():
                skipped.note(PAGE_CUT, where)
        elif data.find(END, max(before - len(END), 0)) >= 0:
            *pages, data = data.split(END)
            for page in pages:
                begin, start = page.find(TAG), page.rfind(TAG)
                if 0 <= begin < ours - position:
                    if begin < start:
                        skipped.note(PAGE_CUT, where)
                    if len(page) - start > LARGEST:
                        skipped.note(TOO_LARGE, where)
                    else:
                        yield bytes(page[start:])
                position += len(page) + len(END)
        if piece is None or len(data) > LARGEST:
            if whole and is_open():
                skipped.note(TOO_LARGE, where)
            position += len(data)
            data.clear()
    if is_open():
        skipped.note(PAGE_CUT, where)
    elif whole and CUT not in dict(shard.faults) and b"</mediawiki>" not in data and shard.extra[1]:
        skipped.note(CUT, f"{shard.path} does not end in </mediawiki>")


# ---- blocks of a .bz2 file

# Every block (at most 900 kB of text) starts with the same 48 bits, at any bit; cut out, shifted and wrapped as an
# archive of its own, it decompresses alone, be the archive one stream or many, and a damaged block costs only itself
# (as would a chance occurrence, 1 of 10^14 bits).
_BLOCK, _END = 0x314159265359, 0x177245385090  # what starts a block, what ends a stream
_LONGEST = 5 << 18  # bytes of a block; 900 kB of text that cannot be compressed make some 904 kB
_STEP = 1 << 20
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


# ---- one page

_TITLE = re.compile(rb"<title>([^<]*)</title>")
_NAMESPACE = re.compile(rb"<ns>\s*(-?\d{1,9})\s*</ns>")
_REDIRECT = re.compile(rb"<redirect\s+title=(?:\"([^\"]*)\"|'([^']*)')")
_MODEL = re.compile(rb"<model>([^<]*)</model>")
_TEXT = re.compile(rb"<text(?:\s[^<>]*?)?(?:/>|>([^<]*))")
_DELETED = re.compile(rb"<text\s[^<>]*\bdeleted=")
_CDATA = re.compile(rb"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_NUMERIC = re.compile(rb"&#(?:\d{1,7}|[xX][0-9a-fA-F]{1,6});")
REDIRECT_TEXT = re.compile(
    r"\s*#\s*(?:"
    + "|".join(re.escape(word).replace(r"\ ", "[ _]") for word in sorted(REDIRECT_WORDS))
    + r")\s*+:?\s*\[\[([^\[\]|{}<>\n]+)",
    re.IGNORECASE,
)


def _read_page(page: bytes, site: Site, skipped: Skipped) -> Document | Redirect | None:
    """Turn the XML of one page into its record, or None if it is none; the last revision counts."""
    if b"<![CDATA[" in page:
        end = page.rfind(b"]]>") + 3  # behind it none is closed, and looking for its end again and again would be slow
        page = _CDATA.sub(_escape, page[:end]) + page[end:]
    found = _TITLE.search(page)
    title = normal_title(_decode(found[1], "?", skipped), site) if found else ""
    if not title:
        skipped.note("page without a title", page[:80].decode(errors="replace"))
        return None
    number = _NAMESPACE.search(page)
    prefix, colon, _ = title.partition(":")
    if int(number[1]) if number else colon and site.namespace(prefix):
        skipped["page of another namespace"] += 1
        return None
    revision = page[max(0, page.rfind(b"<revision>")) :]
    model = _MODEL.search(revision)
    if model and model[1] != b"wikitext":
        skipped["page that is not wikitext"] += 1
        return None
    text = _TEXT.search(revision)
    wikitext = _decode(text[1] or b"", title, skipped) if text else ""
    declared, written = _REDIRECT.search(page), REDIRECT_TEXT.match(wikitext)
    targets = [_decode(declared[1] or declared[2] or b"", title, skipped)] if declared else []
    targets += [written[1]] if written else []
    if targets:
        first, last = resolve(targets[0], site), resolve(targets[-1], site)  # only the text may name a section
        if first.kind == "article":
            return Redirect(title, first.title, first.fragment or last.fragment)
        skipped["redirect out of the articles"] += 1
        return None
    if text is None or _DELETED.search(revision):
        skipped["page without text"] += 1
        return None
    body, links = parse(name_subpages(wikitext, title) if site.subpages else wikitext, site)
    return Document(title, title, body, links, is_disambiguation(title, wikitext, site))


def _decode(raw: bytes, title: str, skipped: Skipped) -> str:
    """Decode the text of an XML element; invalid UTF-8 is replaced and counted."""
    if b"&" in raw:
        raw = raw.replace(b"&lt;", b"<").replace(b"&gt;", b">").replace(b"&quot;", b'"').replace(b"&apos;", b"'")
        raw = _NUMERIC.sub(lambda match: decode_entities(match[0].decode()).encode(), raw).replace(b"&amp;", b"&")
    return decode_utf8(raw, skipped, f"page {title!r}")


def _escape(match: re.Match[bytes]) -> bytes:
    return match[1].replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")


_DECLARED = re.compile(r"<namespace\s([^<>]*?)(?:/>|>([^<]*)</namespace>)")
_KEY = re.compile(r"key=[\"'](-?\d{1,9})[\"']")


@lru_cache(64)
def read_site(header: bytes) -> Site:
    """Read what the head of a dump declares: language, case rule, names of the namespaces."""
    head = header.decode(errors="replace")
    language = re.search(r"<mediawiki[^<>]*\bxml:lang=[\"']([^\"']+)", head)
    case = re.search(r"<case>\s*([\w-]+)", head)
    namespaces = {}
    for attributes, name in _DECLARED.findall(head):
        if (key := _KEY.search(attributes)) and name.strip():
            namespaces[decode_entities(name).replace("_", " ").strip().lower()] = int(key[1])
    return Site(
        language=language[1].lower() if language else "en",
        first_letter=not case or case[1] != "case-sensitive",
        namespaces=namespaces,
        subpages=".wikipedia.org/" not in head,
    )


READER = Reader(plan=plan, read=read, inside=(".xml",), marks=(b"<mediawiki",))
