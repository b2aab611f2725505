"""XML of any kind in, Documents out: XPath says what is a document, what is its text and what is a link.

An element whose parent has no text of its own is a line, any other is part of its line, but for footnotes. Names have
no prefixes here: in `<akn:p xml:id="x">` they are `p` and `@id`. Nothing is fetched, so of entities those are expanded
that the file itself declares, and those of HTML.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from html.entities import html5
from itertools import count
from posixpath import dirname
from typing import Any
from xml.sax.saxutils import quoteattr

from linkbert.corpora.reader import CUT, Reader, Record, Skipped, option
from linkbert.corpora.readers.markdown import Writer
from linkbert.corpora.readers.markup import NO_TEXT
from linkbert.corpora.readers.papers import XML
from linkbert.corpora.readers.streams import LARGEST
from linkbert.corpora.resolve import Place, names, resolve
from linkbert.records import Document, Link, Redirect

BREAKS = ("br", "lb", "pb", "break")  # of lines, in a line: they never join words
NOTES = ("note", "footnote", "fn", "authorialnote")  # in a line they are dropped, their links have no place
NONE = "file without a document (left out)"
NAMESPACES = {"re": "http://exslt.org/regular-expressions"}
TARGETS = ("href", "target", "ref", "idref", "rid", "uri", "url", "cref", "corresp")
SEVERAL = ("rid", "rids", "idref", "idrefs", "linkend", "linkends", "corresp")  # and `target` of places; else of one
TITLES = """(.//title | .//refmeta/refentrytitle | .//invention-title | .//article-title[not(ancestor::ref or
    ancestor::*[contains(name(), 'citation')] or ancestor::related-article)])[1]"""
UNKNOWN = "entity (left out)"
KEPT = ("amp", "lt", "gt", "quot", "apos")  # of XML itself
EXPANDED = 1 << 16  # bytes that entities may add to a file, and its own size
_ENTITY, _DECLARATION = re.compile(r"&([\w.-]+);"), re.compile(rb"(?<=[>\s\xbf])(?=<\?xml\s)")


@dataclass(frozen=True, slots=True)
class Options:
    """What is what, as XPath; names have no prefixes."""

    document: str = option("", "XPath of the documents in a file  [default: its root]")
    name: str = option("", "XPath in a document of its id, and of its other names  [default: the file's path]")
    title: str = option("", "XPath in a document of its title  [default: the first `title`, or what is called so]")
    text: str = option("", "XPath in a document of its text, in order  [default: all]")
    link: str = option(".//@href", "XPath in a document of its links: elements, or attributes of them")
    target: str = option(
        "",
        "XPath in a link of what it names, where $link is the default  [default: its @href or the like, else its text]",
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            if path := getattr(self, each.name):
                _compile(path)


@cache
def _compile(path: str) -> Any:
    from lxml import etree

    try:
        return etree.XPath(path, namespaces=NAMESPACES)
    except etree.XPathError as error:
        raise ValueError(f"{path!r} is not an XPath such as './/xref' ({error})") from None


def _find(path: str, node: Any, **variables: str) -> list[Any]:
    """Return what a path finds: elements, and strings; of a function its value."""
    from lxml import etree

    try:
        found = _compile(path)(node, **variables)
    except etree.XPathError as error:
        raise ValueError(f"{path!r} cannot be evaluated ({error}); names have no prefixes here") from None
    return found if isinstance(found, list) else [str(found)]


def _string(found: Any) -> str:
    return " ".join((found if isinstance(found, str) else "".join(found.itertext())).split())


def read_file(name: str, data: bytes, options: Options, skipped: Skipped) -> Iterator[Record]:
    """Read the documents of a file, or of several that stand in it; what is not well-formed is counted as damage."""
    from lxml import etree

    numbers, parts = count(1), [data]
    for part in parts:
        try:
            root = _parse(part)
        except etree.XMLSyntaxError as error:
            if "declaration allowed only at the start" in str(error) and len(parts) == 1:
                parts += filter(None, (each.strip(b"\xef\xbb\xbf\r\n\t ") for each in _DECLARATION.split(data)))
            else:
                skipped.note(CUT, f"{name} ({error})")
            continue
        _expand(root, EXPANDED + len(part), name, skipped)
        yield from _read_root(root, name, numbers, options, skipped)


def _read_root(root: Any, name: str, numbers: Iterator[int], options: Options, skipped: Skipped) -> Iterator[Record]:
    from lxml import etree

    for node in root.iter(etree.Element):
        node.tag = etree.QName(node).localname
        for key in [key for key in node.attrib if key[0] == "{"]:
            node.set(etree.QName(key).localname, node.get(etree.QName(key).localname) or node.get(key))
    if keys := sum(1 for node in root.iter("xref", "link", "topicref") if node.get("keyref") and not node.get("href")):
        skipped["link by a key, which a map of DITA gives (left out)"] += keys
    documents = _find(options.document, root) if options.document else [root]
    if not documents:
        skipped.note(NONE, name)
    for node, number in zip(documents, numbers, strict=False):
        own = list(dict.fromkeys(filter(None, map(_string, _find(options.name, node))))) if options.name else [name]
        id_ = own[0] if own else name
        if number > 1 and id_ == name:
            id_, own = f"{name}#{number}", own[:0]
        yield from _read_document(node, id_, name, options, skipped)
        yield from (Redirect(other, id_) for other in (own[1:] if options.name else names(id_)))


def _parse(data: bytes) -> Any:
    """Parse a file; one without a DOCTYPE may be a part of a book, which declares its entities. Prefixes are any."""
    from lxml import etree

    parser = etree.XMLParser(**XML | {"huge_tree": False})
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        if str(error).startswith("Namespace prefix"):
            parser = etree.XMLParser(**XML | {"huge_tree": False}, recover=True)
            root = etree.fromstring(data, parser)
            if all(each.domain_name == "NAMESPACE" for each in parser.error_log):
                return root
        if "not defined" not in str(error) or b"<!DOCTYPE" in data:
            raise
    start = data.find(b"?>") + 2 if data.lstrip()[:5] == b"<?xml" else 0
    return etree.fromstring(data[:start] + b'<!DOCTYPE part SYSTEM "">' + data[start:], parser)


def _expand(root: Any, most: int, name: str, skipped: Skipped) -> None:
    """Put in place what a file's own entities say, and those of HTML, up to `most` bytes; all others are left out.

    <!ENTITY must "<b>MUST</b>">, A server &must;&nbsp;close -> A server <b>MUST</b> close
    """
    from lxml import etree

    parents = dict.fromkeys(node.getparent() for node in root.iter(etree.Entity))
    dtd = root.getroottree().docinfo.internalDTD if parents else None
    own = {} if dtd is None else {each.name: each.content for each in dtd.iterentities()}  # None: of another file
    left, unknown = most, list[str]()

    def say(entity: str, depth: int = 8) -> str:  # one may be in itself
        if entity in own and own[entity] is not None and depth:
            return _ENTITY.sub(lambda at: say(at[1], depth - 1), own[entity])[:most]
        said = f"&{entity};" if entity in KEPT else html5.get(f"{entity};", "") * (entity not in own)
        unknown.extend([entity] * (not said))
        return said

    def parse(entity: str, spaces: Mapping[str | None, str]) -> Any:
        nonlocal left
        unknown.clear()
        said = say(entity) if (fits := left > 0) else ""
        left -= len(said)
        names = "".join(f" xmlns{':' + key if key else ''}={quoteattr(value)}" for key, value in spaces.items())
        try:
            made = _parse(f"<e{names}>{said}</e>".encode())
        except etree.XMLSyntaxError:
            made, unknown[:] = etree.Element("e"), [entity]
        for each in unknown if fits else [entity]:
            skipped.note(UNKNOWN, f"{name} (&{each};)")
        return made

    for parent in parents:
        runs: list[tuple[Any, list[str]]] = [(None, [parent.text or ""])]  # at the start, and behind each element
        for child in [*parent]:
            if child.tag is not etree.Entity:
                runs.append((child, [child.tail or ""]))
                continue
            made = parse(child.name, parent.nsmap)
            runs[-1][1].append(made.text or "")
            for part in [*made]:
                child.addprevious(part)
                runs.append((part, [part.tail or ""]))
            runs[-1][1].append(child.tail or "")
            parent.remove(child)
        parent.text = "".join(runs[0][1])  # once, however many entities are in it
        for child, text in runs[1:]:
            child.tail = "".join(text)


def _read_document(node: Any, id_: str, name: str, options: Options, skipped: Skipped) -> Iterator[Record]:
    place = Place(folder=f"{dirname(name)}/".lstrip("/"))
    links: dict[Any, list[tuple[str, str]]] = {}
    for found in _find(options.link, node):
        element: Any = found
        if isinstance(found, str):  # an attribute knows its element
            element = getattr(found, "getparent", lambda: None)()
            if element is None:
                raise ValueError(f"--link {options.link!r} finds no elements or attributes")
            key = getattr(found, "attrname", "")
        else:
            key = next((each for each in TARGETS if element.get(each)), "")
            found = element.get(key) if key else _string(element)
        said = " ".join(found.split())
        places = key == "target" and all("#" in each or "://" in each for each in said.split())
        for value in said.split() if key in SEVERAL or places else [said]:
            wanted = _find(options.target, element, link=value) if options.target else []
            named = _string(wanted[0]) if wanted else value
            path, _, fragment = named.partition("#")
            if to := ((path, fragment) if path else None) if options.name else resolve(named, place):
                links.setdefault(element, []).append(to)
            elif options.target:
                skipped.note("link whose --target finds nothing (left out)", f"{name} ({value})")
    writer, titles = Writer(), _find(options.title or TITLES, node)
    title = _string(titles[0]) if titles else ""
    for root in _find(options.text, node) if options.text else [node]:
        if isinstance(root, str):
            writer.add(root)
        else:
            _write(root, writer, links)
        writer.end_line()
    writer.links += [Link(-1, -1, *to) for targets in links.values() for to in targets]  # those that no text is around
    text, placed, sections = writer.finish(title)
    if text:
        yield Document(id_, title or id_, text, placed, sections=sections)
    else:
        skipped.note(NO_TEXT, name, id_)


def _write(node: Any, writer: Writer, links: dict[Any, list[tuple[str, str]]], inline: bool = True) -> None:
    if not inline and not writer.open:
        writer.end_line()
    writer.sections += [(node.get("id"), writer.size)] if node.get("id") else []
    targets = links.pop(node, [])
    for to in targets:
        writer.open_link("xml", to)
    text = any(part and part.strip() for part in (node.text, *(child.tail for child in node)))
    empty = targets and inline and not len(node) and not (node.text or "").strip()
    shown = next((node.get(key) for key in TARGETS if node.get(key)), targets[0][0]).partition("#")[0] if empty else ""
    writer.add(shown * ("/" not in shown) or node.text or "")  # <xref target="RFC2119"/>
    for child in node:
        if isinstance(child.tag, str):
            if child.tag.lower() in BREAKS and child.get("break") != "no":  # TEI's, of a word
                writer.add(" ")
            is_note = text and child.tag.lower() in NOTES
            writer.hidden += is_note
            _write(child, writer, links, inline=text or writer.hidden > 0)
            writer.hidden -= is_note
        writer.add(child.tail or "")
    for _ in targets:
        writer.close_link("xml")
    if not inline and not writer.open:
        writer.end_line()


READER = Reader(
    read_file=read_file, options=Options, inside=(".xml", ".dita", ".ditamap", ".dbk", ".docbook"), largest=LARGEST
)
