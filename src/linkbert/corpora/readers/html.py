r"""A folder, a tar or a zip of web pages in, one Document a page out: main text, links at their places, named places.

The parser (Lexbor, through selectolax) repairs a page as browsers do. What is not prose is taken out of its tree, the
main text is written as HTML again, and that is well formed: so one regular expression cuts it into tags and runs of
text, and one loop writes the text and its offsets. An id is a page's path in the tree; see also corpora/resolve.py.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from linkbert.corpora.reader import Reader, Record, Skipped, option
from linkbert.corpora.readers.site import words
from linkbert.corpora.resolve import SUFFIXES, Place, find_place, names, resolve
from linkbert.records import Document, Link, Redirect

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

NO_BODY = "page without the body that was asked for (left out)"
MOVED = 30  # words of a page that only says where the page is now
TAGS, DEPTH = 2_000, 64  # where more tags open, they may be nested so deep on average; see is_bounded
ATTRIBUTES = 10_000  # of one tag

_MAIN = "main:not([hidden]), [role=main]:not([hidden])"
# What is never prose; its links stay, without a place.
_DROPPED = (
    "script, style, noscript, template, iframe, noembed, noframes, xmp, plaintext, object, svg, math, canvas, audio, "
    "video, button, select, textarea, datalist, nav, footer, aside, dialog, body > header, [hidden], [role=banner], "
    "[role=navigation], [role=contentinfo], [role=search], [role=complementary], form:not(:has(p, h1, h2, h3))"
)
# Tables with headings or a caption, and those without any block in them; the others only lay a page out.
_TABLES = (
    "table:has(> * > tr > th), table:has(> caption), "
    "table:not(:has(p, h1, h2, h3, h4, h5, h6, ul, ol, dl, blockquote, table))"
)
_BREAKS = words(
    "address article aside blockquote body br caption center dd details dir div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr legend li main menu ol p pre search section summary table tbody "
    "tfoot thead tr ul"
)
_GAPS = dict.fromkeys(_BREAKS | {f"/{name}" for name in _BREAKS}, "\n") | dict.fromkeys(("td", "th"), " ")
_TAG = re.compile(r"<(?:!--.*?-->|([^\s>]+)([^>]*)>)", re.DOTALL)
_HREF, _NAME = re.compile(r' href="([^"]+)"'), re.compile(r' (?:id|name)="([^"]+)"')
_CONTROL = bytes(range(9)) + bytes(range(14, 28)) + b"\x7f"
_PRE, _RUN = re.compile(r"<pre[ >].*?</pre>", re.DOTALL), re.compile(r">[^<]*")
_WORD = re.compile(r"\w")
_REFRESH = re.compile(r"[\s\d.]*[;,]?\s*(?:url\s*=)?\s*[\"']?([^\"']*)", re.IGNORECASE)


class Page(NamedTuple):
    """What stands in a page; addresses are as they are written there."""

    title: str
    text: str
    links: tuple[tuple[int, int, str], ...]  # start, end, address; those without a place last
    sections: tuple[tuple[str, int], ...]
    base: str
    canonical: str
    refresh: str  # where the page sends its reader


def parse(source: str, *, body: str = "", drop: str = "") -> Page | None:
    r"""Read a page; None where `body`, a CSS selector, is not in it. text[start:end] is a link's anchor, always.

    Without `body` the main text is <main>, else the only <article>, else the whole body. `drop` selects what is left
    out besides what is no prose. An anchor that goes over several lines has its place in the first.

    >>> parse("<title>Rome</title><h1>Rome</h1> <p>By <a href='sea.html'>the <b>sea</b></a>.<p>Old.")[:3]
    ('Rome', 'Rome\nBy the sea.\nOld.', ((8, 15, 'sea.html'),))
    """
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(source, scripting=True)
    roots = _find_roots(tree, body)
    if roots is None:
        return None
    title, *addresses = _read_head(tree)
    selector = ", ".join(filter(None, (_DROPPED, _TABLES, drop)))
    unanchored: list[str] = []
    for root in roots:
        unanchored += _drop(root, selector)
    text, links, sections = _write("".join(root.html or "" for root in roots))
    rest = [href for start, end, href in links if start >= end] + unanchored
    places = (*(link for link in links if link[0] < link[1]), *((-1, -1, href) for href in rest))
    return Page(title or text.partition("\n")[0], text, places, tuple(sections), *addresses)


@dataclass(frozen=True, slots=True)
class Options:
    """What a user chooses of a page."""

    body: str = option("", "CSS selector of a page's main text")
    drop: str = option("", "CSS selector of what is left out of it")

    def __post_init__(self) -> None:
        for selector in filter(None, (self.body, self.drop)):
            from selectolax.lexbor import LexborHTMLParser, SelectolaxError

            try:
                LexborHTMLParser("<p>").css(selector)
            except SelectolaxError:
                message = f"{selector!r} is not a CSS selector such as 'div#content' or 'table, p.note'"
                raise ValueError(message) from None


def read_file(name: str, data: bytes, options: Options, skipped: Skipped) -> Iterator[Record]:
    """Read a page; `skipped` counts what is mended and what is left out, by cause."""
    page = read_page(name, data, skipped, lambda source: parse(source, body=options.body, drop=options.drop))
    if page is None:
        return
    place = find_place(name, page.canonical, page.base)
    known = names(name)
    moved = find_move(page, place)
    if moved and moved[0] not in (name, *known):
        yield from (Redirect(other, name) for other in known)
        yield Redirect(name, *moved)
        return
    if not page.text:
        skipped.note("page without text", name)
        return
    id_ = name
    whole = resolve(page.canonical, Place())
    if whole and whole[0].startswith("https://"):
        yield Redirect(whole[0], name)
    # A page may say that it is a copy of another of the tree, which nobody can look for here. It takes that one's name:
    # if both are there they are duplicates, and one is kept; if not, nothing is lost. (Not if the other is the index of
    # a folder: there are sites whose every page claims to be the first.)
    inside = resolve(page.canonical, place)
    if inside and inside[0] not in (name, *known) and len(names(inside[0])) == 1 and "://" not in inside[0]:
        id_ = inside[0]
        yield Redirect(name, id_)
    yield from (Redirect(other, id_) for other in known)
    yield to_document(id_, page.title or PurePosixPath(name).stem, page, place)


def read_page(name: str, data: bytes, skipped: Skipped, parse_page: Callable[[str], Page | None]) -> Page | None:
    """Decode and parse a page; None, counted by cause, for what is no page, not safe to parse, or without its body."""
    if _is_binary(data):
        skipped.note("no web page but another kind of file (left out)", name)
        return None
    source, fault = decode(data)
    if fault:
        skipped.note(fault, name)
    if not is_bounded(source):
        skipped.note("page with tags nested too deeply (left out)", name)
        return None
    page = parse_page(source)
    if page is None:
        skipped.note(NO_BODY, name)
    return page


def to_document(id_: str, title: str, page: Page, place: Place) -> Document:
    """Make a Document of a page; its links are resolved, and those that lead to no page are left out."""
    links = tuple(Link(start, end, *to) for start, end, href in page.links if (to := resolve(href, place)))
    return Document(id_, title, page.text, links, sections=page.sections)


def find_move(page: Page, place: Place) -> tuple[str, str] | None:
    """Return where a page sends its reader, as a target and a fragment, if that is all that it does."""
    return resolve(page.refresh, place) if page.refresh and page.text.count(" ") < MOVED else None


def _find_roots(tree: LexborHTMLParser, body: str) -> list[LexborNode] | None:
    """Find the elements that hold the main text, none of them inside another; None where `body` is not there."""
    found = tree.css(body) if body else [node for node in tree.css(_MAIN) if node.text().strip()]
    if body and not found:
        return None
    if not found:
        articles = tree.css("article")
        found = articles if len(articles) == 1 else [] if tree.body is None else [tree.body]
    nodes = {node.mem_id: node for node in found}  # a node may match twice
    outer = nodes if len(nodes) > 1 else {}
    inner = {each.mem_id for key, node in outer.items() for each in node.css(body or _MAIN) if each.mem_id != key}
    return [node for key, node in nodes.items() if key not in inner]


def _read_head(tree: LexborHTMLParser) -> tuple[str, str, str, str]:
    """Return title, base, canonical address and the address that the page refreshes to, each "" if there is none."""
    title = base = canonical = refresh = ""
    for node in tree.head.css("title, base[href], link[rel][href], meta[http-equiv][content]") if tree.head else ():
        values = node.attributes
        if node.tag == "title":
            title = title or " ".join(node.text().split())
        elif node.tag == "base":
            base = base or values["href"] or ""
        elif node.tag == "link" and "canonical" in (values["rel"] or "").lower().split():
            canonical = canonical or values["href"] or ""
        elif node.tag == "meta" and (values["http-equiv"] or "").strip().lower() == "refresh":
            found = _REFRESH.match(values["content"] or "")
            refresh = refresh or (found[1].strip() if found else "")
    return title, base, canonical, refresh


def _drop(root: LexborNode, selector: str) -> list[str]:
    """Take out of a tree what the selector matches; return which links were taken out."""
    hrefs: list[str] = []
    nodes = {node.mem_id: node for node in root.css(selector)}  # a node may match twice
    for node in reversed(nodes.values()):  # inner ones first: what is in a node is gone with it
        hrefs += reversed([link.attributes["href"] or "" for link in node.css("a[href], area[href]")])
        if node.mem_id == root.mem_id or node.tag in _BREAKS:
            node.inner_html = ""  # it still keeps the words around it apart
        else:
            node.decompose()
    return hrefs[::-1]


def _write(html: str) -> tuple[str, list[tuple[int, int, str]], list[tuple[str, int]]]:
    """Turn well-formed HTML into text, links (without a place: start = end) and named places, in one pass."""
    out: list[str] = []
    links: list[tuple[int, int, str]] = []
    sections: list[tuple[str, int]] = []
    waiting: list[str] = []  # names whose place is where the next text starts
    length = 0
    gap = ""  # what belongs between the text so far and the next: nothing, a space or a line break
    href = None  # of the link that is open
    start = end = -1  # of its text so far, as far as it is in one line
    before = (0, 0, "")  # what to go back to if the link is dropped with its text
    html = html.encode().translate(None, _CONTROL).decode()
    if "<pre" in html:
        html = _PRE.sub(lambda pre: _RUN.sub(lambda run: run[0].replace("\n", "<br>"), pre[0]), html)
    pieces = _TAG.split(html)  # text, name, attributes, text, ...
    for name, attributes, piece in zip(["", *pieces[1::3]], ["", *pieces[2::3]], pieces[::3], strict=True):
        if name in ("a", "/a"):
            if href is not None:  # an inner link ends the outer one
                if href[0] == "#" and 0 <= start > length - 3 and not _WORD.search("".join(out[before[0] :])):
                    del out[before[0] :]  # a mark such as "¶", for copying the address of its heading
                    _, length, gap = before
                else:
                    links.append((start, length if end < 0 else end, href) if start >= 0 else (-1, -1, href))
                href = None
            if name == "a" and (found := _HREF.search(attributes)):
                href, start, end, before = unescape(found[1]), -1, -1, (len(out), length, gap)
        elif name in _GAPS:
            gap = "\n" if gap == "\n" else _GAPS[name] if name != "br" or href is None else " "
        if attributes and (' id="' in attributes or ' name="' in attributes) and (found := _NAME.search(attributes)):
            waiting.append(unescape(found[1]))
        if not piece:
            continue
        if "&" in piece:
            piece = unescape(piece)
        run = " ".join(piece.split())
        if not gap and piece[0].isspace():
            gap = " "
        if not run:
            continue
        if gap and out:
            if gap == "\n" and start >= 0 > end:
                end = length
            out.append(gap)
            length += 1
        if href is not None and start < 0:
            start = length
        if waiting:
            sections += [(waiting_name, length) for waiting_name in waiting]
            waiting.clear()
        out.append(run)
        length += len(run)
        gap = " " if piece[-1].isspace() else ""
    return "".join(out), links, [section for section in sections if section[1] < length]


# ---- before a page is parsed

_MAGIC = (b"%PDF", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b")
_TEXT = bytes(range(32, 256)) + b"\t\n\v\f\r\x1b"
_DECLARED = re.compile(
    rb"""<meta\s[^>]*?charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml\s[^>]*?encoding\s*=\s*["']([\w.:-]+)""", re.IGNORECASE
)
# UTF-16 cannot be declared in ASCII, GB 18030 holds GBK; the other two are for the safety of browsers.
_MEANT = {"utf-16le": "utf-8", "utf-16be": "utf-8", "gbk": "gb18030", "replacement": "", "x-user-defined": ""}
_EMPTY = re.compile(
    r"<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr)\b)([a-zA-Z][^\s<>/]*+)([^<>]*)/>"
)


def decode(data: bytes) -> tuple[str, str]:
    """Decode a page and return what was amiss, "" if nothing: by its BOM, by what it declares, else as UTF-8.

    Names of encodings mean what they mean to browsers. What is not UTF-8 and declares nothing is Windows-1252 to them.
    """
    import webencodings

    found = _DECLARED.search(data[:4096])
    label = webencodings.lookup((found[1] or found[2]).decode("ascii", "replace")) if found else None
    declared = _MEANT.get(label.name, label.name) if label else ""
    fault = ""
    try:
        text, _ = webencodings.decode(data, declared or "utf-8", "strict")
    except UnicodeDecodeError:
        text, used = webencodings.decode(data, declared or "windows-1252")
        fault = f"invalid {used.name.upper()} (replaced)"
        if not declared and used.name == "windows-1252":
            fault = "undeclared encoding (read as Windows-1252)"
    text = text.removeprefix("\ufeff")
    if text[:100].lstrip().startswith("<?xml"):
        text = _EMPTY.sub(r"<\1\2></\1>", text)  # of XML; HTML takes the slash for nothing
    return text, fault


def _is_binary(data: bytes) -> bool:
    """Return whether a file is not a page: by what other kinds of files start with, or by its control characters."""
    head = data[:1024]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    return head.startswith(_MAGIC) or len(head.translate(None, _TEXT)) > len(head) / 10


# An element without another in it is closed for sure; else a tag.
_MARK = re.compile(r"<([a-zA-Z]++)[^<>]*+>[^<>]*+</\1>|<(/?)([a-zA-Z][^\s/>]*+)")
_LONG, _QUOTED = re.compile(r"<[a-zA-Z][^<>]{20000,}+"), re.compile(r'"[^"]*"|\'[^\']*\'')
_VOID = words("area base br col embed hr img input link meta param source track wbr")
_IMPLIED = words("p li dt dd tr td th tbody thead tfoot option optgroup rp rt a nobr button")  # ends by itself


def is_bounded(source: str) -> bool:
    """Return whether a page is safe to parse: a browser's tree costs tags times depth, or more, whoever builds it.

    Deep nesting makes the parser search its stack at each tag, and marks left open ("<p><b><i>...<p>...") are copied
    into each paragraph, so that 23 kB become 58 MB. Both are bounded by the sum of the depths of all tags. Few tags
    need no look; of the others the nesting is estimated, from tags that are not closed by the next.
    """
    if any(len(_QUOTED.sub("", tag).split()) > ATTRIBUTES for tag in _LONG.findall(source)):
        return False  # each attribute is compared with those before it
    count = source.count("<") - source.count("</")
    if count <= TAGS:
        return True
    room = DEPTH * count + TAGS**2 // 2
    stack: list[str] = []
    for leaf, slash, name in _MARK.findall(source):
        name = name.lower()
        if leaf or name in _VOID:
            continue
        at = len(stack)
        while at and len(stack) - at < 8 and stack[at - 1] in _IMPLIED and stack[at - 1] != name:
            at -= 1
        if at and stack[at - 1] == name and (slash or name in _IMPLIED):
            del stack[at - 1 :]
        if not slash:
            stack.append(name)
            room -= len(stack)
            if room < 0:
                return False
    return True


# No marks: what is named as something else and starts with <html> is a server's word that it was not found.
READER = Reader(read_file=read_file, options=Options, suffixes=SUFFIXES)
