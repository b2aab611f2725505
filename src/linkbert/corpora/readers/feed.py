"""Feeds (RSS, Atom) and the exports of blogs that are feeds (WordPress, Blogger) in, a Document a post out.

A post's id is its address, as links have it; its guid and WordPress's "?p=7" are further names. Bodies are HTML.
"""

import re
from collections.abc import Iterator
from html import escape, unescape
from html.entities import html5
from typing import Any

from linkbert.corpora.reader import CUT, NoOptions, Reader, Record, Skipped
from linkbert.corpora.readers import html, markup
from linkbert.corpora.readers.papers import XML
from linkbert.corpora.resolve import Place, resolve
from linkbert.records import Document, Link, Redirect

PLAIN = ("", "http://www.w3.org/2005/Atom", "http://purl.org/atom/ns#", "http://purl.org/rss/1.0/")
PREFIXES = {"http://purl.org/rss/1.0/modules/content/": "content:"}
PREFIXES |= {"http://rssnamespace.org/feedburner/ext/1.0": "feedburner:"}
BODIES = ("content:encoded", "content", "description", "summary")
NO_POST, DRAFT = "item that is no post (left out)", "draft or private post (left out)"
_OTHERS = re.compile(
    r"attachment|nav_menu_item|revision|custom_css|customize_\w+|oembed_cache|wp_\w+|comment|settings|template"
)
_BLOGGER = re.compile(r"schemas\.google\.com/blogger/2008/kind#(\w+)")
_CONTROL, _ENTITY = (
    re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f]"),
    re.compile(rb"&(?!#|(?:amp|lt|gt|quot|apos);)(?:(\w+);)?"),
)
_TAG, _EMPTY_LINE = re.compile(r"(<[^<>]*>)"), re.compile(r"\n\s*\n\s*")
_MARKED = re.compile(r"<p\b|<!-- wp:", re.IGNORECASE)
_SHORT = re.compile(r"\[(/?)([a-z][\w-]*)((?:\s+[\w-]+=(?:\"[^\"\[\]]*\"|'[^'\[\]]*'|[^\s\"'\[\]]+))*)\s*/?\]")


def read_file(name: str, data: bytes, _: NoOptions, skipped: Skipped) -> Iterator[Record]:
    """Read the posts of a file; what is left out is counted in `skipped`."""
    from lxml import etree

    parser, data = etree.XMLParser(**XML, recover=True), data.lstrip()
    root: Any = etree.fromstring(data, parser)
    if len(parser.error_log):  # which would leave out all entities that follow
        root = etree.fromstring(_mend(data), parser)
    for fault in parser.error_log[:1]:
        skipped.note(CUT, f"{name} line {fault.line} ({fault.message.strip()})")
    for number, item in enumerate(root.iter("{*}item", "{*}entry") if root is not None else (), 1):
        yield from _read_post(item, f"{name}#{number}", skipped)


def _read_post(item: Any, where: str, skipped: Skipped) -> Iterator[Record]:
    said: dict[str, Any] = {}
    for child in item.iterchildren("*"):
        space, _, key = child.tag.rpartition("}")
        other = "wp:" if "wordpress.org/export" in space or "blogger" in space else f"{space[1:]} "
        said.setdefault(("" if space[1:] in PLAIN else PREFIXES.get(space[1:], other)) + key, child)
    kinds = [found[1] for each in item.iterfind("{*}category") if (found := _BLOGGER.search(each.get("term", "")))]
    if _OTHERS.fullmatch((kinds or [_say(said, "wp:post_type") or _say(said, "wp:type")])[0].lower()):
        skipped[NO_POST] += 1
        return
    held_back = item.findtext("{*}control/{*}draft", "").strip().lower() == "yes"
    if held_back or _say(said, "wp:status").lower() not in ("", "publish", "live"):
        skipped.note(DRAFT, f"{where} ({_say(said, 'title'):.80})")
        return
    own = [each.get("href", "") for each in item.iterfind("{*}link") if each.get("rel", "alternate") == "alternate"]
    addresses = [_say(said, "feedburner:origLink"), *own, *(_say(said, key) for key in ("link", "guid", "id"))]
    addresses = [each for each in addresses if "://" in each]
    names = dict.fromkeys(to[0] for each in addresses if (to := resolve(each, Place())))
    host, slash, _ = next(iter(names), "").removeprefix("https://").partition("/")
    if slash and (post := _say(said, "wp:post_id")):  # as what was linked before it had an address
        names |= dict.fromkeys(f"https://{host}/?{key}={post}" for key in ("p", "page_id"))
    id_, *others = names or [where]
    yield from (Redirect(other, id_) for other in others)
    bodies = ((said[key], _body(said[key])) for key in BODIES if key in said)
    element, body = next((each for each in bodies if each[1]), (item, ""))
    body = _mark_up(body) if "wp:post_type" in said else body
    if not html.is_bounded(body):
        skipped.note(html.NESTED, where)
    elif not (page := html.parse(body)) or not page.text:
        skipped.note(markup.NO_TEXT, where, id_, *others)
    else:
        base = element.get("{http://www.w3.org/XML/1998/namespace}base") or (addresses or [""])[0]
        folder = base.partition("://")[2].partition("/")[2].rpartition("/")
        place = Place(host, "".join(folder[:2])) if slash else Place()
        links = [(start, end, resolve(href, place)) for start, end, href in page.links]
        placed = tuple(Link(start, end, *to) for start, end, to in links if to)
        title = " ".join(_TAG.sub("", unescape(_say(said, "title"))).split())
        yield Document(id_, title or id_, page.text, placed, sections=page.sections)


def _say(said: dict[str, Any], key: str) -> str:
    return " ".join("".join(said[key].itertext()).split()) if key in said else ""


def _body(element: Any) -> str:
    """Return HTML: an element's text, what is marked in it (Atom's xhtml), or what it says to be plain text."""
    from lxml import etree

    if element.find("*") is not None:
        inside = (etree.tostring(child, encoding="unicode") for child in element)
        return escape(element.text or "") + "".join(inside)
    text = "".join((element.text or "", *(child.tail or "" for child in element)))  # without entities of its own
    return (escape if element.get("type") in ("text", "text/plain") else str)(text.strip())


def _mend(data: bytes) -> bytes:
    r"""Write what XML has not as it would: characters of control, entities of HTML, and "&" for "&amp;".

    >>> _mend(b"A\x02 & B&nbsp;&lt;")
    b'A &amp; B&#160;&lt;'
    """

    def write(found: re.Match[bytes]) -> bytes:
        said = html5.get(f"{found[1].decode()};") if found[1] else ""
        return "".join(f"&#{ord(each)};" for each in said).encode() if said else b"&amp;" + found[0][1:]

    return _ENTITY.sub(write, _CONTROL.sub(b"", data))


def _mark_up(body: str) -> str:
    r"""Write what WordPress marks when it shows a post: lines and paragraphs of its old editor; shortcodes go.

    >>> _mark_up('[caption width="9"]<img src="a"> A boat[/caption] [sic]\n\nTwo\nlines')
    '<img src="a"> A boat [sic]<p>Two<br>lines'
    """
    closed = {found[2] for found in _SHORT.finditer(body) if found[1]}
    body = _SHORT.sub(lambda found: "" if found[3] or found[2] in closed else found[0], body)
    if _MARKED.search(body):
        return body
    parts, as_written = _TAG.split(body), False
    for at, part in enumerate(parts):
        if at % 2:
            as_written = part.lower().startswith("<pre") or (as_written and part.lower() != "</pre>")
        elif not as_written:
            parts[at] = _EMPTY_LINE.sub("<p>", part).replace("\n", "<br>")
    return "".join(parts)


READER = Reader(
    read_file=read_file,
    suffixes=(".rss", ".atom"),
    inside=(".xml", ".rss", ".atom"),
    marks=(rb"<rss\b", rb"<feed\b[^>]*(?:2005/Atom|purl\.org/atom)", rb"<rdf:RDF\b[^>]*purl\.org/rss/1\.0"),
    largest=256 << 20,
)
