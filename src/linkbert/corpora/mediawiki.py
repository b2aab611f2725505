"""MediaWiki dumps (pages-articles XML; plain, .bz2, .gz, .xz, .zst) to Documents and Redirects.

A dump comes in; the pages of its article namespace come out, each with its plain text and its links. Where a file can be
entered anywhere (plain XML, and .bz2 block by block), a shard is a range of its bytes and workers decompress for
themselves; a page belongs to the shard in which its `<page>` begins. Else the parent decompresses and cuts between pages.

Pages are found by their tags, not by an XML parser: in a dump every `<` of the text is written `&lt;`, so this is safe,
fast, and a damaged page costs only itself. Only the five named entities and numeric ones are replaced; what a DOCTYPE
declares is never expanded and nothing is ever fetched.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from linkbert.corpora.bzip2 import read_blocks
from linkbert.corpora.reader import Options, Reader, Shard
from linkbert.corpora.site import REDIRECT_WORDS, Site, decode_entities, is_disambiguation, normal_title, resolve
from linkbert.corpora.wikitext import parse
from linkbert.files import open_decompressed
from linkbert.records import Document, Redirect

SHARD_BYTES = 1 << 21  # of a .bz2 file: some 8 MB of XML
CHUNK_BYTES = 1 << 23  # of XML
_STEP = 1 << 20
_HEAD_BYTES = 1 << 20
_END_OF_DUMP = b"</mediawiki>"

ARCHIVE_CUT = "archive cut off or damaged: pages missing"
PAGE_CUT = "page cut off"
NO_END = "file ends without </mediawiki>: it may be cut off"


def plan(path: Path, options: Options) -> Iterator[Shard]:
    """Cut a dump into shards; ValueError if it is no dump. The same file always gives the same shards."""
    path = Path(path)
    head = _read_head(path)
    header = head[: head.find(b"<page>")] if b"<page>" in head else head
    if path.suffix == ".bz2":
        return _ranges(path, header, SHARD_BYTES)
    if path.suffix in (".gz", ".xz", ".zst"):
        return _chunks(path, header)
    return _ranges(path, header, CHUNK_BYTES)


def read(shard: Shard, options: Options, counter: Counter[str]) -> Iterator[Document | Redirect]:
    """Read the pages of one shard; what is skipped is counted in `counter` by its cause."""
    site = read_site(shard.extra or b"")
    if shard.cut:
        counter[shard.cut] += 1
    for page in _split_pages(_pieces(shard, counter), counter):
        record = _read_page(page, site, options, counter)
        if record is not None:
            yield record


def recognises(head: bytes) -> bool:
    """Tell whether a file that begins with these (decompressed) bytes is a MediaWiki dump."""
    return b"<mediawiki" in head[:4096]


READER = Reader(plan=plan, read=read)


def _read_head(path: Path) -> bytes:
    """Read up to the first page; ValueError if the file is no dump."""
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty; download it again")
    head = b""
    try:
        with open_decompressed(path) as file:
            while b"<page>" not in head and len(head) < _HEAD_BYTES and (more := file.read(1 << 16)):
                head += more
    except Exception as error:  # every decompressor has its own
        if not head:
            raise ValueError(f"{path} does not decompress ({error}); download it again") from None
    if not recognises(head):
        raise ValueError(
            f"{path} is not a MediaWiki dump (no <mediawiki> at its beginning); "
            "take a pages-articles.xml file, or name the format with --format"
        )
    return head


def _ranges(path: Path, header: bytes, step: int) -> Iterator[Shard]:
    """Cut a file into ranges of about `step` bytes; the last one is never short."""
    size = path.stat().st_size
    count = max(1, size // step)
    for number in range(count):
        stop = size if number == count - 1 else (number + 1) * step
        yield Shard(str(path), number * step, stop, extra=header)


def _chunks(path: Path, header: bytes) -> Iterator[Shard]:
    """Decompress a file in the parent and cut it between pages; memory stays at a chunk or the longest page."""
    size = path.stat().st_size
    data, cut, start = bytearray(), "", 0
    with path.open("rb") if path.suffix == "" else open_decompressed(path) as file:
        while True:
            try:
                more = file.read(_STEP)
            except Exception:  # every decompressor has its own
                more, cut = b"", ARCHIVE_CUT
            data += more
            if not more:
                yield Shard(str(path), start, size, data=bytes(data), cut=cut, extra=header)
                return
            if len(data) >= CHUNK_BYTES:
                end = data.rfind(b"</page>")
                if end >= 0:
                    yield Shard(str(path), start, start, data=bytes(data[: end + 7]), extra=header)
                    del data[: end + 7]


def _pieces(shard: Shard, counter: Counter[str]) -> Iterator[tuple[bytes | None, bool]]:
    """Yield the shard's XML piece by piece, then what follows it, as (bytes or None for a damaged block, is ours)."""
    path = Path(shard.path)
    if shard.data is not None:
        yield shard.data, True
    elif path.suffix == ".bz2":
        for position, block in read_blocks(path, shard.start):
            yield block, position < shard.stop
    else:
        with path.open("rb") as file:
            file.seek(shard.start)
            while file.tell() < shard.stop:
                yield file.read(min(_STEP, shard.stop - file.tell())), True
            while more := file.read(1 << 16):
                yield more, False


def _split_pages(pieces: Iterable[tuple[bytes | None, bool]], counter: Counter[str]) -> Iterator[bytes]:
    """Cut XML into the pages that begin in our pieces: b"<page>..." without the closing tag."""
    data, ours = bytearray(), 0  # a page that begins in data[:ours] is ours
    seen = 0  # no </page> before here
    last = b""  # the end of what was ours or behind it
    for piece, is_ours in pieces:
        if not is_ours and not _may_begin(data, ours):
            return
        if piece is None:
            if is_ours or data.startswith(b"<page>"):
                counter[ARCHIVE_CUT] += 1
            if data.startswith(b"<page>"):
                counter[PAGE_CUT] += 1
            data.clear()
            ours, last = 0, _END_OF_DUMP
            continue
        data += piece
        last = bytes((last + piece)[-64:])
        if is_ours:
            ours = len(data)
        position = 0
        while 0 <= (begin := data.find(b"<page>", position)) < ours:
            end = data.find(b"</page>", max(begin, seen))
            if end < 0:
                position = begin
                break
            inner = data.rfind(b"<page>", begin, end)
            if inner > begin:
                counter[PAGE_CUT] += 1
            yield bytes(data[inner:end])
            position = end + 7
        else:
            position = max(position, len(data) - 5)
        del data[:position]
        ours = max(0, ours - position)
        seen = max(0, len(data) - 6)
    if data.startswith(b"<page>") and ours:
        counter[PAGE_CUT] += 1


def _may_begin(data: bytearray, ours: int) -> bool:
    """Tell whether a page of ours, or the first letters of its tag, wait for their end."""
    tail = bytes(data[:ours][:6])
    return tail.startswith(b"<page>") or any(tail.endswith(b"<page>"[:length]) for length in range(1, 6))


# ---- one page

_TITLE = re.compile(rb"<title>([^<]*)</title>")
_NAMESPACE = re.compile(rb"<ns>\s*(-?\d+)\s*</ns>")
_REDIRECT = re.compile(rb"<redirect\s+title=(?:\"([^\"]*)\"|'([^']*)')")
_MODEL = re.compile(rb"<model>([^<]*)</model>")
_TEXT = re.compile(rb"<text(?:\s[^<>]*?)?(?:/>|>([^<]*))")
_DELETED = re.compile(rb"<text\s[^<>]*\bdeleted=")
_CDATA = re.compile(rb"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_NUMERIC = re.compile(r"&#(?:\d{1,7}|[xX][0-9a-fA-F]{1,6});")
_REDIRECT_TEXT = re.compile(
    r"\s*#\s*(?:" + "|".join(map(re.escape, REDIRECT_WORDS)) + r")\s*:?\s*\[\[([^\[\]|{}<>\n]+)", re.IGNORECASE
)


def _read_page(page: bytes, site: Site, options: Options, counter: Counter[str]) -> Document | Redirect | None:
    """Turn the XML of one page into its record, or None if it is none; the last revision counts."""
    if b"<![CDATA[" in page:
        page = _CDATA.sub(_escape, page)
    title = _TITLE.search(page)
    if title is None or not title[1].strip():
        counter["page without a title"] += 1
        return None
    name = normal_title(_text(title[1], counter), site)
    namespace = _NAMESPACE.search(page)
    prefix, colon, _ = name.partition(":")
    key = int(namespace[1]) if namespace else site.namespace(prefix) if colon else 0
    if key:
        counter["page of another namespace"] += 1
        return None
    revision = page[max(0, page.rfind(b"<revision>")) :]
    model = _MODEL.search(revision)
    if model and model[1] != b"wikitext":
        counter["page that is not wikitext"] += 1
        return None
    text = _TEXT.search(revision)
    redirect = _REDIRECT.search(page)
    if redirect is None and (text is None or _DELETED.search(revision)):
        counter["page without text"] += 1
        return None
    wikitext = _text(text[1] or b"", counter) if text else ""
    words = _REDIRECT_TEXT.match(wikitext) if redirect or wikitext[:40].lstrip().startswith("#") else None
    if redirect or words:
        target = resolve(_text(redirect[1] or redirect[2], counter) if redirect else words[1], site)
        fragment = target.fragment or (resolve(words[1], site).fragment if words else "")
        if target.kind == "article":
            return Redirect(name, target.title, fragment)
        counter["redirect out of the articles"] += 1
        return None
    body, links = parse(wikitext, site, table_cells=options.table_cells)
    return Document(name, name, body, links, is_disambiguation(name, wikitext))


def _text(raw: bytes, counter: Counter[str]) -> str:
    """Decode the text of an XML element; invalid UTF-8 is replaced and counted."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        counter["page with invalid UTF-8, replaced"] += 1
        text = raw.decode(errors="replace")
    if "&" not in text:
        return text
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    if "&#" in text:
        text = _NUMERIC.sub(lambda match: decode_entities(match[0]), text)
    return text.replace("&apos;", "'").replace("&amp;", "&")


def _escape(match: re.Match[bytes]) -> bytes:
    return match[1].replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")


_DECLARED = re.compile(r"<namespace\s([^<>]*?)(?:/>|>([^<]*)</namespace>)")
_KEY = re.compile(r"key=[\"'](-?\d+)[\"']")


@lru_cache(64)
def read_site(header: bytes) -> Site:
    """Read what the head of a dump declares: language, case rule, names of the namespaces."""
    head = header.decode(errors="replace")
    language = re.search(r"<mediawiki[^<>]*\bxml:lang=[\"']([^\"']+)", head)
    case = re.search(r"<case>\s*([\w-]+)", head)
    namespaces = {}
    for attributes, name in _DECLARED.findall(head):
        key = _KEY.search(attributes)
        if key and name.strip():
            namespaces[decode_entities(name).replace("_", " ").strip().lower()] = int(key[1])
    return Site(
        language=language[1].lower() if language else "en",
        first_letter=not case or case[1] != "case-sensitive",
        namespaces=namespaces,
    )
