r"""A tree of Markdown files in, a Document a file out, with its links: notes, an Obsidian vault, documentation, books.

markdown-it-py reads CommonMark, tables, struck text and reference links; rules here add `[[wiki links]]`, footnotes,
comments, tags and what MDX adds. An id is a file's path without its suffix; what links call it: corpora/resolve.py.
Time and memory are bounded: 200,000 characters of any one mark take 2 s.
"""

from __future__ import annotations

import html
import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import normalize

from linkbert.corpora.reader import NO_TEXT, SEVERAL, Reader, Record, Skipped
from linkbert.corpora.readers.pages import (
    ADDRESSES,
    FACTS,
    LABEL,
    LARGEST,
    MOVED,
    SETTINGS,
    WITHIN,
    Options,
    Pages,
    id_of,
    read_said,
    read_text,
    survey,
)
from linkbert.corpora.readers.site import cut_out, is_exponent, mark_exponents, read_table, words
from linkbert.corpora.resolve import note_path, unquote
from linkbert.records import Document, Link, Redirect

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

INCLUDES = 3  # texts in texts that a page takes in
PIECE = 10_000  # characters of a paragraph that are read at once
BLOCK_NESTING, INLINE_NESTING = 100, 10  # of lists and quotes; of brackets
TAG = 2_000  # characters of a tag
NO_NOTE = "item of Joplin that is no note (left out)"
INDENTED = 30  # lines of a paragraph of MDX whose indentation is looked at

_NEW_LINE = words("br p div blockquote center hr li ul ol dl dt dd h1 h2 h3 h4 h5 h6 table tr td th summary details")
_SPACE = re.compile(r"[\t\n\r\f\v][ \t\n\r\f\v]*| [ \t\n\r\f\v]+")  # all but a single space, of which most are
_ITEM_MARK = re.compile(r"([A-Z]{2,}\s+)?\[(?:[ xX]|[^\w\[\]^]|#[A-Z])\]\s+")  # of a task, or its priority
_QUOTE_MARK = re.compile(r"\[![\w-]+\][+-]?[ \t]*")
_BLOCK_ID = re.compile(r"(?:\A|\s)\^([A-Za-z0-9-]+)\s*\Z")
_HEADING_ID = re.compile(r"\s*(?:\{(?:[^{}#]*\s)?#([^\s{}]+)[^{}]*\}|(?<=\s)\[#([\w.-]+)\])\s*\Z")  # or of Fumadocs
_WIKI = re.compile(r"!?\[\[([^\[\]|\n]{0,500})(?:\|([^\[\]\n]{0,500}))?\]\]")
_FOOTNOTE = re.compile(r"\[\^[^\[\]\s]{1,100}\](:?)")
_UNSEEN = re.compile(r"<!--|<(script|style|pre|svg|template)\b", re.IGNORECASE)
_MODULE = re.compile(r"(?:import|export)\s")
_IMPORT = re.compile(
    r"""import\s(?:[^\n;]{1,200}|\{[^{};]{1,1000}\}\s*)from\s+(?:'[^'\n]+'|"[^"\n]+");?[ ]*$"""
    r"|export\s+(?:const|default)\s",
    re.MULTILINE,
)
_PLAIN_ADDRESS = re.compile(r"[^<\x00-\x20\x7f()\\][^\x00-\x20\x7f()\\]*")
_MARKED = re.compile(r"[\\`~*_\[<&%{$#^@]|:[\w:]|==|\+\+|  \n")
_SIGNS = r"[\w.,+*()'−–-]{1,30}"
_PAIRED = re.compile(  # a named group is text, all else goes: CriticMarkup, what is inserted, sub- and superscripts
    r"\{(?:\+\+(?P<added>.{1,500}?)\+\+|==(?P<marked>.{1,500}?)==|~~.{0,500}?~>(?P<new>.{0,500}?)~~|--.{1,500}?--"
    r"|>>.{0,500}?<<)\}|(?<!\w)(\+\+|\^\^)(?P<inserted>[^\s+^](?:.{0,500}?[^\s+^])?)\4(?![\w+^])"
    rf"|~(?<=[^\W\d_]~|[)\]*]~)(?P<low>(?=[^~]*\d){_SIGNS}|{_SIGNS}(?=~\W|~\Z))~(?![\d~])"
    rf"|\^(?:(?<=[\w)\]]\^)(?P<high>{_SIGNS})\^(?![\w^])|(?<![\w)\]]\^)(?P<alone>{_SIGNS})\^(?!\^))",
    re.DOTALL,
)
_GRID = re.compile(r"\+(?:[-=:]{2,}\+)+[ \t]*$", re.MULTILINE)  # a line of one of Pandoc's tables
_PROPERTY = re.compile(r"[A-Za-z][\w./-]*::(?: |\Z)")
_TEMPLATE = re.compile(
    r"\{\{.*?\}\}+|\{%.*?%\}|\{::?[^{}\n]*\}|\{-\}|\{\*[^{}\n]*\*\}|\{!>?[ ]*[\w./-][^{}\n]*!\}"
    r"|\{[ ]*(?:[.#][A-Za-z_][^{}\n]*|[\w-]+=[^{}\n]*|data-[\w -]*)\}",
    re.DOTALL,
)
_ROLE = re.compile(r"\{([\w:.+-]+)\}`(?:([^`<>]{1,500}?)\s*<([^`<>]{1,500})>|([^`]{1,500}))`")  # of MyST
_COUNTED = {"fig": "Figure", "tbl": "Table", "eq": "Equation", "lst": "Listing", "thm": "Theorem"}
_NOTION = re.compile(r"[ _-][0-9a-f]{32}\Z")
_JOPLIN = re.compile(r"^id: [0-9a-f]{32}\n(?:[a-z_]+:.*\n){1,60}type_: (\d+)\s*\Z", re.MULTILINE)
_FIELDS = re.compile(r"\A(\s*# [^\n]*\n\s*\n)((?:[^\n:#]{1,80}: [^\n]*\n)+)(?=\s*\n|\Z)")
_OPTIONS = re.compile(r"^(::: [\w.]+[ \t]*\n)(?:[ \t]+\S.*\n)+", re.MULTILINE)  # of mkdocstrings
_DEFINED = re.compile(r"^ {0,3}\[([^\[\]\n]+)\]:", re.MULTILINE)
_NAMED_SO = re.compile(r"(?<![\]!\\])\[((?:`[^`\n]+`|[^\[\]`\n]){1,200})\]\[([\w.:-]*)\]")
_INCLUDE = re.compile(r"\{\{<\s*include\s+['\"]?([^\s'\"<>]+)['\"]?\s*>\}\}")
_NAME = rf"(?:sec|{'|'.join(_COUNTED)})-[\w-]*\w"
_REFERENCE = re.compile(  # of Quarto and bookdown; what is in no group is gone
    r"[ ]?\\@ref\(\w+:[\w:.-]+\)|\\index\{(?:[^{}\n]++|\{[^{}\n]*+\})*+\}|"
    rf"\[-?@({_NAME})\]|(?<![\w`])-?@({_NAME})|\\@ref\(([\w:.-]+)\)"
)
_ICON = re.compile(
    r":(?:material|octicons|fontawesome|simple|custom)-[\w-]+:|:(?<!\w:)[a-z][\w-]*\{[^{}\n]*\}"
)  # or of Nuxt
_HIGHLIGHT = re.compile(
    r"(?<![A-Za-z0-9=])==(?=[^\s=](?:.{0,500}?[^\s=])?==(?!=))|(?<=[^\s=])==(?![A-Za-z0-9=])", re.DOTALL
)
_FORMULA = re.compile(r"(?<![\\\w$])(?:\$\$(?!\$).+?(?<!\\)\$\$|\$(?![\s$])[^$\n]*?[^\s\\$]\$(?![\w$]))", re.DOTALL)
_TEX = re.compile(r"(\\\\?)(?:\((?!\s*\1\)).{1,2000}?(?<!\\)\1\)|\[.{1,2000}?(?<!\\)\1\](?!\())", re.DOTALL)
_ENVIRONMENT = re.compile(r"\\begin\{(\w+\*?)\}.{1,5000}?\\end\{\1\}", re.DOTALL)
_TEX_SIGN = re.compile(r"\^|\\[A-Za-z]|_\{|\b[A-Za-z]_\w\b")  # of a formula, where one backslash may as well escape
_PAGE_TAG = re.compile(r"(?<![^\s(,;>])#(?:\[\[([^\[\]\n]+)\]\]|([^\s#,;.!?()\[\]{}\"']+))")
_NAMED = re.compile(r"(?<![^\s(,;>])([#@])(\w[\w.-]*\w)")  # of Dendron, a page of tags.* or user.*
_SAID = re.compile(r"\[\[([^\[\]|\n]{1,500})(?:\|[^\[\]\n]*)?\]\]")
_ACTION = re.compile(r"""^[ \t-]*link:[ \t]*["']?(/[^\s"'#?]+)""", re.MULTILINE)  # of a home page's front matter
_BRACES = r"\{[^{}]*+\}"  # of an expression, some in others
for _ in range(7):
    _BRACES = rf"\{{(?:[^{{}}]++|{_BRACES})*+\}}"
_TAG = re.compile(rf"""
    </? ([A-Za-z][\w.:-]*) ((?: [^<>"'{{}}] | "[^"]*" | '[^']*' | {_BRACES} )*+) >
    | <[!?][A-Za-z][^<>]*> | </?>""", re.VERBOSE)  # fmt: skip
_ATTRIBUTE = re.compile(
    r"""(?<![\w:.-])((?i:href)|to|id|name)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>{}]+)|\{[^{}"'`]*["'`]([^{}"'`]+)["'`][^{}]*\})"""
)
_COMMENT, _EXPRESSION = (
    re.compile(r"%%.+?%%", re.DOTALL),
    re.compile(rf"\{{/\*.*?\*/\}}|\{{`[^`]*`\}}|{_BRACES}", re.DOTALL),
)
_MARKS = {  # inside a block, by how they start, and what they are: "" is dropped
    "[": ((_WIKI, "wiki"), (_FOOTNOTE, "")),
    "!": ((_WIKI, "wiki"),),
    "<": ((re.compile(r"<%.*?%>", re.DOTALL), ""), (_TAG, "tag")),
    "%": ((_COMMENT, ""),),
    "{": ((_ROLE, "role"), (_TEMPLATE, ""), (_EXPRESSION, "")),
    ":": ((_ICON, ""),),
    "=": ((_HIGHLIGHT, ""),),
    "$": ((_FORMULA, "text"),),
    "#": ((_NAMED, "named"), (_PAGE_TAG, "wiki")),
    "@": ((_NAMED, "named"),),
}


def read_file(name: str, data: bytes, pages: Pages, skipped: Skipped) -> Iterator[Record]:
    """Read a file: a Document, if there is text in it."""
    path, id_ = PurePosixPath(normalize("NFC", name)), id_of(name)
    mdx = path.suffix.lower() == ".mdx" or pages.dialect.name == "docusaurus"  # which reads .md so, too
    source = read_text(name, data, skipped)
    if "\ntype_: " in source[-40:] and (item := _JOPLIN.search(source)):
        if item[1] != "1":
            skipped[NO_NOTE] += 1
            return
        title, _, source = source[: item.start()].partition("\n")
        source = "# " + re.sub(r"([^\w\s])", r"\\\1", title) + f"\n{source}"
    page = read_page(source, id_, mdx=mdx, pages=pages)
    if not page.text and (to := pages.find_address(page.moved, id_) if page.moved else None):
        yield Redirect(id_, *to)
    elif not page.text:
        skipped.note(NO_TEXT, name, id_)
    for choice in pages.chosen:
        skipped.note(SEVERAL, f"{name}: {choice}")
    pages.chosen.clear()
    if page.text:
        stem = unquote(path.stem).replace("___", "/") if pages.dialect.outline else path.stem
        stem = unquote(stem.replace("-", " ")) if "%2D" in stem else stem  # of Azure DevOps
        yield Document(id_, page.title or stem, page.text, page.links, sections=page.sections)
        yield from (Redirect(name, id_) for name in pages.names_of(id_, page.names))


class Page(NamedTuple):
    """What a file says; `title` is "" where neither front matter nor a heading gives one."""

    title: str
    text: str
    links: tuple[Link, ...]
    sections: tuple[tuple[str, int], ...]
    names: tuple[str, ...] = ()  # its title, and what it says that it is called besides; from "/": addresses
    moved: str = ""  # the address of the page that is there for it


def read_page(source: str, id_: str, *, mdx: bool = False, pages: Pages | None = None) -> Page:
    r"""Read a file's text; `id_` is its path without the suffix, from which its links start; they lead to `pages`.

    >>> page = read_page("# Oak\n\nA *tall* [tree](../index.md#what), see [[Acorn|its fruit]]. ^a1", "trees/Oak")
    >>> page.title, page.text, page.sections
    ('Oak', 'A tall tree, see its fruit.', (('^a1', 0),))
    >>> page.links
    (Link(start=7, end=11, target='index', fragment='what'), Link(start=17, end=26, target='[[acorn]]', fragment=''))
    """
    said, start = read_said(source)
    env: dict[str, Any] = {"mdx": mdx, "unclosed": set(), "id": id_, "pages": pages or Pages()}
    parse, head, source = _make_parser(BLOCK_NESTING, mdx).parse, source[:start], source[start:]
    if pages and pages.dialect.name == "myst":
        source = LABEL.sub(_put_label, re.sub("(?m)^%.*$", "", source))
    if pages and pages.dialect.name == "quarto":
        source = _put_included(source, id_, pages)
        source = _REFERENCE.sub(lambda found: f"[](#{found[found.lastindex]})" if found.lastindex else "", source)
    if pages and pages.dialect.outline:
        source = _EMPTY.sub(r"\1 <i></i>", source)
    if pages and pages.dialect.name == "mkdocs":
        source = _put_references(_OPTIONS.sub("", source))
    if ".docc/" in id_:
        source = _DOCC.sub("", source)
    if _NOTION.search(id_):
        source = _FIELDS.sub(_put_fields, source, count=1)
    source = to_commonmark(source)
    tokens = parse(source, env)
    if any(token.level >= BLOCK_NESTING - 1 for token in tokens):  # what is inside is lost: as flat as it needs
        tokens = parse(_DEEP.sub(lambda marks: "> " if ">" in marks[0] else "- ", source), env)
    writer = Writer()
    leads, heading = _write_blocks(tokens, env, writer)
    _add_said(said, head, env, writer)
    title = (heading if leads else "") or next((value for key, value in said if key == "title"), heading)
    names = [name for key, name in said if key not in ADDRESSES + FACTS or (name[0] == "/" and key not in MOVED)]
    moved = next((name for key, name in said if key in MOVED), "")
    return Page(title, *writer.finish(title), (*[title] * bool(title), *names), moved)


def _put_references(source: str) -> str:
    """Write references of autorefs, "[shown][module.Class]", as links, but those that the page itself defines."""
    own = {name.casefold() for name in _DEFINED.findall(source)}

    def put(found: re.Match[str]) -> str:
        name = found[2] or found[1].strip("`")
        return found[0] if name.casefold() in own else f"[{found[1]}](<xref:{name}>)"

    return _NAMED_SO.sub(put, source) if "][" in source else source


def _put_fields(found: re.Match[str]) -> str:
    """Write the fields below the title of a page of Notion as properties, which are no text, but for their links."""
    rows = (line.partition(": ") for line in found[2].strip("\n").split("\n"))
    links = lambda value: _RELATION.sub(r"[\1](<\2>)", value)  # noqa: E731
    return found[1] + "".join(f"field:: {links(value)}\\\n" for _, _, value in rows) + "\n"


def _put_included(source: str, id_: str, pages: Pages) -> str:
    """Put the texts that a page takes in where it names them, from its own folder or behind "/" from the top."""
    room = LARGEST

    def put(found: re.Match[str]) -> str:
        nonlocal room
        room -= len(text := pages.included.get(note_path(found[1], id_.rpartition("/")[0]), ""))
        return text if room > 0 else ""

    for _ in range(INCLUDES if "{{< include" in source else 0):  # in each other
        source = _INCLUDE.sub(put, source)
    return source


def _add_said(said: list[tuple[str, str]], head: str, env: dict[str, Any], writer: Writer) -> None:
    """Add links of front matter and tags to pages that are there, without a place, if the text has none to them."""
    pages, known = env["pages"], {link.target for link in writer.links}
    tags = pages.dialect.tags
    names = [f"{tags}{name}" for key, name in said if key == "tags"] if tags is not None else []
    found = [pages.find_name(name, env["id"]) for name in (*names, *(n.partition("#")[0] for n in _SAID.findall(head)))]
    found += [pages.find_path(unquote(path), env["id"]) or "" for path in _ACTION.findall(head)]
    for page in found:
        if page and page not in known:
            writer.links.append(Link(-1, -1, page))
            known.add(page)


@dataclass(slots=True)
class Writer:
    """The text of a page as far as it is written, a line a block, with its links and sections."""

    parts: list[str] = field(default_factory=list)
    size: int = 0  # characters of all parts
    blank: bool = True  # a line starts, or the last character is a space
    line: int = 0  # where this line starts, and the one before
    last_line: int = 0
    hidden: int = 0  # tables and footnotes around: their text is dropped
    links: list[Link] = field(default_factory=list)
    sections: list[tuple[str, int]] = field(default_factory=list)
    # Links that are open: what opened it, its first part, target.
    open: list[tuple[str, int, tuple[str, str] | None]] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add text to the line, white space folded."""
        text = "" if self.hidden else _SPACE.sub(" ", text)
        if self.blank:
            text = text.lstrip(" ")
        if text:
            self.parts.append(text)
            self.size += len(text)
            self.blank = text[-1] == " "

    def end_line(self) -> None:
        """End the line, if there is text in it."""
        if self.blank and self.size > self.line:
            self.parts[-1] = self.parts[-1][:-1]
            self.size -= 1
        if self.size > self.line:
            self.parts.append("\n")
            self.size += 1
            self.last_line = self.line
        self.line, self.blank = self.size, True

    def break_line(self, breaks: bool) -> None:
        """End the line, or in a link or where no line `breaks` add a space."""
        if breaks and not self.open:
            self.end_line()
        else:
            self.add(" ")

    def open_link(self, kind: str, target: tuple[str, str] | None) -> None:
        """Start a link of a kind, which close_link ends."""
        if kind == "tag":
            self.close_link(kind)  # a link of HTML holds no other: a forgotten end
        self.open.append((kind, len(self.parts), target))

    def close_link(self, kind: str) -> None:
        """End the link that was opened last; those of tags in it, or all of them (kind ""), never end: no place."""
        while self.open and (self.open[-1][0] == kind or kind != "tag"):
            opened, first, target = self.open.pop()
            shown = "".join(self.parts[first:]) if opened == kind else ""
            start = self.size - len(shown.lstrip(" "))
            end = start + len(shown.strip(" "))
            if target and target[0]:
                self.links.append(Link(start, end, *target) if start < end else Link(-1, -1, *target))
            if opened == kind:
                break

    def link(self, target: tuple[str, str] | None, shown: str) -> None:
        """Write a link that shows this."""
        self.open_link("whole", target)
        self.add(shown)
        self.close_link("whole")

    def finish(self, title: str) -> tuple[str, tuple[Link, ...], tuple[tuple[str, int], ...]]:
        """Return text, links and sections; a first line that is the title is no part of the text."""
        text = "".join(self.parts).removesuffix("\n")
        cut = len(title) + 1 if title and f"{text}\n".startswith(f"{title}\n") else 0
        text, links = text[cut:], []
        for link in self.links:
            start, end = (link.start - cut, link.end - cut) if link.start >= cut else (-1, -1)
            links.append(Link(start, end, link.target, link.fragment))
        return text, tuple(links), tuple((name, min(max(at - cut, 0), len(text))) for name, at in self.sections)


def _write_blocks(tokens: list[Token], env: dict[str, Any], writer: Writer) -> tuple[bool, str]:
    """Write the text of all blocks; return whether a heading of the first level leads it, and the first, or ""."""
    leads, heading = False, ""
    for i, token in enumerate(tokens):
        kind, _, side = token.type.rpartition("_")
        if kind in ("footnote", "table"):
            writer.hidden += 1 if side == "open" else -1
        elif token.type == "inline" and token.content.replace("&nbsp;", " ").strip():
            before = tokens[i - 1].type
            content = _take_marks(token.content, tokens[max(i - 2, 0)].type, before, writer)
            _write_inline(content, env, writer, breaks=before == "paragraph_open")
            if tokens[i - 1].tag == "h1" and not heading and writer.size > writer.line:
                leads, heading = not writer.line, "".join(writer.parts)[writer.line :].strip(" ")
            writer.end_line()
    return leads, heading


def _take_marks(content: str, around: str, before: str, writer: Writer) -> str:
    """Take from a block's source the marks that are no words: of tasks and callouts, and its name."""
    if around == "list_item_open" and (mark := _ITEM_MARK.match(content)):
        content = (mark[1] or "") + content[mark.end() :]
    elif around == "blockquote_open" and (mark := _QUOTE_MARK.match(content)):
        content = content[mark.end() :].replace("\n", "\\\n", 1)  # the title is a line of its own
    pattern, sign = (_HEADING_ID, "") if before == "heading_open" else (_BLOCK_ID, "^")
    if found := pattern.search(content, max(len(content) - 200, 0)):
        content = content[: found.start()]
        name = next(filter(None, found.groups()))
        writer.sections.append((sign + name, writer.line if content else writer.last_line))
    return content


def _write_inline(content: str, env: dict[str, Any], writer: Writer, *, breaks: bool) -> None:
    """Write a block's text; `breaks`: its line breaks stay."""
    parser, pages, page = _make_parser(INLINE_NESTING), env["pages"], env["id"]
    around = writer.hidden
    for piece in pieces(content):
        if not _MARKED.search(piece):  # most blocks: nothing for a parser to find
            writer.add(piece)
            continue
        line_starts = True
        for token in parser.inline.parse(piece, parser, env, []):
            if line_starts and token.type == "text" and _PROPERTY.match(token.content):
                writer.hidden += 1  # up to the end of its line
            starts, line_starts = line_starts, token.type in ("softbreak", "hardbreak")
            if line_starts:
                writer.hidden = around
            match token.type:
                case "text" if pages.shown and writer.open and token.content[:8] == "project:":
                    pass  # an address in "<>"
                case "text" if writer.open and (found := _TITLE.match(token.content)):
                    there = (writer.open[-1][2] or ("",))[0]
                    writer.add(pages.titles.get(there) or (found[1] or "").replace("-", " ") or found[2] or "")
                case "text" | "text_special" | "code_inline":
                    writer.add(token.content)
                case "softbreak":
                    writer.add(" ")
                case "hardbreak":
                    writer.break_line(breaks)
                case "image":
                    seen = True
                case "link_open":
                    seen = False
                    address = str(token.attrs["href"])
                    writer.open_link("link", pages.find_address(address, page))
                case "link_close":
                    untold = not seen and bool(writer.open) and writer.open[-1][1] == len(writer.parts)
                    there, name = (writer.open[-1][2] if untold else None) or ("", unquote(address.lstrip("#")))
                    if untold and pages.dialect.name == "writerside":  # which shows the title, as MyST does
                        writer.add(pages.titles.get(there, ""))
                    elif untold and pages.shown:
                        kind = _COUNTED.get(name.partition("-")[0], "")
                        writer.add(pages.shown.get(name, pages.shown.get(there, kind)))
                    writer.close_link("link")
                case "paired_open" | "paired_close":
                    around += token.nesting * token.hidden
                    writer.hidden = around
                case "wiki" if found := _WIKI.fullmatch(token.content):
                    to, shown = pages.find_note(found[1], page, found[2] or "")
                    writer.link(to, "" if token.content[0] == "!" else shown)  # that one is embedded
                case "role":
                    _write_role(token.content, writer, pages, page)
                case "named":
                    writer.link(pages.find_note(_name_of(token.content), page)[0], token.content[1:])
                case "tag":
                    _write_tag(token.content, writer, breaks, env, starts=starts)
        writer.hidden = around
    writer.close_link("")


def _write_role(source: str, writer: Writer, pages: Pages, page: str) -> None:
    """Write a role of MyST, "{doc}`shown <a>`": a link where it refers to a page or a label, its text otherwise."""
    role, shown, *given = _ROLE.fullmatch(source).groups("")  # type: ignore[union-attr]
    name, role = "".join(given), role.rpartition(":")[2]
    target = pages.find_address(name, page) if role == "doc" else pages.find_label(name, page)
    if role == "doc" or (target and target[0] != page and role in ("ref", "numref", "any")):
        writer.link(target, shown or pages.shown.get(name, pages.shown.get(target[0] if target else "", name)))
    else:
        writer.add(shown or pages.shown.get(name, name) if role in ("ref", "numref") else shown or name.lstrip("~!"))


def pieces(text: str, size: int = PIECE) -> Iterator[str]:
    """Cut a paragraph into pieces that are read alone, at ends of lines, sentences or words."""
    start = 0
    while len(text) - start > size:
        stop = start + size
        ends = (text.rfind(mark, start, stop) + 1 for mark in ("\n", ". ", " "))
        stop = next((end for end in ends if end > start), stop)
        yield text[start:stop]
        start = stop
    yield text[start:]


def _write_tag(source: str, writer: Writer, breaks: bool, env: dict[str, Any], *, starts: bool) -> None:
    found = _TAG.fullmatch(source)
    if not found or not found[1]:
        return
    attributes = {name.lower(): "".join(values) for name, *values in _ATTRIBUTE.findall(found[2])}
    name, ends, address = found[1], source[1] == "/", attributes.get("href") or attributes.get("to")
    if name.lower() in _NEW_LINE or (starts and env["mdx"] and name[0].isupper() and not address):
        writer.break_line(breaks)
    elif name in ("a", "A", "Link") and ends:
        writer.close_link("tag")
    elif address and (name in ("a", "A", "Link") or (env["mdx"] and name[0].isupper())):  # such as a card
        writer.open_link("tag", env["pages"].find_address(address, env["id"]))
        if source[-2] == "/":
            writer.close_link("tag")
    writer.sections += [(attributes[key], writer.size) for key in ("id", "name") if attributes.get(key)]


@cache
def _make_parser(nesting: int, mdx: bool = False) -> MarkdownIt:
    """Make a parser of CommonMark with our rules; addresses stay as they are written. MDX has no indented code."""
    from markdown_it import MarkdownIt

    parser: Any = MarkdownIt("commonmark", {"maxNesting": nesting})
    parser.enable(["table", "strikethrough"]).disable(["html_block", "html_inline", *["code"] * mdx])
    parser.core.ruler.enableOnly(["normalize", "block"])  # the inside of blocks is read when they are written
    rules = dict(zip(parser.block.ruler.get_active_rules(), parser.block.ruler.getRules(""), strict=True))
    for name in ("list", "lheading", "paragraph") if mdx else ():
        others = ["paragraph", "reference", "blockquote"] * (name == "list")
        parser.block.ruler.at(name, partial(_indented, rules[name]), {"alt": others})
    interrupts = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("reference", "footnote", _footnote_rule, interrupts)
    parser.block.ruler.before("reference", "unseen", _unseen_rule, interrupts)
    parser.block.ruler.before("reference", "grid", _grid_rule, interrupts)
    parser.block.ruler.before("reference", "module", _module_rule)
    parser.inline.ruler.before("escape", "formula", _formula_rule)
    parser.inline.ruler.before("strikethrough", "paired", _paired_rule)
    parser.inline.ruler.push("marks", _marks_rule)  # after links: [[1]](x) is one
    parser.normalizeLink = parser.normalizeLinkText = str
    parser.validateLink = lambda _: True
    parser.helpers = SimpleNamespace(**vars(parser.helpers) | {"parseLinkDestination": _parse_destination})
    return parser


def _indented(rule: Any, state: StateBlock, line: int, stop: int, silent: bool) -> bool:
    """Apply a rule as if elements around did not indent its lines: in MDX a list may stand anywhere in a line.

    Where nothing is indented by more than three, nothing changes. Of a paragraph INDENTED lines are looked at.
    """
    around, last = (state.blkIndent, state.listIndent), min(stop, line + INDENTED)
    last = next((each for each in range(line + 1, last) if state.isEmpty(each)), last)
    deep = state.sCount[line] if rule.__name__ == "list_block" else max(state.sCount[line + 1 : last], default=0) - 3
    state.blkIndent, state.listIndent = max(around[0], deep * (not silent)), -1
    found: bool = rule(state, line, stop, silent)
    state.blkIndent, state.listIndent = around
    return found


def _parse_destination(text: str, start: int, stop: int) -> Any:
    """Return where a link's address ends, as markdown-it-py does, which looks at each character."""
    from markdown_it.common.utils import unescapeAll
    from markdown_it.helpers import parseLinkDestination

    found = _PLAIN_ADDRESS.match(text, start, stop)
    if not found or (text[found.end() : found.end() + 1] in ("(", "\\") and found.end() < stop):
        return parseLinkDestination(text, start, stop)
    return SimpleNamespace(ok=True, pos=found.end(), str=unescapeAll(found[0]))


def _formula_rule(state: StateInline, silent: bool) -> bool:
    r"""Find a formula between \( and \) or \[ and \], with one backslash or two."""
    whole = _ENVIRONMENT.match(state.src, state.pos, state.posMax)
    found = whole or _TEX.match(state.src, state.pos, state.posMax)
    if not found or (not whole and len(found[1]) == 1 and not _TEX_SIGN.search(found[0], 2, len(found[0]) - 2)):
        return False
    if not silent:
        state.push("text", "", 0).content = found[0]
    state.pos = found.end()
    return True


def _paired_rule(state: StateInline, silent: bool) -> bool:
    """Find a pair of marks that CommonMark does not know, or a note in the text, which is no text.

    A number on a number keeps a mark: "10^6^" is "10^6".
    """
    start = state.pos
    found = _PAIRED.match(state.src, start, state.posMax) if state.src[start] in "{+^~" else None
    end = state.md.helpers.parseLinkLabel(state, start + 1) if state.src.startswith("^[", start) else -1
    note = end >= 0 and state.src[end + 1 : end + 2] not in ("(", "[")
    if not found and not note:
        return False
    kind, inside = (found.lastgroup, found.span(found.lastgroup or 0)) if found else ("note", (start + 2, end))
    if kind and not silent:
        stop = state.posMax
        raised = state.src[slice(*inside)] if kind == "high" else ""
        state.pending += "^" * is_exponent(state.src[max(start - 1, 0) : start], raised)
        state.push("paired_open", "", 1).hidden = note
        state.pos, state.posMax = inside
        state.md.inline.tokenize(state)
        state.posMax = stop
        state.push("paired_close", "", -1).hidden = note
    state.pos = found.end() if found else end + 1
    return True


def _marks_rule(state: StateInline, silent: bool) -> bool:
    """Find inside a block what CommonMark does not know: wiki links, tags, and what is dropped."""
    start, stop = state.pos, min(state.pos + TAG, state.posMax)
    mark = state.src[start]
    unseen = _UNSEEN.match(state.src, start, stop) if mark == "<" else None
    if unseen and (end := _end_of(unseen, state.src, state.posMax)) > 0:
        state.pos = end
        return True
    for pattern, kind in _MARKS.get(mark, ()):
        pages = state.env["pages"]
        wanted = state.env["mdx"] if pattern is _EXPRESSION else pattern is not _PAGE_TAG or pages.dialect.outline
        found = pattern.match(state.src, start, stop) if wanted else None
        if found and (kind != "named" or (pages.dialect.tags and pages.find_name(_name_of(found[0]), state.env["id"]))):
            if kind and not silent:
                state.push(kind, "", 0).content = f"[[{found[1] or found[2]}]]" if pattern is _PAGE_TAG else found[0]
            state.pos = found.end()
            return True
    return False


def _name_of(tag: str) -> str:
    return f"{'user' if tag[0] == '@' else 'tags'}.{tag[1:]}"


def _end_of(unseen: re.Match[str], source: str, stop: int) -> int:
    """Return where a comment or an element ends whose inside is not seen; -1 where it does not."""
    at = source.find(f"</{unseen[1]}" if unseen[1] else "-->", unseen.end(), stop)
    return source.find(">", at, stop) + 1 or -1 if at >= 0 else -1


def _unseen_rule(state: StateBlock, line: int, stop: int, silent: bool) -> bool:
    """Drop a comment or an element whose inside is not seen, if it has lines of its own (blank ones among them)."""
    unseen = _UNSEEN.match(state.src, state.bMarks[line] + state.tShift[line], state.eMarks[line])
    if not unseen or unseen[0] in state.env["unclosed"]:
        return False
    end = _end_of(unseen, state.src, len(state.src))
    if end < 0:
        state.env["unclosed"].add(unseen[0])  # nor does a later one end
    last = bisect_left(state.eMarks, end, line, stop)
    rest = state.src[end : state.eMarks[last]].strip() if last < stop else ""
    if last >= stop or (end <= state.eMarks[line] and (end < 0 or rest)):
        return False
    if not silent:
        if rest:
            _push_inline(state, rest)
        state.line = last + 1
    return True


def _footnote_rule(state: StateBlock, line: int, stop: int, silent: bool) -> bool:
    """Take a footnote: up to a blank line after which nothing is indented, or to another block."""
    found = _FOOTNOTE.match(state.src, state.bMarks[line] + state.tShift[line], state.eMarks[line])
    if not found or not found[1] or state.is_code_block(line):
        return False
    if silent:
        return True
    others = state.md.block.ruler.getRules("paragraph")
    end = line + 1
    while end < stop:
        if state.isEmpty(end):
            if end + 1 == stop or state.isEmpty(end + 1) or state.sCount[end + 1] < state.blkIndent + 4:
                break
        elif state.sCount[end] < state.blkIndent + 4 and any(rule(state, end, stop, True) for rule in others):
            break
        end += 1
    state.push("footnote_open", "", 1)
    _push_inline(state, state.src[found.end() : state.eMarks[end - 1]])
    state.push("footnote_close", "", -1)
    state.line = end
    return True


def _grid_rule(state: StateBlock, line: int, stop: int, silent: bool) -> bool:
    """Take a grid table of Pandoc, whose links have no place, as those of other tables."""
    end, start = line, state.bMarks[line] + state.tShift[line]
    if state.src[start : start + 2] not in ("+-", "+=") or not _GRID.match(state.src, start, state.eMarks[line]):
        return False
    while end < stop and not state.isEmpty(end) and state.src[state.bMarks[end] + state.tShift[end]] in "+|":
        end += 1
    if not silent:
        state.push("table_open", "", 1)
        _push_inline(state, re.sub(r"[|+]", " ", state.src[state.bMarks[line] : state.eMarks[end - 1]]))
        state.push("table_close", "", -1)
        state.line = end
    return True


def _module_rule(state: StateBlock, line: int, stop: int, silent: bool) -> bool:
    """Drop MDX's lines of import and export, up to a blank line; in other files only what cannot be a sentence."""
    module = _MODULE if state.env["mdx"] else _IMPORT
    if state.level or silent or not module.match(state.src, state.bMarks[line]):
        return False
    while line < stop and not state.isEmpty(line):
        line += 1
    state.line = line
    return True


def _push_inline(state: StateBlock, content: str) -> None:
    token = state.push("inline", "", 0)
    token.content, token.children = content, []


# ---- what tools add

# A source is changed by lines and by marks before it is parsed, code too (which is dropped anyway). What can only be
# told from code spans, such as "{{ x }}", the rules above take out.
_LINK = re.compile(  # a place for an address, and one that has marks of templates in it
    r"""(\]\(\s*|^\[[^\]\n]+\]:[ ]*(?:\n[ ]*)?|(?:href|src|to)=["']?)"""
    r"""<?([^\s<>(){}"']{0,500}(?:(?:\{\{.{0,300}?\}\}|\{%.{0,300}?%\})[^\s<>(){}"']*)+)>?""",
    re.MULTILINE,
)
_PIECE = re.compile(r"\{[{%].*?[%}]\}+")
_CALL = re.compile(
    r"""\{[{%][<%-]?\s*(\w[\w.]*)?\s*(?:lang="[^"]*"\s+)?(?:path=)?(?:"([^"]*)"|'([^']*)'|`([^`]*)`|["'`]?((?:[^\s"'`|%>}]|%[0-9A-Fa-f]{2})*))"""
)
_BASE = re.compile(r"base_?url|site\.url|root|base\b|relative")
_CODE = re.compile(
    r"\{[{%][<%-]?\s*+(/|end)?\s*+(highlight|code-toggle|code|mermaid|comment|tab(?=\s*[>%]|[^}\n]*\blang=))\b[^}\n]{0,300}\}{1,2}",
    re.IGNORECASE,
)
_ADMONITION = re.compile(
    r'( *(?:(?:[-*+]|\d{1,9}[.)]) +)?)(?:(?:!!!|\?\?\?\+?)[ ]++[\w -]*+(?:"(.*)")?|===[!+]*+[ ]++"(.*)")\s*+$'
)
_INDENTED = ("!!! ", "???", '=== "', "===!", "===+")
_OUTLINE = re.compile(r"#(?:(?<=^#)|(?<=^- #)).*\n[ \t]+[-*+] ", re.MULTILINE)  # fast: it starts with a letter
_ITEM = re.compile(r"[ \t]+[-*+] ")
_DEEP = re.compile(r"^(?=[ \t>*+-]{40})[ \t]*(?:(?:>|[*+-](?=[ \t])|\d{1,9}[.)](?=[ \t]))[ \t]*)+", re.MULTILINE)
_LINES = re.compile(  # whole lines: colons of a directive and its title, or marks that are no text
    r"^[ \t]*:{3,}+[ \t]*+(?:\{[ ]*[.#](?:title=\"(?P<said>[^\"\n]*)\"|\"[^\"\n]*\"|[^{}\"\n])*+\}|\{?[\w.-]++\}?)?+"
    r"(?:\[(?P<label>[^\]\n]*)\]|(?P<title>[^\n{:]++))?(?:\{.*)?$"
    r"|^[ \t]*(?:\*\[[^\]\n]+\]:.*|;?-{1,2}8<-{1,2}.*|<<<[ ]*[@./].*|\[?\[_?TOC_?\]\]?)$"
    r"|^[ \t]*/{3,}(?:[ ]*[\w-]+[ ]*\|(?P<block>.*)|.*)$|^[ \t]*::(?:[\w-]+(?:\{.*\})?)?[ \t]*$|^[?!]>[ ](?P<tip>.*)$",
    re.MULTILINE | re.IGNORECASE,
)
WORDS = {kind: words(names) for kind, names in read_table("rst.toml").items()}
_PROSE, _UNSAID, _HIDDEN = WORDS["prose"] | WORDS["unsaid"], WORDS["unsaid"], WORDS["hidden"]
_CARD = re.compile(r":link:[ \t]+([^\s\"<>]+)")  # an option: where a card leads to
_DIRECTIVE = re.compile(  # of MyST
    r"^([ \t]*)([`~:]{3,})\{([\w:-]+)\}[ ]*(.*)\n((?:[ \t]*:[\w-]+:.*\n)*)((?:.*\n){0,2000}?)\1\2[ ]*$", re.MULTILINE
)
_SHORTCODE = re.compile(
    r"""\{\{[<%]\s*([\w./-]+)\s(?:[^{}"]|"[^"]*"){0,300}?\b(?:href|link|url|term_id|text)="[^"{}]+"[^{}]{0,300}[>%]\}\}"""
)
_MACRO = re.compile(r"\{\{\s*(\w+)\(([^{}]{0,300}?)\)\s*\}\}")
_ARGUMENT = re.compile(r"""\"([^\"]*)\"|'([^']*)'|([^\s,\"']+)""")
MACROS: dict[str, list[str]] = read_table("macros.toml")
_KRAMDOWN = re.compile(r"(?P<comment>\{::)comment\}")
_H1 = re.compile(
    r"^ {0,3}<h1(?:\s[^<>]*)?>((?:(?!<h1|</h1).){1,1000})</h1>[ \t]*$", re.MULTILINE | re.DOTALL | re.IGNORECASE
)
_DEFINITION = re.compile(r"^( {0,3}):(?=[ \t]+\S)", re.MULTILINE)
_TOC = re.compile(r"^ {0,3}(?:[-*+]|\d+\.) .*\n[ ]*\{:[^{}\n]*\btoc\b[^{}\n]*\}", re.MULTILINE)
_ORG = re.compile(  # what Logseq has of Org mode: marks, but code and queries as a whole
    r"^([ \t]*(?:- )?)(?::LOGBOOK:.*?:END:|(?:SCHEDULED|DEADLINE): <[^<>\n]*>"
    r"|#\+BEGIN_(SRC|EXAMPLE|QUERY|EXPORT)\b.*?#\+END_\2|#\+(?:BEGIN|END)_\w+.*?)[ \t]*$",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_SPAN = re.compile(r"(?<![\]!\\])\[([^\[\]\n]+)\]\{[ ]*[.#][^{}\n]*\}")  # of Pandoc
_EMPTY = re.compile(r"^([ \t]+-)[ \t]*$", re.MULTILINE)  # of an outline, where it underlines nothing
_DOCFX = re.compile(
    r"\[!(?:code(?:-[\w+#-]+)?|include)\s*\[[^\]\n]*\]\([^()\n]*\)\]|\[!video [^\]\n]*\]"
    r"|^[ \t]*@\[\w[^\]\n]*\]\([^()\n]*\)[ \t]*$",  # code and videos of VuePress
    re.IGNORECASE | re.MULTILINE,
)
_BOLD = re.compile(  # beside a letter of a script without spaces, as kramdown and others read it
    r"\*\*(?=\S)([^*\n]{1,300}[^\w\s*])\*\*(?=[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])"
    r"|(?<=[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])\*\*(?=[^\w\s*])([^*\n]{1,300})(?<=\S)\*\*"
)
_SIZE = re.compile(r"(?<=\S)[ ]+=\d*%?(?:x\d*%?)?(?=\))")  # of an image, of Wiki.js, Azure DevOps, HedgeDoc
_PERCENT = re.compile(r"^%%(?!%)(?!.*%%)|%%[ \t]*$", re.MULTILINE)  # of a comment of Obsidian that holds blocks
_SHAPE = re.compile(r"=\{\s*(?:<>\s*)?<svg\b(?:(?!<svg\b).)*?</svg>\s*(?:</>\s*)?\}", re.DOTALL)  # of MDX
_CLOZE = re.compile(r"\{\{cloze\s+([^{}\n]*)\}\}")
_TITLE = re.compile(r"AUTOTITLE\Z|doc:(?:\S*/)?(\S+)\Z|xref:(?:\S*[./])?(\S+)\Z")  # where a link shows that of its page
_DOCC = re.compile(  # directives of DocC: what they enclose is text, but for @Metadata
    r"^[ \t]*(?:@Metadata\s*\{.{0,3000}?^[ \t]*\}|@[A-Z]\w*(?:\([^()\n]*\))?\s*\{?|\})[ \t]*$", re.MULTILINE | re.DOTALL
)
_AT_ID = re.compile(r"\[([^\[\]\n]+)\]\(@id[ ]*([\w:.-]*)\)")  # of Documenter.jl
_AT_REF = re.compile(r"(?<!!)\[((?:`[^`\n]*`|[^\[\]\n`])+)\]\(@(?:ref|extref)[ ]*([^()\n]*(?:\([^()\n]*\))?)\)")
_README = re.compile(r"^\[block:([\w-]+)\]\s*(\{(?:(?!\[/?block\b).)*\})\s*\[/block\][ \t]*$", re.MULTILINE | re.DOTALL)
_RELATION = re.compile(r"([^,()\n][^()\n]*?) \(([^()\s]+\.(?:md|csv))\)")  # of Notion
_NOTE_ADDRESS = re.compile(r"\]\((\[\[[^\[\]\n]+\]\])\)")
_ORDER = re.compile(r'\[\[!\w(?:[^\[\]"]++|"[^"]{0,500}"|\[\[[^\[\]\n]{0,200}\]\]){0,40}+\]\]')  # of ikiwiki
_BLOCK = re.compile(r"(?<!\]\()\(\(([0-9a-f]{8}-[0-9a-f-]{27})\)\)")
_ROW = re.compile(r"^[ ]{0,3}\|.*\[\[.*", re.MULTILINE)
_CELL_LINK = re.compile(r"(\[\[[^\[\]|\n\\]+)\|(?=[^\[\]|\n]*\]\])")
_SPREAD = re.compile(
    r"<[A-Za-z][\w.:-]*+(?=\s[^<>]*=)(?:[^<>\n]|\n(?![ \t]*\n))*\n[ \t]*/?>"
)  # a tag whose end has a line of its own
_LONE = re.compile(r"\n[ \t]*>")
_FENCE = re.compile(r"(?<=>)\n(?=[ ]{4,}(?:```|~~~))")
_POST_LINK = re.compile(  # of Hexo
    r"""(?<!%\})\{% *post_link +([^\s%]+)(?: +["']([^"'\n]*)["']| +([^%\n]*?))??(?: +(?:true|false))? *%\}"""
)
_EMBED = re.compile(r"\{\{(?:embed|\[\[embed\]\]):? *!?(\[\[[^\[\]\n]*\]\]) *\}\}")


def to_commonmark(source: str) -> str:
    r"""Write the text of a page without what tools add.

    >>> to_commonmark('!!! note "Mind"\n    the [gap]({{< relref "gap" >}})')
    'Mind\n\nthe [gap](gap.md)'
    """
    for _ in range(8 if any(f"{mark}{{" in source for mark in ("```", ":::", "~~~")) else 0):  # in each other
        source, before = _DIRECTIVE.sub(_put_body, source), source
        if source == before:
            break
    source = cut_out(source, _KRAMDOWN, "")
    if "{{cloze" in source:
        source = _CLOZE.sub(r"\1", source)
    if "{{" in source and ")" in source:
        source = _MACRO.sub(_put_macro, source)
    if "{{" in source or "{%" in source:
        source = _POST_LINK.sub(lambda post: f"[{post[2] or post[3] or post[1]}]([[{post[1]}]])", _without_code(source))
        source = _SHORTCODE.sub(_put_shortcode, _EMBED.sub(r"!\1", _LINK.sub(_put_address, source)))
    if "<h1" in source or "<H1" in source:
        source = _H1.sub(lambda found: f"\n# {' '.join(found[1].split())}\n", source)
    if "\n:" in source or "\n{:" in source:
        source = _TOC.sub("", _DEFINITION.sub(r"\1-", source))
    if any(mark in source for mark in (":LOGBOOK:", "SCHEDULED: <", "DEADLINE: <", "#+")):
        source = _ORG.sub(lambda mark: mark[1] + "<i></i>" * ("-" in mark[1]), source)  # "-" alone may underline
    source = mark_exponents(source)
    if "]{" in source:
        source = _SPAN.sub(r"\1", source)
    if "={" in source and "<svg" in source:
        source = _SHAPE.sub("", source)
    if "<" in source and _LONE.search(source):
        source = _SPREAD.sub(lambda tag: " ".join(tag[0].split("\n")), source)
    if ">\n    " in source:  # a tag is no paragraph that a fence continues
        source = _FENCE.sub("\n\n", source)
    if "((" in source:
        source = _BLOCK.sub(r"![[\1]]", source)
    if "[[" in source and "\n|" in source:  # the bar of a link parts no cells
        source = _ROW.sub(lambda row: _CELL_LINK.sub(r"\1\|", row[0]), source)
    if ")" in source and " =" in source:
        source = _SIZE.sub("", source)
    if "%%" in source:
        source = _without_comments(source)
    if "[block:" in source:
        source = _README.sub(_put_block, source)
    if "[!" in source or "@[" in source:
        source = _DOCFX.sub("", source)
    if "**" in source and not source.isascii():
        source = _BOLD.sub(lambda found: found[1] or found[2], source)
    source = _NOTE_ADDRESS.sub(r"](<\1>)", source)
    if "](@" in source:
        source = _AT_ID.sub(lambda found: found[1] + f" {{#{found[2]}}}" * bool(found[2]), source)
        source = _AT_REF.sub(_put_reference, source)
    if "[[!" in source:
        source = _ORDER.sub("", source)
    if any(mark in source for mark in ("::", "*[", "8<", "///", "[TOC", "[toc", "[_", "<<<", "?> ", "!> ")):
        source = _LINES.sub(
            lambda line: f"\n{next(filter(None, line.group('said', 'label', 'title', 'block', 'tip')), '')}\n", source
        )
    if any(mark in source for mark in _INDENTED) or _OUTLINE.search(source):
        source = "\n".join(_dedent(source.split("\n")))
    return source


def _put_reference(found: re.Match[str]) -> str:
    """Write a reference of Documenter.jl as a link to the page that is about what it names, or has such a heading."""
    name = found[2].strip('` "') or found[1].strip("`")
    return f"[{found[1]}](<{WITHIN}:{re.sub(r'[<>]', '', name.partition('(')[0])}>)"


def _put_macro(found: re.Match[str]) -> str:
    """Write a macro of MDN as its words, and where it leads: {{domxref("Event.target")}}; one not known stays."""
    name, given = found[1].lower(), [html.unescape("".join(each)) for each in _ARGUMENT.findall(found[2])]
    if name not in MACROS or not given:
        return found[0]
    to, shown = MACROS[name]
    named, _, place = re.sub(r"\s*\(.*|[<>]|(?<=\.)prototype\.", "", given[0]).partition("#")
    if to[:7] != "https:/":
        shown = (given[1:2] or [""])[0] or shown
        named = re.sub(r"(?<![.])\.(?![.])", "/", named) if name in ("domxref", "jsxref", "webextapiref") else named
        named = named.replace("::", "_doublecolon_").replace(":", "_colon_").replace(" ", "_")
    shown = shown.format(given[0]) if "{}" in shown else shown
    return f"[{f'`{shown}`' if '<' in shown else shown}](<{to.format(named)}{f'#{place}' * bool(place)}>)"


def _put_shortcode(found: re.Match[str]) -> str:
    """Write a shortcode that has an address, or a term of a glossary, as a link that shows its text, if it has one."""
    said: dict[str, str] = dict(re.findall(r'(\w+)="([^"]*)"', found[0]))
    address, shown = next(filter(None, map(said.get, ("href", "link", "url"))), ""), said.get("text", "")
    if term := said.get("term_id"):
        address, shown = f"{WITHIN}glossary:{term}", shown or term.replace("-", " ") * ("definition" not in found[1])
    return f"[{shown}](<{address}>)" if address else shown


def _put_block(found: re.Match[str]) -> str:
    """Write a block of ReadMe.io: title and words of a callout or a heading; of any other nothing, as of code."""
    try:
        said = json.loads(found[2])
    except (ValueError, RecursionError):
        return ""
    words = [said.get(key) for key in ("title", "body")] if found[1] in ("callout", "api-header") else []
    return "\n\n".join(word for word in words if isinstance(word, str))


def _put_label(found: re.Match[str]) -> str:
    """Write a label of MyST as what it is before: the id of a heading, or a place."""
    label, heading, option = found.groups("")
    plain = not re.search(r"[\s\"<>{}]", label)
    return found[0] if option else heading + f"{{#{label}}}" * plain if heading else f'<i id="{label}"></i>' * plain


def _put_body(found: re.Match[str]) -> str:
    """Write a directive of MyST: title and body of prose, of another the body; code, and what is no text, as it is."""
    indent, marks, name, title, options, body = found.groups()
    label, link = LABEL.search(options), _CARD.search(f":link: {title}" if name[:7] == "button-" else options)
    place = f'{indent}<i id="{label[3]}"></i>' if label else ""
    place = f'{place or indent}<a href="{link[1]}"></a>' if link else place
    title = "" if name in _UNSAID else title
    if name in _PROSE:
        return f"\n{place or indent}{title}\n\n{body}"
    if marks[0] != ":":
        return f"\n{place}\n\n{found[0].replace(options, '')}" if label else found[0]
    return "" if name in _HIDDEN else f"\n{place}\n{body}"


def _put_address(found: re.Match[str]) -> str:
    address = _PIECE.sub(lambda piece: _evaluate(piece[0]), found[2])
    if address[:1] in ("/", ".") and "\0" in address:  # "/docs/{{< version >}}/setup": the nearest page that ends so
        address = "/" + address.rpartition("\0")[2].lstrip("/")
    address = address.replace("\0", "https://template.invalid" if address[:1] == "\0" else "template")
    return f"{found[1]}<{address}>" if found[1][0] == "]" else found[1] + address


def _evaluate(piece: str) -> str:
    r"""Return the path that a template's mark stands for, "\0" for what only the tool knows."""
    call = _CALL.match(piece)
    name, *paths = call.groups("") if call else ("", "")
    path = "".join(paths)
    if name in ("ref", "relref"):
        page, mark, fragment = path.partition("#")
        language = re.search(r"""\blang=["']?([\w-]+)""", piece)
        page += ".md" * bool(page and not re.search(r"\.\w+$|/$", page))
        return page + (f"?lang={language[1]}" if language else "") + mark + fragment
    if name in ("link", "post_url"):
        return f"/{path.lstrip('/')}" + ".md" * (name == "post_url")
    if quoted := re.search(r"""["'](/[^"']*)["']""", piece):
        return quoted[1]
    return "" if _BASE.search(piece) else "\0"


def _without_code(source: str) -> str:
    """Take out what stands between the marks of templates that show code."""
    parts, at, opened = [], 0, None
    for mark in _CODE.finditer(source):
        if opened is None and not mark[1] and not re.search(r"/\s*[>%]", mark[0]):
            opened = mark
        elif opened is not None and mark[1] and mark[2].lower() == opened[2].lower():
            parts.append(source[at : opened.start()])
            at, opened = mark.end(), None
    return "".join(parts) + source[at:]


def _without_comments(source: str) -> str:
    """Take out comments that start a line and end one, with the blocks in them."""
    parts, at, opened = [], 0, -1
    for mark in _PERCENT.finditer(source):
        if opened >= 0 and source[mark.end() : mark.end() + 1] in ("", "\n"):
            parts.append(source[at:opened])
            at, opened = mark.end(), -1
        elif opened < 0 and source[mark.start() - 1 : mark.start()] in ("", "\n"):
            opened = mark.start()
    return "".join(parts) + source[at:]


def _dedent(lines: list[str]) -> Iterator[str]:
    """Yield lines, the bodies of admonitions, tabs and outlines as far to the left as what opens them."""
    around: list[int] = []  # indentation of each that is open
    outline = heading = ""  # what the items below a heading are indented by
    for number, line in enumerate(lines):
        words = line.lstrip(" ")
        indent = len(line) - len(words)
        if words:
            while around and indent < around[-1] + 4:
                around.pop()
        line = line[4 * len(around) :]
        found = _ADMONITION.match(line)
        column = len(found[1]) + 4 * len(around) if found else 0
        if found and found[1].strip():  # an item may shout
            below = next((each for each in lines[number + 1 : number + 3] if each.strip()), "")
            found = found if below.startswith(" " * (column + 4)) else None
        if found:
            around.append(column)
            yield found[1] + (found[2] or found[3] or "<i></i>" * bool(found[1].strip()))
            yield ""
            continue
        if heading and (item := _ITEM.match(line)):
            outline = item[0][:-2]
        elif not line.startswith(outline) or not words:
            outline = ""
        heading = line if line[:1] == "#" or (line.startswith("- #")) else ""
        yield line.removeprefix(outline)


SUFFIXES = (".md", ".mdx", ".markdown", ".mdwn", ".mdown", ".mkd", ".mkdn", ".qmd", ".rmd", ".ipynb")
READER = Reader(
    read_file=read_file, survey=survey, settings=SETTINGS, options=Options, suffixes=SUFFIXES, largest=LARGEST
)
