r"""Wikitext to plain text with links: the scanner at the heart of the MediaWiki reader.

Wikitext and a Site come in; prose, headings and list items come out, one block a line, with the links at their places.
Templates, references, tables, files and code are dropped, and the article links inside them are kept without a place.

Three steps, each linear in the page whatever it holds. (1) Tags: comments and tags whose content is not wikitext go
first, as in MediaWiki, since nothing inside them counts. (2) Brackets: one regular expression jumps from bracket to
bracket (a plain link is one jump), a stack keeps what is open; whatever closes is cut off the end of the output. An
opener without its closer is dropped and the text behind it stays. (3) Lines: lists, headings, quotes, entities, and the
holes that dropped templates leave ("( ; born 1950)").

An anchor travels through all of it between two marks, \x02 and \x03, and offsets are read off at the very end: no step
has to keep them right.
"""

from __future__ import annotations

import re
from functools import lru_cache

from linkbert.corpora.site import CHARACTERS, Site, decode_entities, normal_title, resolve, words
from linkbert.records import Link

__all__ = ["Site", "normal_title", "parse"]

# One character each, removed from the input first.
OPEN, CLOSE = "\x02", "\x03"  # around an anchor; the k-th pair is the k-th of the links
HOLE = "\x04"  # a template or an address stood here: the words around it may need mending
NOTHING = "\x05"  # a reference or a tag stood here: keeps neighbours apart, leaves no hole
BREAK = "\x06"  # a line break that is not the wikitext's own
TABLE, END = "\x0e", "\x0f"  # around a table whose cells are kept

_OWN = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_EMPTY_ANCHOR = OPEN + CLOSE


def parse(wikitext: str, site: Site, *, table_cells: bool = False) -> tuple[str, tuple[Link, ...]]:
    """Turn a page's wikitext into its text and its links; text[link.start:link.end] is the anchor, always.

    Links in the text come first, in order; then those without a place (start = end = -1), from dropped parts. Links to
    other namespaces and wikis leave their text and are no links; so is "[[#Section]]", a link of the page to itself.

    >>> parse("'''Rome''' ({{lang|la|Roma}}) is a [[city]]s's [[Sea|shore]].{{see|[[Nile]]}}", Site())
    ("Rome is a citys's shore.", (Link(10, 15, 'City'), Link(18, 23, 'Sea'), Link(-1, -1, 'Nile')))
    """
    if _OWN.search(wikitext):
        wikitext = _OWN.sub("", wikitext.replace("\r\n", "\n").replace("\r", "\n"))
    placeless: list[tuple[str, str]] = []
    if "<" in wikitext:
        wikitext = _drop_tags(wikitext, site, placeless)
    marked, links = _match_brackets(wikitext, site, placeless, table_cells)
    if "-{" in marked:
        marked = _VARIANT.sub(_choose_variant, marked)
    if TABLE in marked:
        marked = _write_tables(marked)
    if "[" in marked:
        marked = _EXTERNAL.sub(_label, marked)
    if "://" in marked:
        marked = _ADDRESS.sub(HOLE, marked)
    if "__" in marked:
        marked = _SWITCH.sub(NOTHING, marked)
    return _place("\n".join(_blocks(marked)), links, placeless)


def _place(marked: str, links: list[tuple[str, str]], placeless: list[tuple[str, str]]) -> tuple[str, tuple[Link, ...]]:
    """Take the marks out of the text and say where they stood; an anchor that came out empty has no place."""
    parts = re.split("[\x02\x03]", marked)
    found, position = [], len(parts[0])
    for (target, fragment), anchor, after in zip(links, parts[1::2], parts[2::2], strict=True):
        if anchor:
            found.append(Link(position, position + len(anchor), target, fragment))
        else:
            placeless.append((target, fragment))
        position += len(anchor) + len(after)
    found += [Link(-1, -1, target, fragment) for target, fragment in placeless]
    return "".join(parts), tuple(found)


# ---- 1. tags

_TAG = re.compile(r"<(?:!--|(/?)([a-zA-Z][a-zA-Z0-9]*+)((?:[\s/\x05\x06][^<>]*+)?)>)")
# Content up to the closing tag is not wikitext, or not prose.
_FORMULA = words("math chem ce maplink")
_OPAQUE = _FORMULA | words(
    "ref references gallery imagemap templatestyles templatedata indicator categorytree inputbox graph mapframe "
    "pagelist dynamicpagelist includeonly timeline hiero score charinsert syntaxhighlight source pre style script"
)
_NEW_LINE = words("br p div blockquote center hr li ul ol dl dt dd h1 h2 h3 h4 h5 h6 tr td th caption")
_INLINE = words(
    "abbr b bdi bdo big cite code data del dfn em font i ins kbd mark noinclude onlyinclude q rb rp rt rtc ruby s samp "
    "small span strike strong sub sup thead tbody tfoot time tt u var wbr meta link img a section col colgroup "
    "translate tvar languages nowiki poem"
)
_LITERAL = {ord(character): f"&#{ord(character)};" for character in "[]{}|<>='*#:;_-"}


@lru_cache(256)
def _closer(name: str) -> re.Pattern[str]:
    return re.compile(rf"</{name}\s*>", re.IGNORECASE)


def _drop_tags(text: str, site: Site, placeless: list[tuple[str, str]]) -> str:
    """Remove comments, tags, and the content of tags that hold no wikitext; article links in there join `placeless`."""
    out: list[str] = []
    unclosed: set[str] = set()  # names that have no closer in the rest of the page: looked for once
    last = 0
    for match in _TAG.finditer(text):
        start = match.start()
        if start < last:
            continue
        slash, name, attributes = match.groups()
        stop, mark = match.end(), NOTHING
        if name is None:
            end = -1 if "!" in unclosed else text.find("-->", stop)
            if end < 0:
                unclosed.add("!")
            else:
                stop = end + 3
                if text[stop : stop + 1] == "\n" and text[start - 1 : start] in ("\n", ""):
                    stop += 1  # a comment alone on its line takes the line with it
            mark = ""
        else:
            name = name.lower()
            if name in _OPAQUE or name in ("nowiki", "poem"):
                mark = HOLE if name in _FORMULA and not slash else NOTHING
                closer = None
                if not slash and attributes[-1:] != "/" and name not in unclosed:
                    closer = _closer(name).search(text, stop)
                    if closer is None:
                        unclosed.add(name)
                        mark = NOTHING
                if closer is not None:
                    content = text[stop : closer.start()]
                    stop = closer.end()
                    if name == "nowiki":
                        mark = content.translate(_LITERAL)
                    elif name == "poem":
                        content = content.strip("\n").replace("\n", BREAK)
                        mark = BREAK + _drop_tags(content, site, placeless) + BREAK
                    elif "[[" in content:
                        _collect(content, site, placeless)
            elif name == "table":
                mark = END if slash else TABLE
            elif name in _NEW_LINE:
                mark = BREAK
            elif name not in _INLINE:
                continue  # MediaWiki shows it as it stands
        out.append(text[last:start])
        out.append(mark)
        last = stop
    out.append(text[last:])
    return "".join(out)


_LOOSE_LINK = re.compile(r"\[\[([^\[\]{}|<>\n]++)(?=\||\]\])")
_COMMENT = re.compile(r"<!--(?:[^-]++|-(?!->))*+-->")


def _collect(content: str, site: Site, placeless: list[tuple[str, str]]) -> None:
    if "<!--" in content:
        content = _COMMENT.sub("", content)
    for target in _LOOSE_LINK.findall(content):
        kind, title, fragment = resolve(target, site)
        if kind == "article":
            placeless.append((title, fragment))


# ---- 2. brackets


@lru_cache(64)
def _brackets(trail: str) -> re.Pattern[str]:
    """Compile the brackets of wikitext; a link without brackets inside is one match (target, label, trail)."""
    return re.compile(
        r"\[\[(?!\[(?!\[))(?:([^\[\]{}|<>\n\x00-\x1f]++)(?:\|([^\[\]{}\n\x00-\x1f]++))?+\]\]("
        + trail
        + r"))?+|\]\]++|\{\{++|\{\||\}\}++|\|\}(?!\})|[\x0e\x0f]"
    )


class _Scope:
    """A template or table that is open: where its output and its links begin, and the "[[" open inside it."""

    __slots__ = ("base", "braces", "first_link", "opens")

    def __init__(self, base: int, first_link: int, braces: int) -> None:
        self.base, self.first_link, self.braces = base, first_link, braces  # braces: 0 for a table
        self.opens: list[tuple[int, int, int]] = []  # (base, first link, links closed before)


def _match_brackets(
    text: str, site: Site, placeless: list[tuple[str, str]], table_cells: bool
) -> tuple[str, list[tuple[str, str]]]:
    """Resolve links, templates and tables; return the text with marks around anchors, and the links of the marks."""
    pattern = _brackets(site.trail)
    trail = re.compile(site.trail)
    out: list[str] = []
    links: list[tuple[str, str]] = []
    page = _Scope(0, 0, 0)
    scopes = [page]
    opens = page.opens
    templates = closed = last = 0  # templates: how many of the scopes have braces; closed: how many "]]" were matched

    for match in pattern.finditer(text):
        start = match.start()
        if start > last:
            out.append(text[last:start])
        elif start < last:
            continue
        last = match.end()
        target, label, letters = match.groups()

        if target is not None:
            closed += 1
            piece, link = _write_link(target, label, letters, site)
            out.append(piece)
            if link is not None:
                links.append(link)
            continue

        bracket = text[start]
        if bracket == "[":
            opens.append((len(out), len(links), closed))

        elif bracket == "]":
            length = last - start
            while length >= 2 and opens:
                base, first_link, before = opens.pop()
                length -= 2
                head, pipe, _ = out[base][:400].partition("|") if base < len(out) else ("", "", "")
                kind = resolve(head, site).kind if pipe or ":" in head else "text"
                if kind == "gone":
                    placeless += links[first_link:]
                    del out[base:], links[first_link:]
                    out.append(NOTHING)
                elif closed > before:  # a link cannot hold a link: the inner one counts, this one leaves its label
                    if pipe:
                        out[base] = out[base][len(head) + 1 :]
                    closed += 1
                else:
                    content = "".join(out[base:])
                    if length and content.count("[") > content.count("]"):
                        content += "]"
                        length -= 1
                    head, pipe, label = content.partition("|")
                    letters = ""
                    if length == 0:
                        ending = trail.match(text, last)
                        if ending:
                            letters, last = ending[0], ending.end()
                    piece, link = _write_link(head, label if pipe else None, letters, site)
                    del out[base:]
                    out.append(piece)
                    if link is not None:
                        links.append(link)
                    closed += 1
            if length == 1:
                out.append("]")

        elif bracket == "{" and text[start + 1] == "{":
            scopes.append(_Scope(len(out), len(links), last - start))
            opens = scopes[-1].opens
            templates += 1

        elif bracket == "}":
            length = last - start
            while length >= 2 and templates:
                while not scopes[-1].braces:
                    scopes.pop()
                scope = scopes[-1]
                taken = 3 if length >= 3 and scope.braces >= 3 else 2
                length -= taken
                scope.braces -= taken
                content = out[scope.base] if len(out) == scope.base + 1 else ""
                placeless += links[scope.first_link :]
                del out[scope.base :], links[scope.first_link :]
                out.append(CHARACTERS.get(content.strip().lower(), HOLE))
                if scope.braces < 2:
                    scopes.pop()
                    templates -= 1
                    opens = scopes[-1].opens
                else:
                    scope.opens.clear()
                    opens = scope.opens

        elif bracket in (TABLE, "{"):
            if bracket == TABLE or _starts_line(text, start):
                scopes.append(_Scope(len(out), len(links), 0))
                opens = scopes[-1].opens
                out.append(TABLE)
            else:
                out.append("{|")

        elif len(scopes) > 1 and not scopes[-1].braces and (bracket == END or _starts_line(text, start)):
            scope = scopes.pop()
            opens = scopes[-1].opens
            if table_cells:
                out.append(END)
            else:
                placeless += links[scope.first_link :]
                del out[scope.base :], links[scope.first_link :]
                out.append(NOTHING)
        elif bracket == "|":
            out.append("|}")
    out.append(text[last:])
    return "".join(out), links


def _starts_line(text: str, position: int) -> bool:
    """Tell whether only indentation stands before `position` on its line (looking back a little: it may be long)."""
    before = text[max(0, position - 40) : position].rstrip(" \t:*#\x05\x06")
    return not before or before[-1] == "\n"


def _write_link(target: str, label: str | None, trail: str, site: Site) -> tuple[str, tuple[str, str] | None]:
    r"""Write what a link shows, between marks if it leads to an article: ("\x02buses\x03", ("Bus", ""))."""
    kind, title, fragment = resolve(target, site)
    if label is None:
        shown = target
        if kind == "text":
            if target.lstrip()[:2] == "//" or "://" in target[:12]:
                return f"[{target}]{trail}", None
            shown = target.lstrip(" :#")
        if "''" in shown:
            shown = shown.replace("'", "&#39;")  # in a title they are letters
    elif label.strip(NOTHING + BREAK + HOLE + " \n"):
        shown = _drop_quotes(label) if "''" in label else label
    else:
        shown = _trick(target)
    if kind == "gone":
        return NOTHING, None
    shown += trail
    if "\n" in shown or BREAK in shown:
        shown = " ".join(shown.replace(BREAK, " ").split())
    if kind == "text":
        return shown, None
    if shown[:1] == " " or shown[-1:] == " ":
        bare = shown.strip(" ")
        before, _, after = shown.partition(bare) if bare else ("", "", "")
        return f"{before[:1]}\x02{bare}\x03{after[:1]}", (title, fragment)
    return f"\x02{shown}\x03", (title, fragment)


def _trick(target: str) -> str:
    """Apply the pipe trick: "[[Boston, Massachusetts|]]" and "[[:Help:Boston (band)|]]" show "Boston"."""
    name = target.strip().lstrip(":").rpartition(":")[2] if ":" in target else target.strip()
    name = re.sub(r" ?[(（][^()（）]*[)）]$", "", name)
    return re.split(r", |، |，", name, maxsplit=1)[0]


# ---- between: variants, tables, addresses

_VARIANT = re.compile(r"-\{([^{}]*+)\}-")


def _choose_variant(match: re.Match[str]) -> str:
    """Choose one of a page's writings: "-{zh-hans:软件; zh-hant:軟體}-" -> "软件"; "-{text}-" -> "text"."""
    content = match[1]
    flags, pipe, body = content.partition("|")
    body = body if pipe else content
    if pipe and set(flags.strip()) & set("HT-"):  # H adds a rule, T names the title, - removes: nothing is shown
        return _EMPTY_ANCHOR * content.count(OPEN)
    parts = [part.partition(":") for part in body.split(";")]
    written = [
        text.strip() for name, colon, text in parts if colon and re.fullmatch(r"\s*[a-z]{2,3}(-[a-z]+)*\s*", name)
    ]
    if not written:
        return body
    shown = written[0]
    return shown + _EMPTY_ANCHOR * (content.count(OPEN) - shown.count(OPEN))


def _write_tables(marked: str) -> str:
    """Write the tables that stand between marks as text: a row a line, its cells joined by " | "."""
    out: list[str] = []
    depth = 0
    row: list[str] = []

    def finish() -> None:
        cells = [cell for cell in (cell.strip() for cell in row) if cell.strip(NOTHING + HOLE + BREAK)]
        if cells:
            out.append(BREAK + " | ".join(cells))
        row.clear()

    for line in re.split("(\n|[\x0e\x0f])", marked):
        if line == TABLE:
            finish()
            depth += 1
            out.append("\n")
            head = True
            continue
        if line == END:
            finish()
            depth = max(0, depth - 1)
            out.append("\n")
            continue
        if not depth:
            out.append(line)
            continue
        if line == "\n":
            head = False
            continue
        bare = line.strip(" \t\x05\x06")
        if head:  # attributes of the table
            out.append(_EMPTY_ANCHOR * line.count(OPEN))
        elif bare.startswith(("|-", "|+", "|}")):
            finish()
            out.append("\n")
            if bare[1] == "+":
                row.append(_cell(bare[2:]))
            else:
                out.append(_EMPTY_ANCHOR * bare.count(OPEN))
        elif bare.startswith(("|", "!")):
            separator = r"\|\||!!" if bare[0] == "!" else r"\|\|"
            row.extend(_cell(cell) for cell in re.split(separator, bare[1:]))
        elif bare:
            item = bare.lstrip("*#:; ")
            if row:
                row[-1] += " " + item
            else:
                row.append(item)
    finish()
    return "".join(out)


def _cell(cell: str) -> str:
    """Drop a cell's attributes: "style=x | text" -> "text"."""
    head, pipe, text = cell.partition("|")
    return text + _EMPTY_ANCHOR * head.count(OPEN) if pipe else cell


_PROTOCOL = r"(?:(?i:https?|ftps?|gopher|irc|ircs|svn|git|mms|nntp|worldwind|ssh|sftp|telnet|redis)://)"
_EXTERNAL = re.compile(
    rf"\[(?:{_PROTOCOL}|//|(?i:mailto|news|tel|urn|geo|magnet|sms|bitcoin|xmpp|sips?|skype):)[^\s\[\]<>\"\x00-\x06]*+"
    r"((?:[^\[\]\n]++|\[[^\[\]\n]*+\])*+)\]"
)
_ADDRESS = re.compile(rf"\b{_PROTOCOL}[^\s\[\]<>\"\x00-\x06]*[^\s\[\]<>\"\x00-\x06,;.:!?)']")
_SWITCH = re.compile(
    r"__(?:(?i:NOTOC|FORCETOC|TOC|NOEDITSECTION|NEWSECTIONLINK|NONEWSECTIONLINK|NOGALLERY|HIDDENCAT|INDEX|NOINDEX|START|END|"
    r"EXPECTUNUSEDCATEGORY|EXPECTUNUSEDTEMPLATE|NOCONTENTCONVERT|NOCC|NOTITLECONVERT|NOTC|STATICREDIRECT|NOGLOBAL|DISAMBIG|"
    r"ARCHIVEDTALK|NOTALK|EXPECTED_UNCONNECTED_PAGE)|(?=\w*?[^\x00-\x7f])[^\W\da-z_]{2,40}|(?<=\n__)[A-Z_]{3,40}(?=__\n))__"
)


def _label(match: re.Match[str]) -> str:
    label = match[1].strip(" ")
    return label or HOLE


# ---- 3. lines

_SPECIAL = frozenset(" \t*#:;=-" + HOLE + NOTHING + BREAK)
_UNSEEN = " \t" + HOLE + NOTHING + BREAK
_HEADING = re.compile(r"(={1,6})([^\n]+?)\1[ \t\x04\x05\x06]*$")
_WORD = re.compile(r"\w")
_QUOTES = re.compile("('{2,})")


def _blocks(marked: str) -> list[str]:
    """Cut the page into paragraphs, list items and headings, cleaned; a heading with no text under it is left out."""
    blocks: list[str] = []
    headings: list[tuple[int, str]] = []  # waiting for text under them
    paragraph: list[str] = []

    def write(block: str) -> None:
        block = _clean(block)
        if not block:
            return
        if OPEN in block and not block.replace(_EMPTY_ANCHOR, ""):
            lose(block)
            return
        blocks.extend(heading for _, heading in headings)
        headings.clear()
        blocks.append(block)

    def lose(block: str) -> None:
        """Keep the count of links right where a block that has some is left out."""
        lost = _EMPTY_ANCHOR * block.count(OPEN)
        if not lost:
            return
        if headings:
            headings[-1] = (headings[-1][0], headings[-1][1] + lost)
        elif blocks:
            blocks[-1] += lost
        else:
            blocks.append(lost)

    def finish() -> None:
        if paragraph:
            lines = [_drop_quotes(line) if "''" in line else line for line in paragraph]
            paragraph.clear()
            write(" ".join(lines))

    for line in marked.split("\n"):
        if line and line[0] not in _SPECIAL:
            paragraph.append(line)
            continue
        bare = line.strip(_UNSEEN)
        if not bare:
            finish()
            continue
        line = line.lstrip(NOTHING + BREAK)
        match line[0]:
            case "=" if found := _HEADING.match(line):
                finish()
                level = len(found[1])
                while headings and headings[-1][0] >= level:
                    lose(headings.pop()[1])
                text = found[2].replace(BREAK, " ")
                title = _clean(_drop_quotes(text) if "''" in text else text)
                headings.append((level, title))
            case "*" | "#" | ":" | ";":
                finish()
                line = line.lstrip("*#:; \t")
                write(_drop_quotes(line) if "''" in line else line)
            case "-" if line.startswith("----"):
                finish()
                line = line.lstrip("-")
                write(_drop_quotes(line) if "''" in line else line)
            case " " | "\t":
                finish()
                write(_drop_quotes(line) if "''" in line else line)
            case _:
                paragraph.append(line)
    finish()
    for _, heading in headings:
        lose(heading)
    return blocks


def _drop_quotes(line: str) -> str:
    """Drop the apostrophes of bold and italics, keep those that are letters: "l'''amour''" -> "l'amour"."""
    if "'''" not in line:
        return line.replace("''", "")
    parts = _QUOTES.split(line)
    bold = italic = 0
    for i in range(1, len(parts), 2):
        length = len(parts[i])
        if length == 4 or length > 5:  # the surplus in front is text
            kept = 3 if length == 4 else 5
            parts[i - 1] += "'" * (length - kept)
            parts[i] = "'" * kept
            length = kept
        bold += length != 2
        italic += length != 3
    if bold % 2 and italic % 2:  # one bold is an apostrophe and italics: the one that looks most like it
        chosen = _odd_bold(parts)
        if chosen:
            parts[chosen - 1] += "'"
    return "".join(parts[::2])


def _odd_bold(parts: list[str]) -> int:
    multi = space = 0
    for i in range(1, len(parts), 2):
        if len(parts[i]) != 3:
            continue
        before = parts[i - 1]
        if before[-1:] == " ":
            space = space or i
        elif before[-2:-1] == " ":
            return i  # a single letter before it: l'''amour''
        else:
            multi = multi or i
    return multi or space


def _clean(block: str) -> str:
    """Decode entities, mend holes, collapse spaces; "" if no word is left and no link."""
    if "&" in block:
        block = decode_entities(block)
    if HOLE in block:
        block = _mend(block)
    if NOTHING in block:
        block = block.replace(NOTHING, "")
    if BREAK in block:
        return "\n".join(filter(None, map(_clean, block.split(BREAK))))
    if "  " in block or "\xa0" in block or "\t" in block or "\n" in block:
        block = " ".join(block.split())
    if "\x02 " in block or " \x03" in block or "\x02\x03" in block:
        block = _outside(block)
    block = block.strip()
    return block if OPEN in block or _WORD.search(block) else ""


def _outside(block: str) -> str:
    """Move spaces at the edges of anchors outside them."""
    block = re.sub("\x02( +)", "\\1\x02", block)
    block = re.sub("(?<! )( +)\x03", "\x03\\1", block)
    block = re.sub(" +((?:\x02\x03)+) ", "\\1 ", block)
    return re.sub("  +", " ", block)


_JOINT = r"[ \xa0,;:/–—\x04\x05-]"
_EMPTY_PAIR = re.compile(
    rf"\((?=[^()\w]*\x04){_JOINT}*+\)|\[(?=[^\[\]\w]*\x04){_JOINT}*+\]|\"\x04\"|“\x04”|«\x04»|‘\x04’"
)
_AFTER_OPENING = re.compile(rf"([(\[])(?=[^()\[\]\w]*\x04){_JOINT}++")
_RUN = re.compile(rf"(?<!{_JOINT}){_JOINT}*?\x04{_JOINT}*+")


def _mend(block: str) -> str:
    r"""Close the holes that dropped templates left: "Rome (\x04; born 1950 \x04), \x04, is" -> "Rome (born 1950), is"."""
    block = _EMPTY_PAIR.sub(HOLE, block)
    block = _AFTER_OPENING.sub(r"\1", block)
    return _RUN.sub(_mend_run, block)


def _mend_run(match: re.Match[str]) -> str:
    run = match[0].replace(NOTHING, "").replace("\xa0", " ")
    rest = run.replace(HOLE, "")
    if not match.start():
        return rest.lstrip(" ,;:")
    following = match.string[match.end() : match.end() + 1]
    bare = rest.strip(" ")
    mark = bare[:1]
    if following in ")]" and following:
        return "" if mark in ",;: " else bare
    if not mark:
        return "" if following and following in ".,;:!?" else " " * (" " in rest)
    if mark in ",;:" and following and following in ".!?":
        return ""
    if mark in "-–—/":
        return bare if len(bare) == 1 and " " not in rest else f" {mark} "
    return mark + " " * (" " in rest or not following)
