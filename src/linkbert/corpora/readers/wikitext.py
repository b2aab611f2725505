r"""Wikitext and a Site come in; prose, headings and list items come out, one block a line, links at their places.

Four steps, in the order of MediaWiki, each linear in the page. (1) Comments and tags whose content is not wikitext.
(2) Templates, which go unless templates.toml says what they show, then tables, (3) links: a regular expression takes
all that have no brackets inside; for the rest a stack keeps what is open, and whatever closes is cut off the end of the
output. An opener without its closer is dropped. (4)
Lines: lists, headings, quotes, entities, and the holes that dropped templates leave ("( ; born 1950)").
An anchor travels through all of it between two marks, \x02 and \x03; offsets are read off at the very end.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate

from linkbert.corpora.readers.site import (
    CHARACTERS,
    LANGUAGES,
    PLAIN,
    Site,
    decode_entities,
    find_targets,
    first_letter,
    mark_exponents,
    read_table,
    resolve,
    words,
)
from linkbert.records import Link

# One character each, removed from the input first.
OPEN, CLOSE = "\x02", "\x03"  # around an anchor; the k-th pair is the k-th of the links
HOLE = "\x04"  # a template or an address stood here: the words around it may need mending
NOTHING = "\x05"  # a reference or a tag stood here: keeps neighbours apart, leaves no hole
BREAK = "\x06"  # a line break that is not the wikitext's own
TABLE = "\x0e"  # a table starts here whose end is missing

_OWN = (OPEN, CLOSE, HOLE, NOTHING, BREAK, TABLE, "\x0f", "\0", "\r")
_OTHERS = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_BREAKING = (BREAK, TABLE, "\n")  # what may not stand in an anchor
_BREAKS = re.compile("[\x06\x0e\n]")
_EMPTY_ANCHOR = OPEN + CLOSE
Target = tuple[str, str]  # title and fragment


def parse(wikitext: str, site: Site) -> tuple[str, tuple[Link, ...]]:
    """Turn a page's wikitext into its text and its links; text[link.start:link.end] is the anchor, always.

    Links in the text come first, in order; then those without a place (start = end = -1), from dropped parts. Links to
    other namespaces and wikis leave their text and are no links; so is "[[#Section]]", a link of the page to itself.

    >>> parse("'''Rome''' ({{IPA|/roːm/}}) is a [[sea]]side [[Town|city]].{{see|[[Nile]]}}", Site())
    ('Rome is a seaside city.', (Link(10, 17, 'Sea'), Link(18, 22, 'Town'), Link(-1, -1, 'Nile')))
    """
    if any(character in wikitext for character in _OWN):
        wikitext = _OTHERS.sub("", wikitext.replace("\r\n", "\n").replace("\r", "\n"))
    unanchored: list[Target] = []
    if "<" in wikitext:
        wikitext = _VARIABLE.sub(r"\1", wikitext) if "<tvar|" in wikitext else wikitext
        wikitext = _drop_tags(mark_exponents(wikitext), site, unanchored)
    if "{{" in wikitext or "}}" in wikitext:
        wikitext = _drop_templates(wikitext, site, unanchored)
    if "{" in wikitext and "{|" in wikitext:
        wikitext = _drop_tables(wikitext, site, unanchored)
    marked, links = _match_links(wikitext, site, unanchored)
    if "{" in marked and "-{" in marked:
        marked = _VARIANT.sub(_choose_variant, marked)
    open_table = TABLE in marked
    if open_table:
        marked = _write_open_table(marked)
    if "[" in marked:
        marked = _EXTERNAL.sub(lambda match: match[1].strip(" ") or HOLE, marked)
    if "://" in marked:
        lines = (_ADDRESS.sub(_drop_address, line) if "://" in line else line for line in marked.split("\n"))
        marked = "\n".join(lines)
    if "_" in marked and "__" in marked:
        marked = _SWITCH.sub(_switch, marked)
    marked = marked.replace("\t", " ").replace("\xa0", " ")
    return _place("\n".join(_blocks(marked, open_table)), links, unanchored)


def _place(marked: str, links: list[Target], unanchored: list[Target]) -> tuple[str, tuple[Link, ...]]:
    """Take the marks out of the text and say where they stood; an anchor that came out empty has no place."""
    parts = marked.replace(CLOSE, OPEN).split(OPEN)  # text, anchor, text, anchor, ..., text
    places = list(accumulate(map(len, parts)))
    found = list(map(Link, places[::2], places[1::2], *zip(*links, strict=True))) if links else []
    if not all(parts[1::2]):
        unanchored += [link for link, anchor in zip(links, parts[1::2], strict=True) if not anchor]
        found = [link for link in found if link.start < link.end]
    found += [Link(-1, -1, title, fragment) for title, fragment in unanchored]
    return "".join(parts), tuple(found)


# ---- 1. tags

_TABLE = read_table("templates.toml")
_TAG = re.compile(r"<(?!/ref>)(?:!--|(/?)([a-zA-Z][a-zA-Z0-9_-]*+)((?:[\s/\x05\x06][^<>]*+)?)>)")
_FORMULA, _NEW_LINE = words(_TABLE["tags"]["formulas"]), words(_TABLE["tags"]["lines"])
_OPAQUE, _INLINE = _FORMULA | words(_TABLE["tags"]["opaque"]), words(_TABLE["tags"]["inline"])
_EXTENSIONS, _OBJECTS = words(_TABLE["tags"]["extensions"]), words(_TABLE["tags"]["objects"])
_FOREIGN = _EXTENSIONS | _OBJECTS  # to Wikipedia
COMMENT = "!--"
# MediaWiki looks for the end of these before it looks at anything inside.
_HELD = _OPAQUE | _OBJECTS | {"nowiki", "poem", COMMENT}
_MARKS = dict.fromkeys(_INLINE | _HELD, NOTHING) | dict.fromkeys(_NEW_LINE | _EXTENSIONS, BREAK)
_MARKS |= {"table": "\n{|\n", COMMENT: ""}
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_VARIABLE = re.compile(r"<tvar\|[^<>\n]*+>([^<>\n]*+)</>")  # of Translate, as it was once written
_LITERAL = {ord(character): f"&#{ord(character)};" for character in "&[]{}|<>='*#:;_-"}


def _drop_tags(text: str, site: Site, unanchored: list[Target]) -> str:
    """Remove comments, tags, and the content of tags that hold no wikitext; links in there join `unanchored`."""
    out: list[str] = []
    closed: dict[str, int] = {}  # where the last closer of a name is
    unclosed: set[str] = set()  # names that have no closer in the rest of the page: looked for once
    last = 0
    for match in _TAG.finditer(text):
        start, stop = match.span()
        if start < last:
            continue
        slash, name, attributes = match.groups("")
        name = name or COMMENT
        if name not in _MARKS and (name := name.lower()) not in _MARKS:
            continue  # MediaWiki shows it as it stands
        if name in _FOREIGN:
            if name not in closed:
                closed[name] = text.lower().rfind(f"</{name}")
            if not site.subpages or not (slash or attributes or start < closed[name]):
                continue  # a word
        mark = "\n|}" if slash and name == "table" else _MARKS[name]
        if name in _HELD and not slash and attributes[-1:] != "/" and name not in unclosed:
            end = "-->" if name == COMMENT else rf"</{name}\s*>"
            closer = re.compile(end, re.IGNORECASE).search(text, stop)
            if closer is None:
                unclosed.add(name)
            else:
                content = text[stop : closer.start()]
                stop = closer.end()
                if name == COMMENT:  # alone on its line it takes the line with it
                    stop += text[stop : stop + 1] == "\n" and text[start - 1 : start] in ("\n", "")
                elif name == "nowiki":
                    mark = decode_entities(content).translate(_LITERAL)
                elif name == "poem":
                    content = content.strip("\n").replace("\n", BREAK)
                    mark = BREAK + _drop_tags(content, site, unanchored) + BREAK
                else:
                    mark = HOLE if name in _FORMULA else NOTHING
                    if "[[" in content:
                        _collect(content, site, unanchored)
        out += text[last:start], mark
        last = stop
    out.append(text[last:])
    return "".join(out).replace("</ref>", NOTHING)  # one without a start; all others went with theirs


_LOOSE_LINK = re.compile(r"\[\[([^\[\]{}|<>\n]++)(?=\||\]\])")


def _collect(content: str, site: Site, unanchored: list[Target]) -> None:
    if "<!--" in content:
        end = content.rfind("-->") + 3  # behind it none is closed, and looking for its end again would be slow
        content = _COMMENT.sub("", content[:end]) + content[end:]
    unanchored.extend(filter(None, find_targets(_LOOSE_LINK.findall(content), site)))


# ---- 2. templates and tables

DEEPEST = 8  # templates in each other whose content is shown: so the time is linear
_PLAIN = re.compile(r"\{\{(?<!\{\{\{)(?!\{)([^{}\[\]|]*+)(?:\|[^{}\[\]]*+)?\}\}(?!\})")  # nothing is nested in it


_SHOWN: dict[tuple[str, str], str] = {}  # by language ("" for all) and name
for _shown, _names in _TABLE["shown"].items():
    for _name in map(str.lower, words(_names)):
        _language, _, _own = _name.partition(":")
        _SHOWN[(_language, _own) if _own.strip("*") else ("", _name)] = _shown
_STARTS = [(language, name[:-1], shown) for (language, name), shown in _SHOWN.items() if name[-1] == "*"]


@lru_cache(1 << 14)
def _find(name: str, language: str) -> str:
    """Return what a template shows by the table, "" for one that is dropped."""
    name = name.strip().replace("_", " ").lower()
    begun = (shown for own, start, shown in _STARTS if own in ("", language) and name.startswith(start))
    return _SHOWN.get((language, name)) or _SHOWN.get(("", name)) or next(begun, "")


def _drop_templates(text: str, site: Site, unanchored: list[Target]) -> str:
    """Cut out templates, or write what they show; article links in what goes join `unanchored`."""

    def drop(match: re.Match[str]) -> str:
        name = match[1]
        return match[0] if _find(name, site.language) or name.strip().lower() in CHARACTERS else HOLE

    text = _PLAIN.sub(drop, _PLAIN.sub(drop, text))  # twice, for one inside another; nearly all there are
    first, *segments = text.split("{{")
    out = [first.replace("}}", "")]
    bases: list[int] = []  # where the output of each open template starts
    for segment in segments:
        bases.append(len(out))
        piece, *behind = segment.split("}}")
        out.append(piece)
        for after in behind:
            if bases:
                base = bases.pop()
                head, pipe, _ = out[base][:80].partition("|")
                shown = _find(head, site.language)
                if shown and len(bases) < DEEPEST:
                    written = _show(shown, "".join(out[base:]))
                    del out[base:]
                else:
                    alone = not pipe and len(out) == base + 1
                    written = CHARACTERS.get(head.strip().lower(), HOLE) if alone else HOLE
                    _cut(out, base, site, unanchored)
                out.append(written)
                after = after.removeprefix("}")  # of a parameter: {{{1|}}}
            out.append(after)
    return "".join(out)


_WHOLE_LINK = re.compile(r"\[\[[^\[\]]*+\]\]")
_NAMED = re.compile(r"\s*([\w-]{1,20})\s*=(.*)", re.DOTALL)
_PLACE, _OPTIONAL = re.compile(r"\{([^{}]+)\}"), re.compile(r"<([^<>]*)>")
_POWER = re.compile(r"(?<=\|)e(?:3|6|9|12)(?=[^\W\d])")
_NUMBER = r"[-+−~]?[\d.,][\d.,/⁄+−eE -]*"
_MEASURE = re.compile(
    rf"{_NUMBER}(?:\|(?:to|and|or|by|to\(-\)|\+/-|[-–x×±&])\|{_NUMBER})*+(?:\|[^|]+(?:\|{_NUMBER}\|(?:in|oz|lb|ft|yd)\b)?)?"
)


def _show(shown: str, template: str) -> str:
    """Write what a template shows: ("{2}", "lang|fr|Val") -> "Val", ("measure", "cvt|3|to|5|km2") -> "3 to 5 km²"."""
    if "[[" in template:  # the pipes in a link are its own
        template = _WHOLE_LINK.sub(lambda link: link[0].replace("|", "\x0f"), template)
    if ":" in template.partition("|")[0]:
        template = template.replace(":", ":|", 1)
    listed, values = [], {}
    for part in template.split("|")[1:]:
        if "=" in part and (found := _NAMED.match(part)):
            values[found[1]] = found[2].strip()
        else:
            listed.append(part)
            values[str(len(listed))] = values["-1"] = part
    if shown == "unit" and "".join(listed[2:3]).strip(" -−").isdecimal():
        listed[1:3] = [f"{listed[1].strip()}^{listed[2].strip()}"]
    if shown in ("measure", "unit"):
        found = _MEASURE.match("|".join(part.strip() for part in listed))
        parts = _POWER.sub(lambda power: _TABLE["powers"][power[0]], found[0]).split("|") if found else []
        return " ".join(_TABLE["units"].get(part, part) for part in parts).replace(" – ", "–") or HOLE
    if shown == "join":
        return "".join(listed)
    if shown == "fraction":
        return " ".join([*listed[:-2], "/".join(["1", *listed][-2:])])
    if shown.startswith("[[") and listed[1:] and listed[0].strip() in LANGUAGES:
        values["1"] = values["2"]  # as the template was once written, the other wiki first

    def value(place: re.Match[str]) -> str:
        return next((each for key in place[1].split("|") if (each := values.get(key, "")).strip()), "")

    if shown in ("{1}", "{2}") and "1" in values:  # nearly all; the rest takes its time
        return values.get(shown[1], "").replace("\x0f", "|") or HOLE
    while "<" in shown:
        shown = _OPTIONAL.sub(lambda part: part[1] if all(map(value, _PLACE.finditer(part[1]))) else "", shown)
    if not any(map(value, _PLACE.finditer(shown))):
        return HOLE
    text = _PLACE.sub(lambda place: value(place) or HOLE, shown).replace("\x0f", "|")
    return text[:1].lower() + text[1:] if values.get("lc") else text


def _cut(out: list[str], base: int, site: Site, unanchored: list[Target]) -> None:
    for piece in out[base:]:
        if "[[" in piece:
            _collect(piece, site, unanchored)
    del out[base:]


def _drop_tables(text: str, site: Site, unanchored: list[Target]) -> str:
    """Cut out tables, their links join `unanchored`; one without an end stays, as all the page may stand in it."""
    out: list[str] = []
    bases: list[int] = []  # where the output of each open table starts
    for number, segment in enumerate(text.split("{|")):
        if number and _starts_line(out[-1]):
            bases.append(len(out))
            out.append(TABLE)
        elif number:
            out.append("{|")
        piece, *behind = segment.split("|}")
        out.append(piece)
        for after in behind:
            if not _starts_line(out[-1]):
                out.append("|}")
            elif bases:
                _cut(out, bases.pop(), site, unanchored)
                out.append(NOTHING)
            out.append(after)
    return "".join(out)


def _starts_line(before: str) -> bool:
    """Return whether only indentation stands on a line behind `before` (looking back a little: it may be long)."""
    before = before[-40:].rstrip(" \t:*#\x05\x06")
    return not before or before[-1] in "\n\x0e"


# ---- 3. links


@lru_cache(64)
def _plain_link(trail: str) -> re.Pattern[str]:
    """Compile a link without brackets inside it: its target if that is a plain title, else its target; label, trail."""
    return re.compile(
        rf"\[\[(?:({PLAIN})(?=[|\]])|([^\[\]{{}}|<>\n\x00-\x1f]++))(?:\|([^\[\]|\x00-\x1f]++))?+\]\]({trail})"
    )


def _match_links(text: str, site: Site, unanchored: list[Target]) -> tuple[str, list[Target]]:
    """Write what links show; return the text with marks around the anchors of articles, and the targets of the marks.

    First the links that have no brackets inside, then those around them.
    """
    parts = _plain_link(site.trail).split(text)  # text, plain title, other target, label, trail, text, ...
    out = [parts[0]]
    links: list[Target] = []
    for plain, other, label, trail, after in zip(*(parts[i::5] for i in range(1, 6)), strict=True):
        shown = label or plain or other
        if not plain or "''" in shown or shown[0] == " " or shown[-1] == " " or len(plain) > 255:
            piece, link = _write_link(plain or other, label, trail, site)
            out.append(piece + after)
            if link is not None:
                links.append(link)
        else:
            out.append(f"\x02{shown}{trail}\x03{after}")
            links.append((plain if plain[0] <= "Z" else first_letter(plain, site), ""))
    text = "".join(out)
    return _match_outer_links(text, links, site, unanchored) if "[[" in text or "]]" in text else (text, links)


def _match_outer_links(
    text: str, inner: list[Target], site: Site, unanchored: list[Target]
) -> tuple[str, list[Target]]:
    """Write the links that have brackets inside, such as files with links in their captions; `inner`: links so far."""
    trail = re.compile(site.trail)
    out: list[str] = []
    links: list[Target] = []
    opens: list[tuple[int, int, int]] = []  # "[[" that wait: (where their output starts, their links, `closed`)
    taken = closed = 0  # how many of `inner` came by; how many links were closed

    def add(piece: str) -> None:
        nonlocal taken, closed
        if piece:
            out.append(piece)
            count = piece.count(OPEN)
            links.extend(inner[taken : taken + count])
            taken += count
            closed += count

    for number, segment in enumerate(text.split("[[")):
        if number:
            opens.append((len(out), len(links), closed))
        piece, *behind = segment.split("]]")
        add(piece)
        for after in behind:
            if not opens:
                add(after)
                continue
            base, first_link, before = opens.pop()
            # Only the start is looked at, lest many brackets around one long text make it slow.
            head, pipe, _ = out[base][:400].partition("|") if base < len(out) else ("", "", "")
            gone = (pipe or ":" in head) and resolve(head, site).kind == "gone"
            if closed > before and not gone:  # a link cannot hold a link: the inner one counts, this leaves its label
                if pipe and OPEN not in head:
                    out[base] = out[base][len(head) + 1 :]
                closed += 1
                add(after)
                continue
            content = "".join(out[base:])
            del out[base:]
            if after[:1] == "]" and content.count("[") > content.count("]"):  # [[a|[b]]]
                content, after = content + "]", after[1:]
            if gone:
                unanchored += links[first_link:]
                del links[first_link:]
                add(NOTHING + after)
                continue
            head, pipe, label = content.partition("|")
            letters = after[: trail.match(after).end()]  # type: ignore[union-attr] # it may be empty
            written, link = _write_link(head, label if pipe else None, letters, site)
            out.append(written)
            if link is not None:
                links.append(link)
            after = after[len(letters) :]
            closed += 1
            add(after)
    return "".join(out), links


def _write_link(target: str, label: str | None, trail: str, site: Site) -> tuple[str, Target | None]:
    r"""Write what a link shows, between marks if it leads to an article: ("\x02buses\x03", ("Bus", ""))."""
    kind, title, fragment = resolve(target, site)
    if kind == "gone":
        return NOTHING, None
    if label is None:
        if kind == "text" and (target.lstrip()[:2] == "//" or "://" in target[:12]):
            return f"[{target}]{trail}", None  # an address in double brackets
        shown = target.lstrip(" :#")
        if "''" in shown:
            shown = shown.replace("'", "&#39;")  # in a title they are letters
    elif label.isspace() or not label.strip(_UNSEEN):
        shown = _trick(target)
    else:
        shown = _drop_quotes(label) if "''" in label else label
    shown += trail
    if any(mark in shown for mark in _BREAKING):
        shown = " ".join(_BREAKS.sub(" ", shown).split())
    if "|" in shown:
        shown = shown.replace("|", "&#124;")  # no cell of a table ends here
    if kind == "text":
        return shown, None
    bare = shown.strip(_UNSEEN)
    if bare != shown:  # what an anchor has at its edges stands outside
        start = shown.index(bare)
        return f"{shown[:start]}\x02{bare}\x03{shown[start + len(bare) :]}", (title, fragment)
    return f"\x02{shown}\x03", (title, fragment)


def _trick(target: str) -> str:
    """Apply the pipe trick: "[[Boston, Massachusetts|]]" and "[[:Help:Boston (band)|]]" show "Boston"."""
    name = target.strip().lstrip(":").rpartition(":")[2] if ":" in target else target.strip()
    name = re.sub(r" ?[(（][^()（）]*[)）]$", "", name)
    return re.split(r", |، |，", name, maxsplit=1)[0]


# ---- between: variants, tables, addresses

_VARIANT = re.compile(r"-\{([^{}]*+)\}-")
_VARIANT_NAME = re.compile(r"[a-z]{2,3}(-[a-z]+)*")


def _choose_variant(match: re.Match[str]) -> str:
    """Choose one of a page's writings: "-{zh-hans:软件; zh-hant:軟體}-" -> "软件"; "-{text}-" -> "text"."""
    content = match[1]
    flags, pipe, body = content.partition("|")
    if not pipe or not re.fullmatch(r"[A-Za-z;\- ]*", flags):
        flags, body = "", content
    if OPEN in content or CLOSE in content:
        return body  # rare, and the anchors in there must stay whole
    if set(flags) & set("HT-"):  # H adds a rule, T names the title, - removes one: nothing is shown
        return NOTHING
    parts = (part.partition(":") for part in body.split(";"))
    written = (text.strip() for name, colon, text in parts if colon and _VARIANT_NAME.fullmatch(name.strip()))
    return next(written, body)


def _write_open_table(marked: str) -> str:
    """Write a table whose end is missing as text: a row a line, its cells joined by " | "."""
    before, *tables = marked.split(TABLE)
    rows: list[list[str]] = [[]]
    for table in tables:
        head, *lines = table.split("\n")
        rows.append([_EMPTY_ANCHOR * head.count(OPEN)])  # attributes
        caption = False  # the last row is the caption
        for line in lines:
            bare = line.strip(" \x05\x06")
            mark = bare[:2]
            if mark in ("|-", "|+") or (caption and bare[:1] in ("|", "!")):
                rows.append([])
                caption = mark == "|+"
            row = rows[-1]
            if mark == "|-":
                row.append(_EMPTY_ANCHOR * line.count(OPEN))
            elif mark == "|+":
                row.append(_cell(bare[2:]))
            elif bare[:1] in ("|", "!"):
                row.extend(map(_cell, re.split(r"\|\||!!" if mark[0] == "!" else r"\|\|", bare[1:])))
            elif bare:
                row.append(f"{row.pop() if row else ''} {bare.lstrip('*#:; ')}")
    shown = ([cell.strip() for cell in row if cell.strip(_UNSEEN)] for row in rows)
    return before + "".join(f"{BREAK}{' | '.join(cells)}{BREAK}\n" if cells else "\n" for cells in shown)


def _cell(cell: str) -> str:
    """Drop a cell's attributes: "style=x | text" -> "text"."""
    head, pipe, text = cell.partition("|")
    return _EMPTY_ANCHOR * head.count(OPEN) + text if pipe else cell


_PROTOCOL = r"(?i:https?|ftps?|gopher|ircs?|svn|git|mms|nntp|worldwind|ssh|sftp|telnet|redis)"
_ADDRESS = re.compile(rf"(?<![a-zA-Z]){_PROTOCOL}://[^\s\[\]<>\"\x00-\x06]*")
_EXTERNAL = re.compile(
    rf"\[(?:{_PROTOCOL}://|//|(?i:mailto|news|tel|urn|geo|magnet|sms|bitcoin|xmpp|sips?|skype):)[^\s\[\]<>\"\x00-\x06]*+"
    r"((?:[^\[\]\n]++|\[[^\[\]\n]*+\])*+)\]"
)
_SWITCH = re.compile(
    rf"__(?:(?i:{'|'.join(_TABLE['tags']['switches'].split())})|([^\W\d_]{{2,40}})|(?<=\n__)[A-Z_]{{3,40}}(?=__\n))__"
)


def _switch(match: re.Match[str]) -> str:
    """Drop a behaviour switch; of unknown words only those that shout in letters other than ASCII: not "__init__"."""
    word = match[1]
    return match[0] if word and (word.isascii() or word != word.upper()) else NOTHING


def _drop_address(match: re.Match[str]) -> str:
    r"""Cut out an address that stands in the text, not what ends the sentence: "http://a.org/b," -> "\x04,"."""
    return HOLE + match[0][len(match[0].rstrip(",;.:!?'" if "(" in match[0] else ",;.:!?')")) :]


# ---- 4. lines

_SPECIAL = frozenset(" *#:;=-|" + HOLE + NOTHING + BREAK)
_UNSEEN = " " + HOLE + NOTHING + BREAK
_WORD = re.compile(r"\w")
_SPACES = re.compile(" {2,}")
_QUOTES = re.compile("('{2,})")


def _blocks(marked: str, hollow: bool = False) -> list[str]:
    """Cut the page into paragraphs, list items and headings, cleaned; `hollow`: there may be empty anchors already."""
    found: list[tuple[int, str]] = []  # level of a heading, else 0; text
    paragraph: list[str] = []

    def write(lines: list[str]) -> None:
        block = lines[0] if len(lines) == 1 else " ".join(lines)
        block = _clean(" ".join(map(_drop_quotes, lines)) if "''" in block else block)
        if hollow and not block.replace(_EMPTY_ANCHOR, ""):
            found.append((LEFT_OUT, block))
        elif block:
            found.append((0, block))

    for line in [*marked.split("\n"), ""]:
        if line and line[0] not in _SPECIAL:
            paragraph.append(line)
            continue
        bare = line.strip(_UNSEEN)
        first = bare[:1]
        if bare and not (line[0] == " " or first in "*#:;=|" or bare.startswith("----")):
            paragraph.append(line)
            continue
        if paragraph:
            write(paragraph)
            paragraph = []
        if first == "|":
            found.append((LEFT_OUT, bare))  # of a table whose start a template holds
        elif first == "=" and bare[-1] == "=" and bare.strip("="):
            level = min(len(bare) - len(bare.lstrip("=")), len(bare) - len(bare.rstrip("=")), 6)
            title = bare[level:-level].replace(BREAK, " ")
            found.append((level, _clean(_drop_quotes(title) if "''" in title else title)))
        elif bare:
            write([bare.lstrip("*#:;- ") if first in "*#:;-" else bare])
    return _drop_empty_sections(found)


LEFT_OUT = 7  # instead of the level of a heading, which is 1 to 6


def _drop_empty_sections(found: list[tuple[int, str]]) -> list[str]:
    """Leave out headings with no text under them.

    The anchors of what is left out stay as empty ones before the next block, or at the end of the last, so that the
    k-th anchor is that of the k-th link.

    >>> _drop_empty_sections([(2, "See also"), (2, "Diet"), (3, "Fish"), (0, "Cats eat fish."), (3, "Birds")])
    ['Diet', 'Fish', 'Cats eat fish.']
    """
    blocks: list[str] = []  # backwards
    behind = ""  # empty anchors behind the last block
    above = 0  # headings of a level less than this one have text under them
    for level, text in reversed(found):
        if text and (not level or level < above):
            blocks.append(text)
        elif OPEN in text:
            anchors = _EMPTY_ANCHOR * text.count(OPEN)
            if blocks:
                blocks[-1] = anchors + blocks[-1]
            else:
                behind = anchors + behind
        above = min(above, level) if level else LEFT_OUT
    blocks.reverse()
    if behind:
        blocks[-1:] = [blocks[-1] + behind if blocks else behind]
    return blocks


def _drop_quotes(line: str) -> str:
    """Drop the apostrophes of bold and italics, keep those that are letters: "l'''amour''" -> "l'amour"."""
    if "'''" not in line:
        return line.replace("''", "")
    parts = _QUOTES.split(line)
    bold = italic = 0
    for i in range(1, len(parts), 2):
        kept = 3 if len(parts[i]) == 4 else min(len(parts[i]), 5)
        parts[i - 1] += parts[i][kept:]  # the surplus in front is text
        parts[i] = parts[i][:kept]
        bold += kept != 2
        italic += kept != 3
    if bold % 2 and italic % 2:  # one bold is an apostrophe and italics: l'''amour''

        def rank(i: int) -> int:
            """Prefer one behind a single letter to one behind a word, and that to one behind a space."""
            return 2 if parts[i - 1][-1:] == " " else int(parts[i - 1][-2:-1] != " ")

        if chosen := min((i for i in range(1, len(parts), 2) if len(parts[i]) == 3), key=rank, default=0):
            parts[chosen - 1] += "'"
    return "".join(parts[::2])


def _clean(block: str) -> str:
    """Decode entities, mend holes, collapse spaces; "" if no word is left and no link."""
    if "&" in block:
        block = decode_entities(block).replace("\xa0", " ").replace("\n", " ")
        if OPEN in block:  # what are spaces now stand outside of an anchor
            block = re.sub("(?<! )( +)\x03", "\x03\\1", re.sub("\x02( +)", "\\1\x02", block))
    if HOLE in block:
        block = _mend(block)
    if NOTHING in block:
        block = block.replace(NOTHING, "")
    if BREAK in block:
        return _join(map(_clean, block.split(BREAK)))
    if "  " in block:
        block = _SPACES.sub(" ", block)
    block = block.strip(" ")
    return block if block[:1].isalnum() or OPEN in block or _WORD.search(block) else ""


def _join(lines: Iterable[str]) -> str:
    """Join lines, without a break at one that shows nothing."""
    out: list[str] = []
    shown = False  # whether something stands before
    for line in lines:
        visible = bool(line.replace(_EMPTY_ANCHOR, ""))
        out.append("\n" + line if visible and shown else line)
        shown = shown or visible
    return "".join(out)


_JOINT = " ,;:/–—-" + NOTHING
_PAIRS = frozenset(["()", "[]", '""', "“”", "«»", "‘’", "（）", "「」"])


def _mend(block: str) -> str:
    r"""Close the holes of dropped templates: "Rome (\x04; born 1950 \x04), \x04, is" -> "Rome (born 1950), is"."""
    left, *rest = block.split(HOLE)
    out: list[str] = []
    waiting = ""  # what stood between holes with no word between them
    for number, right in enumerate(rest, 1):
        bare = right.lstrip(_JOINT)
        waiting = waiting[:8] + right[: len(right) - len(bare)]
        if not bare and number < len(rest):
            continue
        core = left.rstrip(_JOINT)
        gap = left[len(core) :] + waiting
        waiting = ""
        for _ in range(8):  # brackets around nothing but holes; more of them would be no text
            if core[-1:] + bare[:1] not in _PAIRS:
                break
            left, right = core[:-1], bare[1:]
            core, bare = left.rstrip(_JOINT), right.lstrip(_JOINT)
            gap = left[len(core) :] + right[: len(right) - len(bare)]
        if not bare and number < len(rest):
            left, waiting = core, gap
            continue
        out.append(core)
        before = core[-1:] or (out[-2][-1:] if len(out) > 1 else "")
        left = _bridge(before, gap.replace(NOTHING, ""), bare[:1]) + bare
    out.append(left)
    return "".join(out)


def _bridge(before: str, gap: str, after: str) -> str:
    """Choose what stands between two words from what stood around a hole between them: ("a", ", , ", "b") -> ", "."""
    mark = gap.strip(" ")[:1]
    if not before or before in "([" or (after and after in ")]"):
        return mark if mark and mark in "-–—/" and before else ""
    space = " " if " " in gap else ""
    if not mark:
        return "" if after and after in ".,;:!?" else space
    if mark in "-–—/":
        return f"{space}{mark}{space}" if after else ""
    return "" if after and after in ".!?" else mark + space
