"""Wikipedia as others have processed it, in a form that keeps links: a Document a page; its id is its title.

WikiExtractor (`<doc>` or JSON, with --links), HotpotQA's pages, KILT's knowledge source, dumps of CirrusSearch and of
Wikimedia Enterprise. Where a record has the page's wikitext, that is read, as in a dump.
"""

import re
from collections.abc import Iterable, Iterator
from html import unescape
from itertools import accumulate
from typing import Any
from urllib.parse import unquote

from linkbert.corpora.reader import NoOptions, Reader, Record, Skipped
from linkbert.corpora.readers.site import Site, normal_title, resolve
from linkbert.corpora.readers.streams import decode_utf8
from linkbert.corpora.readers.wikitext import parse
from linkbert.records import Document, Link, Redirect

OTHER_NAMESPACE, NO_TEXT = "page of another namespace", "page without text"
_DOC = re.compile(r"<doc ([^<>\n]*)>\n?(.*?)\n?</doc>", re.DOTALL)
_TITLE, _WIKI = re.compile(r'\btitle="(.*)"'), re.compile(r"^https?://([a-z-]+)\.(?:m\.)?wikipedia\.org/")
_ANCHOR = re.compile(r'<a href="([^"<>]*)">([^<>]*)</a>')
_SECTION, _BULLET = re.compile(r"Section::::(?:.*:)?([^:]*?)\.?\n?\Z"), re.compile(r"BULLET::::-? ?")


def read_file(name: str, data: bytes, _: NoOptions, skipped: Skipped) -> Iterator[Record]:
    """Read what WikiExtractor writes without --json: pages between <doc> and </doc>."""
    text = decode_utf8(data, skipped, name)
    end = text.rfind("</doc>") + 6  # behind it none is closed
    for found in _DOC.finditer(text[:end]):
        title = _TITLE.search(found[1])
        yield from _with_anchors(unescape(title[1]) if title else "", found[2], find_site(found[1]), name, skipped)
    if "<doc " in text[end:]:
        skipped.note("page cut off", name)


def find_form(record: dict[str, Any]) -> str:
    """Return which form of Wikipedia an object of JSON has: "kilt", "page", "anchors", or "index"; else "".

    A line of an "index" says where CirrusSearch puts the page behind it.
    """
    text = record.get("text")
    if isinstance(record.get("wikipedia_title"), str) and isinstance(record.get("anchors"), list):
        return "kilt"
    if record.keys() == {"index"} and isinstance(record["index"], dict):
        return "index"
    enterprise = isinstance(record.get("article_body"), dict) and isinstance(record.get("name"), str)
    if enterprise or isinstance(record.get("outgoing_link"), list):
        return "page"
    if isinstance(record.get("title"), str) and _WIKI.match(str(record.get("url"))):
        if isinstance(text, str) and ('<a href="' in text or "&lt;a href=" in text):
            return "anchors"
        return "anchors" if isinstance(record.get("text_with_links", text), list) else ""
    return ""


def read_record(form: str, record: dict[str, Any], where: str, skipped: Skipped) -> Iterator[Record]:
    """Read an object of JSON whose form is known."""
    site = find_site(str(record.get("url") or record.get("wiki") or ""), str(record.get("language") or ""))
    if form == "kilt":
        yield from _read_kilt(record, site, where, skipped)
    elif form == "anchors":
        text = _join(record.get("text_with_links", record.get("text")))
        yield from _with_anchors(record["title"], text, site, where, skipped)
    elif form == "page":
        yield from _read_page(record, site, where, skipped)


def find_site(address: str, language: str = "") -> Site:
    """Return the Wikipedia that an address is of, else that of a language, else the English one."""
    found = _WIKI.search(address[address.find("http") :])
    return Site(found[1] if found else language or "en", subpages=False)


def _join(value: Any) -> str:
    """Join sentences to a paragraph and paragraphs to a text, as HotpotQA has them."""
    if isinstance(value, list):
        return ("" if all(isinstance(each, str) for each in value) else "\n").join(map(_join, value))
    return value if isinstance(value, str) else ""


def _to(title: str, site: Site) -> tuple[str, str] | None:
    to = resolve(title, site)
    return (to.title, to.fragment) if to.kind == "article" and to.title else None


def _with_anchors(title: str, text: str, site: Site, where: str, skipped: Skipped) -> Iterator[Record]:
    """Make a Document of a text with <a href="Old%20mill">, whose marks are written out or escaped."""
    text = unescape(text) if "&lt;a href=" in text else text
    parts = _ANCHOR.split("\n".join(line for each in text.split("\n") if (line := each.strip())))
    pieces = [unescape(part) for part in parts]
    at = [0, *accumulate(0 if number % 3 == 1 else len(piece) for number, piece in enumerate(pieces))]
    found = ((at[n + 1], at[n + 2], _to(unquote(parts[n]), site)) for n in range(1, len(parts), 3))
    links = [Link(start, end, *to) for start, end, to in found if to and start < end]
    shown = "".join(piece for number, piece in enumerate(pieces) if number % 3 != 1)
    yield from _make(normal_title(title, site), shown, links, where, skipped)


def _read_kilt(record: dict[str, Any], site: Site, where: str, skipped: Skipped) -> Iterator[Record]:
    """Read a page of KILT, whose anchors have places in paragraphs; marks of sections and of items go."""
    out, places = "", dict[int, tuple[int, int, int]]()
    for number, paragraph in enumerate(record["text"] if isinstance(record.get("text"), list) else ()):
        whole = str(paragraph)
        mark = _SECTION.match(whole) or _BULLET.match(whole)
        shown = (mark[1] if mark and mark.re is _SECTION else whole[mark.end() if mark else 0 :]).rstrip("\n")
        places[number] = (len(out), mark.end() if mark else 0, len(shown))
        out += f"{shown}\n" * bool(shown.strip())
    links = []
    for anchor in record["anchors"]:
        to = _to(unquote(str(anchor.get("href"))), site) if isinstance(anchor, dict) else None
        if to:
            base, gone, size = places.get(anchor.get("paragraph_id"), (0, 0, -1))
            start, end = anchor.get("start"), anchor.get("end")
            right = type(start) is int and type(end) is int and gone <= start < end <= gone + size
            links.append(Link(base + start - gone, base + end - gone, *to) if right else Link(-1, -1, *to))
    title, own_id = normal_title(record["wikipedia_title"], site), str(record.get("wikipedia_id") or "")
    if title and own_id and own_id != title:
        yield Redirect(own_id, title)
    yield from _make(title, out.rstrip("\n"), links, where, skipped)


def _read_page(record: dict[str, Any], site: Site, where: str, skipped: Skipped) -> Iterator[Record]:
    """Read a page of CirrusSearch or of Wikimedia Enterprise: its wikitext, else its HTML, else its plain text."""
    from linkbert.corpora.readers import html  # whose pages may hold JSON, which is read by what calls this

    space = record.get("namespace", 0)
    if (space.get("identifier") if isinstance(space, dict) else space) not in (0, None):
        skipped[OTHER_NAMESPACE] += 1
        return
    title = normal_title(str(record.get("title") or record.get("name") or ""), site)
    others = record.get("redirect") or record.get("redirects") or ()
    for other in others if isinstance(others, list) else ():
        named = other.get("title") or other.get("name") if isinstance(other, dict) else None
        if named and other.get("namespace", 0) == 0 and (source := normal_title(str(named), site)) != title:
            yield Redirect(source, title)
    body = given if isinstance(given := record.get("article_body"), dict) else {}
    wikitext, shown = record.get("source_text") or body.get("wikitext"), body.get("html")
    links: Iterable[Link]
    if isinstance(wikitext, str):
        text, links = parse(wikitext, site)
    elif isinstance(shown, str) and html.is_bounded(shown) and (page := html.parse(shown)):
        text = page.text
        told = ((start, end, _to(unquote(href[2:]), site)) for start, end, href in page.links if href[:2] == "./")
        links = [Link(start, end, *to) for start, end, to in told if to]
    else:
        text = str(record.get("text") or "")
        targets = given if isinstance(given := record.get("outgoing_link"), list) else ()
        links = [Link(-1, -1, *to) for each in targets if (to := _to(str(each), site))]
    yield from _make(title, text, links, where, skipped)


def _make(title: str, text: str, links: Iterable[Link], where: str, skipped: Skipped) -> Iterator[Record]:
    if title and text.strip():
        yield Document(title, title, text, tuple(links))
    else:
        skipped.note(NO_TEXT if title else "page without a title", where, *filter(None, [title]))


FILES = tuple(f"wiki_{number:02}" for number in range(100))  # as WikiExtractor calls its files
READER = Reader(
    read_file=read_file,
    inside=FILES,
    marks=(rb"\A<doc [^<>\n]*title=",),
    largest=1 << 30,
)
