r"""A folder, a tar or a zip of web pages in, one Document a page out: main text, links at their places, named places.

The parser (Lexbor, through selectolax) repairs a page as browsers do. What is not prose is taken out of its tree, the
main text is written as HTML again, and that is well formed: so one regular expression cuts it into tags and runs of
text, and one loop writes the text and its offsets. An id is a page's path in the tree; see also corpora/resolve.py.
"""

from __future__ import annotations

import codecs
import logging
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from html import unescape
from itertools import accumulate
from operator import itemgetter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize

from linkbert.corpora.reader import Reader, Record, Skipped, option
from linkbert.corpora.readers.site import mark_exponents, read_table, words
from linkbert.corpora.readers.wikis import read_store
from linkbert.corpora.resolve import SUFFIXES, Place, as_latin1, find_place, names, resolve, unquote
from linkbert.corpora.sources import TOO_LARGE
from linkbert.records import Document, Link, Redirect

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

log = logging.getLogger(__name__)
NO_PAGE = "no web page but another kind of file (left out)"
NESTED = "page with tags nested too deeply (left out)"
BY_SCRIPT = "link that a script follows (its text stays)"
NO_BODY = "page without the body that was asked for (left out)"
MOVED = 30  # words of a page that only says where the page is now
TAGS, DEPTH = 2_000, 64  # where more tags open, they may be nested so deep on average; see is_bounded
ATTRIBUTES, LARGEST = 10_000, 16 << 20  # of one tag; bytes of a page
ELEMENTS = 500_000  # of a page: each takes 360 to 840 bytes

_TABLE = read_table("html.toml")
_MAIN, _DROPPED, _ROLES, _WIKI, _ASIDE, _UNSEEN = (
    ", ".join(_TABLE[key]) for key in ("main", "dropped", "roles", "wiki", "aside", "unseen")
)
_NOTES, _BREAKS, _INLINE, _VOID, _IMPLIED = (
    words(_TABLE[key]) for key in ("notes", "breaks", "inline", "void", "implied")
)
_GAPS = dict.fromkeys(_BREAKS | {f"/{name}" for name in _BREAKS}, "\n") | dict.fromkeys(("td", "th"), " ")
_TAG = re.compile(r"<(?:!--.*?-->|([^\s>]+)([^>]*)>)", re.DOTALL)
_INERT = re.compile(r'</?(?:span|code|em|strong|b|i|tt)(?:>|(?=\s)(?![^>]* (?:id|name)=")[^>]*">)')  # part no words
_LEADS = re.compile(
    r' (?:accesskey=|hreflang=|rel="(?:[^"]* )?(?:next|prev|previous|up|start|first|last|contents|index|home|top)[" ])'
)
_HREF, _NAME = re.compile(r' href="([^"]+)"'), re.compile(r' (?:id|name)="([^"]+)"')
_CONTROL = bytes(range(9)) + bytes(range(14, 28)) + b"\x7f"
_PRE, _RUN = re.compile(r"<pre[ >].*?</pre>", re.DOTALL), re.compile(r">[^<]*")
_OWN = re.compile(r"\W{0,2}|(?:skip|jump) .{1,40}", re.IGNORECASE)  # a link into its own page that is no text
_LONE = re.compile(r"\S+\.(?:[xs]?html|htm)(?:\.gz)?")
_STEPS, _TRAIL = frozenset(">»›→"), re.compile(r" ?[>»›→] ?")
_REFRESH = re.compile(r"[\s\d.]*[;,]?\s*(?:url\s*=)?\s*[\"']?([^\"']*)", re.IGNORECASE)

_SCRIPTED = re.compile(r":(?<=javascript:)[^<>\n]{0,500}\.[xs]?html?\b", re.IGNORECASE)  # fast: ":" has no case
_ARGUMENT = re.compile(r"""'([^'"]*)'|"([^'"]*)\"""")
_NOSCRIPT = re.compile(r"""http-equiv=["']?refresh["']?\s[^<>]{0,99}content=["']([^"']*)""", re.IGNORECASE)  # as text


Common = Mapping[str, frozenset[str]]  # by folder, what most pages there have; see survey
Find = Callable[[str, Place], tuple[str, str] | None]
Links = list[tuple[int, int, str]]  # start, end, address; start = end without a place
Written = tuple[int, int, str, bool | None]  # also whether it leads on or back; None if it goes over several lines
Sections = list[tuple[str, int]]


class Page(NamedTuple):
    """What stands in a page; addresses are as they are written there."""

    title: str
    text: str
    links: tuple[tuple[int, int, str], ...]  # start, end, address; those without a place last
    sections: tuple[tuple[str, int], ...]
    base: str
    canonical: str
    refresh: str  # where the page sends its reader


def parse(source: str, *, body: str = "", drop: str = "", common: frozenset[str] = frozenset()) -> Page | None:
    r"""Read a page; None where `body`, a CSS selector, is not in it. text[start:end] is a link's anchor, always.

    Without `body` the main text is <main>, else the only <article>, else the whole body. `drop` selects what is left
    out besides what is no prose and, as far as known, what most pages have in `common`; links there have no place.
    An anchor that goes over several lines has its place in the first.

    >>> parse("<title>Rome</title><h1>Rome</h1> <p>By <a href='sea.html'>the <b>sea</b></a>.<p>Old.")[:3]
    ('Rome', 'Rome\nBy the sea.\nOld.', ((8, 15, 'sea.html'),))
    """
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(source, scripting=True)
    is_wiki = not body and ("mw-content-text" in source or "mw-parser-output" in source)
    found = _find_roots(tree, _WIKI) if is_wiki else None
    roots = found or _find_roots(tree, body)
    if roots is None:
        return None
    title, *addresses = _read_head(tree)
    title = _find_title(title, tree, common)
    roles = _ROLES if "role" in source or "ROLE" in source else ""  # each selector costs a look at every element
    unseen = _UNSEEN if any(word in source for word in ("hidden", "isplay:", "DISPLAY:")) else ""
    selector = ", ".join(filter(None, (_DROPPED, unseen, roles, _ASIDE if found else "", drop)))
    unanchored = [href for root in roots for href in _drop(root, selector)]
    html = whole = "".join(root.html or "" for root in roots)
    html, gone = _cut_named(roots, html)
    text, links, sections = _cut_lines(*_write(html), common)
    if not text and (gone or common):  # what holds all of a page is not its navigation
        gone, (text, links, sections) = [], _cut_lines(*_write(whole), frozenset())
    unanchored += gone
    if not body and tree.body is not None and all(root.mem_id != tree.body.mem_id for root in roots):
        for root in roots:
            root.inner_html = ""
        unanchored += _find_hrefs(tree.body)
    rest = [href for start, end, href in links if start >= end] + unanchored
    places = (*(link for link in links if link[0] < link[1]), *((-1, -1, href) for href in rest))
    return Page(title, text, places, tuple(sections), *addresses)


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


@dataclass(frozen=True, slots=True)
class Tree(Options):
    """The options, and what is known of a tree."""

    common: Common = field(default_factory=dict)
    pages: Mapping[str, str] = field(default_factory=dict)  # by their names without capitals, where only one has it
    root: str = ""  # the address at which it is published, "example.org/docs/"
    files: Mapping[str, list[str]] = field(default_factory=dict)  # by the name of the file, where scripts follow links

    def find(self, href: str, place: Place) -> tuple[str, str] | None:
        """Return a target and its fragment; one in other capitals than its page means the page."""
        if not (to := resolve(href, place)):
            return self._follow(href) if _SCRIPTED.search(href) else None
        page = self.pages.get(normalize("NFC", to[0]).casefold(), "")
        return (page, to[1]) if page and to[0] != page and to[0] not in names(page) else to

    def _follow(self, href: str) -> tuple[str, str] | None:
        """Return the only page that ends as an argument of a script does; of several the one in a folder of another."""
        given = [one or other for one, other in _ARGUMENT.findall(href)]
        path, _, fragment = next((each for each in given if ".htm" in each), "").partition("#")
        end = "/" + re.sub(r"^(?:\.*/)+", "", unquote(path))
        found = [page for page in self.files.get(PurePosixPath(end).name, ()) if f"/{page}".endswith(end)]
        if len(found) > 1:  # "kernel" names "lib/kernel-8.5", too
            found = [page for page in found if any(re.search(rf"(^|/){re.escape(each)}[/-]", page) for each in given)]
        return (found[0], fragment) if len(found) == 1 else None


def read_file(name: str, data: bytes, options: Options, skipped: Skipped) -> Iterator[Record]:
    """Read a page; `skipped` counts what is mended and what is left out, by cause."""
    tree = options if isinstance(options, Tree) else Tree(options.body, options.drop)
    held = any(mark in data for mark in (b'class="tiddlywiki-tiddler-store"', b'id="storeArea"'))
    if tiddlers := [*read_store(name, decode(data)[0], skipped)] if held and len(data) <= LARGEST else []:
        yield from tiddlers
        return
    if (page := read_page(name, data, tree, skipped, _around(tree.common, name))) is None:
        return
    if b"<" not in data and _LONE.fullmatch(page.text):  # so git writes a symbolic link where there are none
        page = page._replace(refresh=page.text)
    place = find_place(name, page.canonical, page.base)
    if tree.root and not place.host:
        host, _, path = tree.root.partition("/")
        place = place._replace(host=host, folder=path + place.folder, root=tree.root)
    yield from make_records(name, page, place, names(name), tree.find, skipped)


def make_records(
    name: str, page: Page, place: Place, known: list[str], find: Find, skipped: Skipped
) -> Iterator[Document | Redirect]:
    """Make a Document of a page that is also `known` as others, or a Redirect if all it does is send its reader on.

    Links that lead to no page are left out.
    """
    moved = resolve(page.refresh, place) if page.refresh and page.text.count(" ") < MOVED else None
    if moved and moved[0] not in (name, *known):
        yield from (Redirect(other, name) for other in known)
        yield Redirect(name, *moved)
        return
    if not page.text:
        skipped.note("page without text", name, name, *known)
        return
    id_ = name
    if (whole := resolve(page.canonical, Place())) and whole[0].startswith("https://"):
        yield Redirect(whole[0], name)
    # A page may say that it is a copy of another of the tree, which nobody can look for here. It takes that one's name:
    # if both are there they are duplicates, and one is kept; if not, nothing is lost. (Not if the other is the index of
    # a folder: there are sites whose every page claims to be the first.)
    inside = resolve(page.canonical, place)
    index = inside and PurePosixPath(inside[0]).stem in ("", "index", "default")
    if inside and inside[0] not in (name, *known) and not index and "://" not in inside[0]:
        id_ = inside[0]
        yield Redirect(name, id_)
    yield from (Redirect(other, id_) for other in known)
    targets = {href: find(href, place) for href in {href for _, _, href in page.links}}
    if scripted := sum(not targets[href] and _SCRIPTED.search(href) is not None for _, _, href in page.links):
        skipped[BY_SCRIPT] += scripted
    links = tuple(Link(start, end, *to) for start, end, href in page.links if (to := targets[href]))
    yield Document(id_, page.title or PurePosixPath(name).stem, page.text, links, sections=page.sections)


def read_page(
    name: str, data: bytes, options: Options, skipped: Skipped, common: frozenset[str] = frozenset()
) -> Page | None:
    """Decode and parse a page; None, counted by cause, for what is no page, not safe to parse, or without its body."""
    if len(data) > LARGEST or _is_binary(data):
        skipped.note(TOO_LARGE if len(data) > LARGEST else NO_PAGE, name)
        return None
    source, fault = decode(data)
    if fault:
        skipped.note(fault, name)
    if not is_bounded(source):
        skipped.note(TOO_LARGE if source.count("<") - source.count("</") > ELEMENTS else NESTED, name)
        return None
    if (page := parse(source, body=options.body, drop=options.drop, common=common)) is None:
        skipped.note(NO_BODY, name)
    return page


def _find_roots(tree: LexborHTMLParser, body: str) -> list[LexborNode] | None:
    """Find the elements that hold the main text, none of them inside another; None where `body` is not there."""
    found = tree.css(body) if body else [node for node in tree.css(_MAIN) if node.text().strip()]
    if body and not found:
        return None
    if not found:
        articles = tree.css("article")
        whole = [] if tree.body is None else [tree.body]
        found = articles if len(articles) == 1 and _is_main(articles[0], tree) else whole
    nodes = {node.mem_id: node for node in found}  # a node may match twice
    outer = nodes if len(nodes) > 1 else {}
    inner = {each.mem_id for key, node in outer.items() for each in node.css(body or _MAIN) if each.mem_id != key}
    return [node for key, node in nodes.items() if key not in inner]


def _is_main(article: LexborNode, tree: LexborHTMLParser) -> bool:
    """Judge the only <article> of a page: the main text has its heading, or at least half of its paragraphs' text."""
    inside, whole = (sum(len(part.text()) for part in node.css("p, pre, dd")) for node in (article, tree))
    return article.css_first("h1") is not None or 2 * inside >= whole


def _read_head(tree: LexborHTMLParser) -> tuple[str, str, str, str]:
    """Return title, base, canonical address and the address that the page refreshes to, each "" if there is none."""
    title = base = canonical = refresh = ""
    known = "title, base[href], link[rel][href], meta[http-equiv][content], noscript"
    for node in tree.head.css(known) if tree.head else ():
        values = node.attributes
        if node.tag == "title":
            title = title or " ".join(node.text().split())
        elif node.tag == "base":
            base = base or values["href"] or ""
        elif node.tag == "link" and "canonical" in (values["rel"] or "").lower().split():
            canonical = canonical or values["href"] or ""
        elif node.tag == "noscript" or (values.get("http-equiv") or "").strip().lower() == "refresh":
            found = _REFRESH.match(values.get("content") or next(iter(_NOSCRIPT.findall(node.text())), ""))
            refresh = refresh or (found[1].strip() if found else "")
    return title, base, canonical, refresh


def _find_title(title: str, tree: LexborHTMLParser, common: frozenset[str]) -> str:
    """Return a <title> without the ending and the beginning that most have, else the first <h1> with text, else ""."""
    if title and _TITLED + title not in common:
        gaps = [found.span() for found in _ENDING.finditer(title)]
        title = next((title[:start] for start, _ in gaps if _ENDED + title[start:] in common), title)
        starts = (end for _, end in reversed(gaps) if end < len(title) and _STARTED + title[:end] in common)
        return title[next(starts, 0) :]
    headings = (" ".join(node.text().split()) for node in tree.css("h1"))
    return next((found for heading in headings if (found := heading.rstrip(" ¶#§"))), "")


def _find_hrefs(node: LexborNode) -> list[str]:
    found = (link.attributes for link in node.css("a[href], area[href]"))
    return [each.get("href") or each.get("xlink:href") or "" for each in found]


def _is_note(node: LexborNode) -> bool:
    """Return whether a table is the frame of a note, as AsciiDoc and DocBook write one."""
    frame = node.parent if node.tag == "table" else None
    return frame is not None and not _NOTES.isdisjoint((frame.attributes.get("class") or "").split())


def _drop(root: LexborNode, selector: str) -> list[str]:
    """Take out of a tree what the selector matches; return the links taken out."""
    hrefs: list[str] = []
    nodes = {node.mem_id: node for node in root.css(selector) if not _is_note(node)}  # a node may match twice
    for node in reversed(nodes.values()):  # inner ones first: what is in a node is gone with it
        if node.tag not in ("script", "style"):
            hrefs += reversed(_find_hrefs(node))
        if node.mem_id == root.mem_id or node.tag in _BREAKS:
            node.inner_html = ""  # it still keeps the words around it apart
        else:
            node.decompose()
    return hrefs[::-1]


# ---- what is navigation

_NAMED = {key: re.compile(rf' {key}="([^"]*)"') for key in ("class", "id")}  # faster than both at once
_HINT = re.compile(r"nav|menu|crumb|footer|sidebar|pag|prevnext|skip|related|banner|toolbar", re.IGNORECASE)
_PART = re.compile(r"[A-Z]*[a-z]+|[A-Z]+")
_WAY = re.compile(r"nav(?!y|al|aj|arr|v)[a-z]*|[a-z]+nav|[a-z]*crumbs?|pag(?:er|ination|inator)|prevnext|nextprev")
_MAYBE = re.compile(
    r"[a-z]*menus?|menu(?:bar|item|list)|[a-z]*sidebars?|skip(?:links?|to)?|related|banner|[a-z]*toolbar"
)
_FOOTER, FOOTER = re.compile(r"[a-z]*footers?"), 100


@lru_cache(1 << 16)
def _find_room(token: str) -> int:
    """Return how many words outside links an element of this class or id may have as navigation, -1 if it is none.

    >>> [_find_room(token) for token in ("leftNav", "this-page-menu", "navy", "footnotes", "page-footer")]
    [20, 4, -1, -1, 100]
    """
    parts = [part.lower() for part in _PART.findall(token)] if _HINT.search(token) else []
    kinds = ((_FOOTER, FOOTER), (_WAY, 20), (_MAYBE, 4))
    return next((room for kind, room in kinds for part in parts if kind.fullmatch(part)), -1)


def _cut_named(roots: list[LexborNode], html: str) -> tuple[str, list[str]]:
    """Cut what is navigation by its class or id out of a page as the parser writes it; return the links, too."""
    values = ((key, value) for key, pattern in _NAMED.items() for value in set(pattern.findall(html)))
    tokens = ((key, token) for key, value in values for token in value.split())
    named = {f'[{key}~="{token}"]' for key, token in tokens if _find_room(token) >= 0 and "\\" not in token}
    hrefs: list[str] = []
    nodes = (node for root in roots for node in root.css(", ".join(named))) if named else ()
    for node in {node.mem_id: node for node in nodes if _is_navigation(node)}.values():
        before, found, after = html.partition(node.html or "")
        if found:  # what lies in another is gone with it
            hrefs += _find_hrefs(node)
            html = before + (f"{found[: found.index('>') + 1]}</{node.tag}>" if node.tag in _BREAKS else "") + after
    return html, hrefs


def _is_navigation(node: LexborNode) -> bool:
    """Judge an element by its class and id: it is none if it has the page's heading, or more words than links."""
    room = max(map(_find_room, f"{node.attributes.get('class')} {node.attributes.get('id')}".split()))
    if room < 0 or node.tag in _INLINE or not (count := len(node.text(separator=" ").split())):
        return False
    inside = len(" ".join(link.text(separator=" ") for link in node.css("a[href]")).split())
    return bool(inside or room == FOOTER) and count - inside <= inside + room and not node.css_first("h1")


def _write(html: str) -> tuple[str, list[Written], Sections]:
    """Turn well-formed HTML into text, links (without a place: start = end) and named places, in one pass."""
    out: list[str] = []
    links: list[Written] = []
    sections: Sections = []
    waiting: list[str] = []  # names whose place is where the next text starts
    length = 0
    gap = ""  # what belongs between the text so far and the next: nothing, a space or a line break
    href, way = None, False  # of the link that is open, and whether it leads on or back
    start = end = -1  # of its text so far, as far as it is in one line
    before = (0, 0, "")  # what to go back to if the link is dropped with its text
    html = html.encode().translate(None, _CONTROL).decode()
    if html.count("<") == html.count(">"):  # else a name may hold one
        html = _INERT.sub("", html)
    html = mark_exponents(html).replace(
        '<span id="structfield.', '<br><span id="structfield.'
    )  # of rustdoc, a line each
    if "<pre" in html:
        html = _PRE.sub(lambda pre: _RUN.sub(lambda run: run[0].replace("\n", "<br>"), pre[0]), html)
    pieces = _TAG.split(html)  # text, name, attributes, text, ...
    for name, attributes, piece in zip(["", *pieces[1::3]], ["", *pieces[2::3]], pieces[::3], strict=True):
        if name in _GAPS:
            if gap != "\n":
                gap = _GAPS[name] if name != "br" or href is None else " "
            if not attributes and (not piece or piece.isspace()):
                continue
        elif name in ("a", "/a"):
            if href is not None:  # an inner link ends the outer one
                if href[0] == "#" and 0 <= start > length - 50 and _OWN.fullmatch("".join(out[before[0] :])):
                    del out[before[0] :]  # a mark such as "¶", for copying an address, or "Skip to content"
                    _, length, gap = before
                elif start < 0:
                    links.append((length, length, href, way))
                else:
                    links.append((start, length, href, way) if end < 0 else (start, end, href, None))
                href = None
            if name == "a" and (found := _HREF.search(attributes)):
                way = len(attributes) > len(found[0]) and _LEADS.search(attributes) is not None
                href, start, end, before = unescape(found[1]), -1, -1, (len(out), length, gap)
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


def _cut_lines(
    text: str, links: list[Written], sections: Sections, common: frozenset[str]
) -> tuple[str, Links, Sections]:
    """Leave out lines that are navigation: their links lose their places, names stand where the next text starts."""
    lines = text.split("\n")
    places = [start for start, end, _, way in links if way or not _STEPS.isdisjoint(text[end : end + 2])]
    repeats = lines[:1] == lines[1:2] != [""]  # a bar at the top that has the page's heading
    if not places and not repeats and common.isdisjoint(lines):
        return text, [link[:3] for link in links], sections
    begins = [0, *accumulate(len(line) + 1 for line in lines)]
    looked_at = {bisect_right(begins, place) - 1 for place in places}
    looked_at.update([0] * repeats, (number for number, line in enumerate(lines) if line in common))
    starts, stops, lost = list[int](), [0], [0]  # of the lines that are cut, and characters cut so far
    for number in sorted(looked_at):
        begin, stop = begins[number : number + 2]
        inside = links[bisect_left(links, (begin,)) : bisect_left(links, (stop,))]
        anchors = [text[start:end] for start, end, *_ in inside if start < end]
        ways = [way for *_, way in inside]
        leads_away = anchors and None not in ways and _is_navigation_line(lines[number], anchors, any(ways), common)
        if leads_away or (repeats and number == 0 and None not in ways):
            starts.append(begin)
            stops.append(stop)
            lost.append(lost[-1] + stop - begin)
    kept = "".join(map(text.__getitem__, map(slice, stops, [*starts, None]))).removesuffix("\n" * bool(starts))
    left: Links = []
    for start, end, href, _ in links:
        gone = lost[number := bisect_right(starts, start)]
        left.append((start - gone, end - gone, href) if start >= stops[number] else (-1, -1, href))
    moved = [(name, max(at, stops[number := bisect_right(starts, at)]) - lost[number]) for name, at in sections]
    return kept, left, [section for section in moved if section[1] < len(kept)]


def _is_navigation_line(line: str, anchors: list[str], leads: bool, common: frozenset[str]) -> bool:
    """Judge a line by its links: most pages have it, one `leads` on or back, or they are a trail ("Home > Guide")."""
    if (leads or line in common) and len(line.split()) <= 2 * len(" ".join(anchors).split()) + 8:
        return True  # a sentence with a link is prose
    trail = _TRAIL.split(line) if len(anchors) > 1 else []
    return anchors in (trail, trail[:-1]) and len(trail) > 1 and len(trail[-1].split()) < 9


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
    if text[:100].lstrip().startswith(("<?xml", "<html xmlns")) or "/xhtml" in text[:1000]:
        text = _EMPTY.sub(r"<\1\2></\1>", text)  # of XML; HTML takes the slash for nothing
    return text, fault


def _is_binary(data: bytes) -> bool:
    """Return whether a file is not a page: by what other kinds of files start with, or by its control characters."""
    head = data[:1024]
    is_wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return head.startswith(_MAGIC) or (not is_wide and len(head.translate(None, _TEXT)) > len(head) / 10)


# An element without another in it is closed for sure.
_LEAF, _MARK = re.compile(r"<([a-z]++)[^<>]*+>[^<>]*+</\1>"), re.compile(r"<(/?)([a-z][^\s/>]*+)")
_LONG, _QUOTED = re.compile(r"<[a-zA-Z][^<>]{20000,}+"), re.compile(r'"[^"]*"|\'[^\']*\'')
# In SVG and MathML "/>" closes, up to what they hold of HTML (but plain text), and to HTML that ends them.
_HELD = re.compile(r"<(title|desc|m[inos]|mtext)\b[^<>]*+>[^<>]*+</\1\s*+>")
_FOREIGN = re.compile(
    r"<(?:svg|math)\b(?:[^<]++|<(?!/?(?:svg|math|title|desc|m[inos]|mtext|foreignobject|annotation-xml|b|big|blockquote|body|br|"
    r"center|code|d[dlt]|div|em|embed|font|h[1-6r]|head|i|img|li|listing|menu|meta|nobr|ol|p|pre|ruby|s|small|span|strong|"
    r"strike|su[bp]|table|tt|ul?|var)\b))*+"
)
_CLOSED = re.compile(r"<[a-z](?:[^\s<>=/]*+/|[^<>]*+(?<=[\"'\s]/))>")


def is_bounded(source: str) -> bool:
    """Return whether a page is safe to parse: a browser's tree costs tags times depth, or more, whoever builds it.

    Deep nesting makes the parser search its stack at each tag, and marks left open ("<p><b><i>...<p>...") are copied
    into each paragraph, so that 23 kB become 58 MB. Both are bounded by the sum of the depths of all tags. Few tags
    need no look; of the others the nesting is estimated, from tags that are not closed by the next.
    """
    windows = range(0, len(source) - ATTRIBUTES, ATTRIBUTES)  # a tag of so many attributes fills one
    if any(source.find("<", at, at + ATTRIBUTES) < 0 for at in windows) and any(
        len(_QUOTED.sub("", tag).split()) > ATTRIBUTES for tag in _LONG.findall(source)
    ):
        return False  # each attribute is compared with those before it
    count = source.count("<")
    if count <= TAGS or (count := count - source.count("</")) <= TAGS:
        return True
    if count > ELEMENTS:
        return False
    room, source = DEPTH * count + TAGS**2 // 2, source.lower()
    stack: list[str] = []
    if "<svg" in source or "<math" in source:
        source = _FOREIGN.sub(lambda part: _CLOSED.sub("", part[0]), _HELD.sub("", source))
    source = _LEAF.sub("", source)
    for slash, name in _MARK.findall(source) if source.count("<") > TAGS else ():
        if name in _VOID:
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


# ---- what most pages of a tree have in common

MANY, HEAD, FOOT = 8, 16_000, 4_000  # pages of a folder that is looked at by itself; characters of a page at its ends
# Before a title, the ending and the beginning of one; other things in common are lines with links.
_TITLED, _ENDED, _STARTED = "\0", "\1", "\2"
_ENDING = re.compile(r"\s(?:[-—–|·•:»«<]|::|--)\s|\s\(|:\s")
_TITLE, _ANY = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE), re.compile(r"<[^>]*>")
_WITHIN = "|".join(sorted(_INLINE | {"td", "th", "span", "img"}))
_BETWEEN = re.compile(rf"<(?!/?(?:{_WITHIN}|{_WITHIN.upper()})[\s>])[^>]*>")  # IGNORECASE takes twice the time
_ADDRESS = re.compile(r"""://(?:(?<=href=["']http://)|(?<=href=["']https://))([^"'#?]+)""", re.IGNORECASE)
NAMES = 1_000_000  # of the pages of a tree, up to which links in other capitals find them


def survey(files: Iterable[tuple[str, bytes | None]], options: Options, *_: object) -> Tree:
    """Find what more than half of the pages of a tree, or of a folder, have in common; only files with data count."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    pages, found_pages, addresses, scripted = Counter[str](), dict[str, str](), set[str](), False
    for name, data in files:
        for other in (as_latin1(name), name, *names(as_latin1(name))):  # what two pages are called means neither
            other = normalize("NFC", other).casefold()
            found_pages[other] = name if found_pages.get(other, name) == name else ""
        source = "" if data is None or len(data) > LARGEST or _is_binary(data) else decode(data)[0]
        scripted = scripted or _SCRIPTED.search(source) is not None
        addresses.update(_ADDRESS.findall(source))
        begin = max(source.find("<body"), 0)
        folders = [str(folder) for folder in PurePosixPath(name).parents] if source else []
        pages.update(folders)
        found = _TITLE.search(source)
        title = " ".join(unescape(found[1]).split()) if found else ""
        gaps = [*_ENDING.finditer(title)]
        common = {_ENDED + title[gap.start() :] for gap in gaps} | {_TITLED + title} - {_TITLED}
        common |= {_STARTED + title[: gap.end()] for gap in gaps if "(" not in gap[0]}
        if len(source) - begin > 2 * HEAD:
            source = f"{source[begin : begin + HEAD]}<hr>{source[-FOOT:]}"
        source = source[: source.rfind(">") + 1]  # behind it each "<" would be followed to the end
        pieces = [piece for piece in _BETWEEN.split(source) if len(piece) < 2000 and "href" in piece.lower()]
        shown = _ANY.sub("", "\0".join(pieces).replace("<td", " <td").replace("<th", " <th"))
        common.update(" ".join(line.split()) for line in unescape(shown).split("\0"))
        for folder in folders:
            counts[folder].update(common)
    most: dict[str, frozenset[str]] = {}
    for folder in sorted(counts, key=len):  # the outer ones first
        if folder == "." or pages[folder] >= MANY:
            own = {value for value, count in counts[folder].items() if value and count > max(pages[folder] / 2, 2)}
            most[folder] = _around(most, folder) | own
    if seen := sorted({value.lstrip(_TITLED + _ENDED + _STARTED) for values in most.values() for value in values}):
        shown = ", ".join(map(repr, seen[:5])) + ", ..." * (len(seen) > 5)
        log.warning("left out where most pages have it: %s", shown)
    if root := _find_root(addresses, found_pages):
        log.warning("%s is this tree", root)
    found_pages, by_file = found_pages if len(found_pages) < NAMES else {}, dict[str, list[str]]()
    for page in dict.fromkeys(found_pages.values()) if scripted else ():
        by_file.setdefault(PurePosixPath(page).name, []).append(page)
    return Tree(**asdict(options), common=most, pages=found_pages, root=root, files=by_file)


def _find_root(addresses: set[str], pages: Mapping[str, str]) -> str:
    """Find the address of a tree: where at least three, and half, of the addresses on a host are pages of it."""
    hosts, roots = Counter[str](), Counter[str]()
    for address in addresses:
        host, *parts = unquote(address).casefold().removeprefix("www.").split("/")
        hosts[host] += 1
        ends = (number for number in range(len(parts)) if pages.get("/".join(parts[number:])))
        if (number := next(ends, -1)) >= 0:
            roots["/".join((host, *parts[:number], ""))] += 1
    root, count = max(roots.items(), key=itemgetter(1), default=("", 0))
    return root if count >= 3 and 2 * count >= hosts[root.partition("/")[0]] else ""


def _around(common: Common, name: str) -> frozenset[str]:
    """Return what pages have in common around one, in the nearest of its folders of which something is known."""
    return next((common[str(folder)] for folder in PurePosixPath(name).parents if str(folder) in common), frozenset())


# No marks: what is named as something else and starts with <html> is a server's word that it was not found.
READER = Reader(
    read_file=read_file,
    survey=survey,
    sample=200,
    options=Options,
    called=lambda name: [name, *names(name)],
    suffixes=SUFFIXES,
    head=rb"(?is)(?:<!--.{0,2000}?-->\s*|<\?xml[^<>]*>\s*)*(?:<!doctype\s+html|<html[\s>])(?!.*<\?(?:php|=))",
)
