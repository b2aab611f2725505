r"""Trees of wiki pages in, a Document a page out: DokuWiki, TiddlyWiki (`.tid`), MediaWiki's wikitext in files.

A survey reads what the pages are called, so that each link can name its page. DokuWiki and TiddlyWiki are read line by
line: patterns say what their marks are. Wikitext is read as that of a dump; Markdown pages among it as others are.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from html import unescape
from itertools import accumulate, chain
from posixpath import basename, dirname, join, normpath, splitext
from typing import Any
from unicodedata import combining, normalize

from linkbert.corpora.reader import NO_TEXT, NoOptions, Reader, Record, Skipped
from linkbert.corpora.readers import markdown, wikitext
from linkbert.corpora.readers.jsonl import load_json
from linkbert.corpora.readers.pages import Pages as Notes
from linkbert.corpora.readers.site import NAMESPACES, Site, cut_out, mark_exponents, name_subpages
from linkbert.corpora.resolve import unquote
from linkbert.corpora.sources import decode_text
from linkbert.records import Document, Link, Redirect

NO_STORE = "tiddlers that are not JSON (left out)"
SYSTEM, NO_PAGE = "system tiddler (left out)", "tiddler that is not wikitext (left out)"
OUTSIDE = "file outside of data/pages (left out)"
LARGEST = 8 << 20  # bytes of a page
# Names such as "Help:Page" are those of files; pictures and categories are not.
SITE = Site(
    first_letter=False, namespaces={name: None for name, key in NAMESPACES.items() if key not in (-2, -1, 6, 14)}
)
Target = tuple[str, str] | None
Marks = tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]
_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ł": "l", "ø": "o", "æ": "ae"})  # as DokuWiki names files
_UP = re.compile(r"\[\[(\.\.?/[^\[\]|\n]*)")
_MOVED = re.compile(r"\s*#redirect\s*+:?\s*\[\[([^\[\]|#\n]+)", re.IGNORECASE)
_TAGS = re.compile(r"\[\[(.{0,500}?)\]\]|(\S+)")
_STORE = re.compile(r'<script class="tiddlywiki-tiddler-store"[^<>]*+>((?:[^<]|<(?!/?script))*+)</script>')
_AREA = re.compile(r"<div ([^<>]*+)>\s*+<pre>([^<]*+)</pre>")  # of versions before 5.2
_FIELD = re.compile(r'(?<![\w.-])([\w.-]++)="([^"]*)"')
_NAMED = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]+)\]\]")

# Blocks that are no text; what a line starts with; and marks inside it, of which these groups are kept: `raw` text, a
# `link` and what is `shown` of it, what is `hidden`, but for its links; an `end` is that of the line.
_DOKU = (
    re.compile(r"<(?P<tag>code|file|html|php)\b[^<>]*>|~~[A-Z][^~\n]*~~", re.DOTALL | re.IGNORECASE),
    re.compile(
        r"(?P<heading>[ ]*={2,6}(?=.*==[ ]*$))|(?P<item>(?:[ ]{2}|\t)[ \t]*[*-][ ]?|>+[ ]?)"
        r"|(?P<table>[|^](?=.*[|^][ ]*$))|(?P<gone>(?:[ ]{2,}|\t)(?=\S).*|-{4,}[ ]*$)"
    ),
    re.compile(
        r"%%(?P<raw>.*?)(?:%%|$)|\[\[(?P<link>[^\[\]|\n]+)(?:\|(?P<shown>[^\[\]\n]*))?\]\]|\(\((?P<hidden>[^()]*)\)\)"
        r"|(?P<label>\bhttps?://[^\s|()\[\]{}\\]+)"
        r"|(?P<end>\\\\(?=\s|$))|\{\{(?:page|section)>(?P<included>[^{}#&|]++)[^{}]*\}\}|\{\{[^{}]*\}\}"
        r"|</?[A-Za-z][^<>]*>|\*\*|(?<!:)//|__|''|(?<!=)==+[ ]*$"
    ),
)
_ZIM = (  # of the editor called Zim
    re.compile(r"^(?P<fence>''')[ ]*$|(?P<object>\{\{\{)\w+:", re.MULTILINE),
    re.compile(
        r"(?P<heading>={2,6}[ ](?=.*==[ ]*$))|(?P<item>\s*(?:[*\u2022]|\d+\.|[A-Za-z]\.)[ ]+|\s*\[[ *x<>]\][ ]+)"
        r"|(?P<table>\|(?=.*\|[ ]*$))|(?P<gone>-{4,}[ ]*$)"
    ),
    re.compile(
        r"''(?P<raw>[^'\n]+)''|\[\[(?P<link>[^\[\]|\n]+)(?:\|(?P<shown>[^\[\]\n]*))?\]\]|\{\{[^{}\n]*\}\}"
        r"|(?P<label>\bhttps?://[^\s|\[\]{}]+)|</?sup>|\*\*|(?<!:)//|__|~~|(?<!=)==+[ ]*$"
        r"|(?P<hidden>(?!))|(?P<included>(?!))"
    ),
)
_ZIM_HEAD = re.compile(r"Content-Type: text/x-zim-wiki\n(?:[\w-]+: .*\n)*")
_TIDDLY = (
    re.compile(
        r"^(?P<fence>```|\$\$\$)|^(?P<macro>\\)(?:define|procedure|function|widget)\b[^\n()]*\([^()\n]*\)[ \t]*\n"
        r"|^\\\w[^\n]*|<!--(?:(?!-->|<!--).){0,50000}+-->|<(?P<tag>style|script|\$codeblock|svg)\b",
        re.DOTALL | re.MULTILINE,
    ),
    re.compile(
        r"(?P<heading>!{1,6}[ ]*)|(?P<item>[*#:;>]+[ ]*|<<<.*$|\"\"\"|@@\S*$)|(?P<table>\|(?=.*\|))"
        r"|(?P<gone>-{3,}[ ]*$)"
    ),
    re.compile(
        r"``?(?P<raw>[^`\n]+)``?|\[\[(?:(?P<shown>[^\[\]|]*)\|)?(?P<link>[^\[\]|]+)\]\]|\{\{\{(?P<hidden>[^{}]*)\}\}\}"
        r"|\[ext\[(?:(?P<label>[^\[\]|]*)\|)?[^\[\]]*\]\]|\[img[^\[\]]*\[(?:(?!\[img)[^\]])*+\]\]"
        r"|\{\{(?:\|\|)?(?P<included>[^{}|!#]++)[^{}]*\}\}"
        r"|<<[^<>]*>>|</?[$A-Za-z][^<>]*>|''|(?<!:)//|__|\^\^|,,|~~|@@(?:[.\w-]+[:;][^;@]{0,99};)*(?:\.[^\s@]+[ ]+)?"
        r"|(?<!\w)~(?=[A-Z])|(?<![\w$/.])(?P<camel>[A-Z]+[a-z]+[A-Z]\w*)"
    ),
)
_BESIDE = {"pages", "media", "meta", "attic", "media_attic", "media_meta", "index", "cache", "locks", "tmp", "log"}
_NAMESPACE = re.compile(rf"\[\[:?(?:{'|'.join(_BESIDE)}):".encode())  # then they are no folders of data

# TiddlyWiki's macros: what defines one, calls one, is given to it, and is put into it.
_GLOBAL = re.compile(rb"^tags:.*\$:/tags/(?:Macro|Global)\b", re.MULTILINE)
_DEFINED = re.compile(
    r"^\\(define|procedure|function)[ ]+([^\s()]+)\(([^()\n]*)\)[ \t]*(?:\n(.{0,2000}?)^\\end\b|(\S[^\n]*))",
    re.DOTALL | re.MULTILINE,
)
_ACTIVE = re.compile(r"<\$(?:list|reveal|button|edit)")  # such a definition shows what only TiddlyWiki knows
_STRING = r'"""(?:(?!""").){0,20000}+"""|"[^"]*"|(?<=[\s:=])\'[^\'\n]*\'|\{\{\{[^{}]*\}\}\}|`[^`]*`'
_CALL = re.compile(
    rf"``?[^`\n]+``?|\{{\{{!!(?P<field>[\w-]+)\}}\}}|<<(?P<macro>[^\s<>]+)(?P<given>(?:{_STRING}|[^<>])*+)>>|<%[^%]*%>"
    rf"|<\$link\s(?P<to>(?:{_STRING}|<<[^<>]*>>|[^<>])*+)(?<!/)>(?P<label>.{{0,500}}?)</\$link>"
    rf"|</?(?P<tag>[$A-Za-z][\w$.-]*)(?P<has>(?:{_STRING}|<<[^<>]*>>|[^<>])*+)>",
    re.DOTALL,
)
_GIVEN = re.compile(rf"(?:([$\w-]+)\s*[:=]\s*)?({_STRING}|\[\[[^\[\]]*\]\]|<<[^<>]*>>|[^\s<>\"'`,]+)", re.DOTALL)
_QUOTES = re.compile(r'("""|["\'`]|\[\[)(.*)(?:\1|\]\])', re.DOTALL)
_FILTER = re.compile(r"\{\{\{ *\[([\w.-]+)\[(.*)\]\] *\}\}\}")  # a function of one value
_USED = re.compile(r"=<<([\w-]+)>>|<([\w-]+)>(?=\])|<<([\w-]+)>>|\$\(([\w-]+)\)\$|\$([\w-]+)\$")
_ITEM = re.compile(r"=?(?:\[\[([^\[\]]*)\]\]|\[<([\w-]+)>\]|([^\s\[\]<>+]+))\s*")  # of a function that joins them
CALLS, DEPTH = 20_000, 8  # of macros in a page, and in each other
TOO_MANY = "macro in too many others, or of a page with too many (left out)"


@dataclass(slots=True)
class Pages:
    """The pages of a tree, by their ids and by other forms of their names."""

    ids: dict[str, str] = field(default_factory=dict)  # of each file
    names: dict[str, set[str]] = field(default_factory=dict)
    notes: Notes | None = None  # what a survey makes of pages in Markdown
    top: str = ""  # of DokuWiki: a pattern of where its pages lie, data/pages or, in a folder of data, pages
    macros: dict[str, tuple[str, str]] = field(default_factory=dict)  # of TiddlyWiki: parameters and text

    def find(self, *names: str) -> str:
        """Return the page that one of the names is, else the one page with that name in another form; "" if none."""
        known = [(name, self.names.get(_fold(name), set())) for name in names]
        exact, only = (name for name, ids in known if name in ids), (min(ids) for _, ids in known if len(ids) == 1)
        return next(chain(exact, only), "")


@lru_cache(1 << 16)
def _fold(name: str) -> str:
    plain = normalize("NFKD", name.casefold().translate(_LETTERS))
    plain = "".join(letter for letter in plain if not combining(letter))
    return "/".join(re.sub(r"[\W_]+", "_", part).strip("_") for part in plain.split("/"))


def _survey(id_of: Callable[[str, bytes], str], ends: bool, files: Iterable[tuple[str, bytes]], *more: Any) -> Pages:
    """Read what pages are called; `ends`: also by the ends of their paths."""
    pages, notes = Pages(), list[tuple[str, bytes]]()
    for name, data in files:
        page = pages.ids[name] = id_of(name, data)
        for first in range(page.count("/") + 1 if ends else 1):
            pages.names.setdefault(_fold("/".join(page.split("/")[first:])), set()).add(page)
        notes += [(name, data)] if name.endswith(markdown.READER.suffixes) else []
        pages.macros |= _definitions(decode_text(data, name, Skipped())) if _GLOBAL.search(data) else {}
    if notes and markdown.READER.survey:
        pages.notes = markdown.READER.survey(iter(notes), *more)
        for page in pages.ids.values():
            pages.notes.add(page, page)
        pages.notes.ends.sort()
    return pages


def _write(
    text: str, marks: Marks, find: Callable[[str, bool], tuple[Target, str]], change: Callable[[str], str] = str
) -> markdown.Writer:
    """Write a page's lines; `find` returns what a link means, and what it shows where nothing else is said.

    What is no text goes first, then `change` changes the rest. A link that is not a `sure` one, as it has no mark but
    its capitals, is none where there is no page of its name.
    """
    (gone, start, inline), writer = marks, markdown.Writer()

    def add(text: str) -> None:
        end = 0
        for found in inline.finditer(text):
            groups: dict[str, str] = found.groupdict("")
            writer.add(text[end : found.start()] + groups["raw"] + groups.get("label", ""))
            end = found.end()
            if name := groups["link"] or groups["included"] or groups.get("camel"):
                target, shown = find(name.strip(), "camel" not in groups or not groups["camel"])
                label = groups["shown"] if "camel" in groups else inline.sub(r"\g<raw>", groups["shown"])
                writer.link(
                    target, "" if groups["included"] else label.strip() or shown * (not groups["shown"].strip())
                )
            elif groups["hidden"]:
                writer.hidden += 1
                add(groups["hidden"])
                writer.hidden -= 1
            elif groups.get("end"):
                writer.end_line()
        writer.add(text[end:])

    for line in change(cut_out(text, gone, "\n")).split("\n"):
        found = start.match(line)
        if found or not line.strip():
            writer.end_line()
        if found and found.lastgroup == "gone":
            continue
        writer.hidden = int(found is not None and found.lastgroup == "table")
        add(line[found.end() if found else 0 :] + " ")
        writer.hidden = 0
        if found and found.lastgroup == "heading":
            writer.end_line()
    writer.end_line()
    return writer


def _path_of(name: str, _: bytes = b"") -> str:
    """Return the id of a page: its path without the suffix, from the top of DokuWiki's pages where there is one."""
    return splitext(normalize("NFC", unquote(name)))[0].rpartition("data/pages/")[2]


def _survey_dokuwiki(files: Iterable[tuple[str, bytes]], *more: Any) -> Pages:
    """Read what pages are called, and where they lie in an installation or its folder of data."""
    tops = set[str]()

    def look(name: str, data: bytes) -> str:
        tops.add("data/pages/" if "data/pages/" in name else "" if _NAMESPACE.search(data) else name.partition("/")[0])
        return _path_of(name)

    pages = _survey(look, False, files, *more)
    if "data/pages/" in tops:
        pages.top = "data/pages/"
    elif "pages" in tops <= _BESIDE:
        pages.top, pages.names = "^pages/", {}
        for name, page in pages.ids.items():
            pages.ids[name] = page.removeprefix("pages/")
            pages.names.setdefault(_fold(pages.ids[name]), set()).add(pages.ids[name])
    return pages


def _read_dokuwiki(name: str, text: str, pages: Pages, _: Skipped) -> Iterator[Record]:
    page = pages.ids[name]

    def find(link: str, _: bool) -> tuple[Target, str]:
        path, place = link.partition("#")[::2]
        if "://" in path or path.startswith("www."):
            return ("http://" * ("://" not in path) + path, place), link
        if not path or ">" in path or "@" in path or path.startswith("\\"):
            return None, path.rpartition(">")[2] or place
        # A slash may be one of the letters of a name.
        flat = join(dirname(page), re.sub("[:;]", "/", path.replace("/", "_"))) if "/" in path else ""
        path = re.sub(r"^(\.+)(?=[^./])", r"\1/", re.sub("[:;]", "/", path.partition("?")[0]))
        whole = path if "/" in path and path[0] != "." else join(dirname(page), path)
        whole = normpath(f"/{whole.strip('/')}")[1:]  # nothing is above the top
        starts = f"{whole}/start", f"{whole}/{basename(whole)}"
        target = pages.find(*([*starts, whole] if path[-1] == "/" else [whole, *starts, flat or whole])) or whole
        return (target, place), basename(path.strip("/"))

    heading = re.search(r"^[ ]*={2,6}[ ]*(.+?)[ ]*={2,6}[ ]*$", text, re.MULTILINE)
    title = _write(heading[1], _DOKU, find).finish("")[0] if heading else basename(page)
    text = re.sub("</?nowiki>", "%%", text)
    text, links = _write(text, _DOKU, find, mark_exponents).finish(title)[:2]
    yield Document(page, title, text, links)


def _read_zim(name: str, text: str, pages: Pages, _: Skipped) -> Iterator[Record]:
    """Read a page of the editor Zim: a name is looked for beside the page, then above it; "+B" lies below it."""
    page = pages.ids[name]

    def find(link: str, _: bool) -> tuple[Target, str]:
        path, place = link.partition("#")[::2]
        if "://" in path:
            return (path, place), link
        if not path or "?" in path or "@" in path or path[0] in "/~." or "\\" in path:  # other wikis, mail, files
            return None, path.partition("?")[2] or link
        folders = {"+": [page], ":": [""]}.get(
            path[0], [*accumulate(f"{page}/".split("/")[:-2], join, initial="")][::-1]
        )
        names = [join(folder, path.lstrip("+").strip(":").replace(":", "/")) for folder in folders]
        return (pages.find(*names) or names[0], place), path.lstrip("+:")

    text = re.sub(r"\^\{([^{}\n]*)\}", r"<sup>\1</sup>", _ZIM_HEAD.sub("", text, count=1))
    text = re.sub(r"_\{([^{}\n]*)\}", r"\1", text)
    writer = _write(text, _ZIM, find, mark_exponents)
    title = basename(page).replace("_", " ")
    yield Document(page, title, *writer.finish(title)[:2])


def _definitions(text: str) -> dict[str, tuple[str, str]]:
    """Return the macros that a tiddler defines whose text is that of every call: parameters and text by name."""
    macros: dict[str, tuple[str, str]] = {}
    for found in _DEFINED.finditer(text):
        kind, name, given, body = found[1], found[2], found[3], found[4] or found[5]
        if kind == "function":
            items, joins, joint = body.partition("+[join[")
            if _ITEM.sub("", items).strip():
                continue
            shown = [literal + word + f"<<{value}>>" * bool(value) for literal, value, word in _ITEM.findall(items)]
            body = (joint.partition("]")[0] if joins else " ").join(shown)
        if not _ACTIVE.search(body):
            macros[name] = given, body.strip()
    return macros


def _expand(text: str, macros: dict[str, tuple[str, str]], fields: dict[str, str], skipped: Skipped) -> str:
    """Put in what macros and fields show, and make links of the widgets that are; other macros and tags go.

    >>> _expand('See <<.a "the oak" Oak>>.', {".a": ("_, to", "<$link to=<<to>>><b><<_>></b></$link>")}, {}, Skipped())
    'See [[the oak|Oak]].'
    """
    left, depth = CALLS, 0

    def leave_out() -> str:
        skipped.note(TOO_MANY, fields.get("title", "?"))
        return ""

    def value_of(written: str) -> str:
        if found := _FILTER.fullmatch(written):
            return call(found[1], [("", found[2])])
        return _QUOTES.sub(r"\2", written)

    def call(name: str, given: list[tuple[str, str]]) -> str:
        nonlocal left, depth
        left -= 1
        if left < 0 or depth >= 2 * DEPTH:
            return leave_out()
        depth += 1
        parameters, body = macros.get(name, ("", ""))
        named = {key: value_of(value) for key, value in given if key}
        places = (value_of(value) for key, value in given if not key)
        names = re.findall(r"([\w-]+)(?:\s*:\s*(\"[^\"]*\"|'[^']*'|[^\s,]+))?", parameters)
        others = (chain(places, map(value_of, [default])) for _, default in names)  # a default, where no place is left
        values = {key: named[key] if key in named else next(each) for (key, _), each in zip(names, others, strict=True)}
        depth -= 1

        def put_in(used: re.Match[str]) -> str:
            value = values.get(used[used.lastindex or 0])
            forms = {1: f'="""{value}"""', 2: f"[{value}]"}
            return used[0] if value is None else forms.get(used.lastindex or 0, value)

        left -= (len(body) + len(_USED.findall(body)) * max(map(len, values.values()), default=0)) >> 10
        return _USED.sub(put_in, body) if left >= 0 else leave_out()

    def put(found: re.Match[str]) -> str:
        nonlocal left, depth
        left -= 1
        field, macro, given, to, label, tag, has = found.groups()
        if found[0][0] == "`":
            return found[0]
        if left < 0 or depth > DEPTH:
            return leave_out() if (tag or "$")[0] == "$" else ""
        if field:
            return fields.get(field, "")
        rows = _GIVEN.findall(given or to or (has or "").rstrip("/"))
        own = {key: value_of(value) for key, value in rows if key}
        if label is not None:
            shown, target = " ".join(_CALL.sub(put, label).split()), own.get("to", "")
            return shown if not target or "[" in shown + target else f"[[{shown or target}|{target}]]"
        if tag == "$text":
            return own.get("text", "")
        is_call = tag in ("$macrocall", "$transclude")
        name = macro or (own.get("$name", own.get("$variable", "")) if is_call else "")
        depth += 1
        shown = _CALL.sub(put, call(name, rows))
        depth -= 1
        return shown

    return _CALL.sub(put, text)


def _read_fields(name: str, text: str) -> tuple[dict[str, str], str]:
    head, _, body = text.removeprefix("\n").partition("\n\n")
    lines = head.rstrip("\n").split("\n")
    titled = text[:1] != "\n" or "\ntitle:" in f"\n{head}"
    if not titled or not all(":" in line for line in lines):  # there is none
        lines, body = [], text
    fields = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return {"title": basename(_path_of(name))} | fields, body


def _title_of(name: str, data: bytes) -> str:
    return _read_fields(name, decode_text(data, name, Skipped()))[0]["title"]


def _read_tiddler(name: str, text: str, pages: Pages, skipped: Skipped) -> Iterator[Record]:
    fields, body = _read_fields(name, text)
    title, kind = fields["title"], fields.get("type", "")
    is_system = title.startswith("$:/") or "systemConfig" in fields.get("tags", "")  # that is code of earlier versions
    if is_system or kind not in ("", "text/vnd.tiddlywiki"):
        skipped[SYSTEM if is_system else NO_PAGE] += 1
        return

    def find(link: str, sure: bool) -> tuple[Target, str]:
        target: str = "" if plain and not sure else link if "://" in link else pages.find(link) or link * sure
        return ((target, "") if target and not target.startswith("$:/") else None), link

    plain = re.search(r"^\\rules (?:except .*\bwikilink\b|only (?!.*\bwikilink\b))", body, re.MULTILINE)
    macros = pages.macros | _definitions(body)
    writer = _write(body, _TIDDLY, find, lambda text: _expand(text, macros, fields, skipped))
    named = [one or other for one, other in _TAGS.findall(fields.pop("tags", ""))]
    named += [link for value in fields.values() for link in _NAMED.findall(value)]
    known = (pages.find(name.strip()) for name in named)
    writer.links += [Link(-1, -1, page) for page in known if page and not page.startswith("$:/")]
    text, links, _ = writer.finish(title)
    yield Document(title, title, text, links)


def _read_wikitext(name: str, text: str, pages: Pages, _: Skipped) -> Iterator[Record]:
    page, folder = pages.ids[name], dirname(name)

    def find(target: str) -> str:
        path = _path_of(target) if target.endswith((*WIKITEXT.suffixes, *WIKITEXT.inside)) else target
        names = [] if path[:1] == "/" else [join(folder, path)], [path.lstrip("/"), path.replace(":", "/")]
        return pages.find(*chain(*names)) or path

    source = _UP.sub(lambda up: "[[" + normpath(join(folder, up[1])), name_subpages(text, page, pages.find))
    if moved := _MOVED.match(source):
        yield Redirect(page, find(moved[1].strip()))
        return
    text, links = wikitext.parse(source, SITE)
    links = tuple(replace(link, target=find(link.target)) for link in links)
    yield Redirect(name, page)
    yield Document(page, basename(page).replace("_", " "), text, links)


def _read(
    read: Callable[..., Iterator[Record]], name: str, data: bytes, pages: Pages, skipped: Skipped
) -> Iterator[Record]:
    if name.endswith(markdown.READER.suffixes) and markdown.READER.read_file:
        yield from markdown.READER.read_file(name, data, pages.notes or NoOptions(), skipped)
    elif read is _read_dokuwiki and not re.search(pages.top, name):
        skipped[OUTSIDE] += 1
    else:
        records = [*read(name, decode_text(data, name, skipped), pages, skipped)]
        if all(getattr(record, "text", name) for record in records):
            yield from records
        else:
            skipped.note(NO_TEXT, name, pages.ids[name])


def read_store(name: str, text: str, skipped: Skipped) -> Iterator[Record]:
    """Read a TiddlyWiki that is one page of HTML: its tiddlers, as if they lay in files."""
    tiddlers = []
    for store in _STORE.findall(text):
        try:
            tiddlers += [each for each in load_json(store, skipped, name) if isinstance(each, dict)]
        except (ValueError, TypeError):
            skipped.note(NO_STORE, name)
    for head, body in _AREA.findall(text):
        said = {key: unescape(value) for key, value in _FIELD.findall(head)}
        tiddlers += [said | {"text": unescape(body)}] if "title" in said else []
    files = {}
    for fields in tiddlers:
        lines = [f"{key}: {' '.join(str(value).split())}" for key, value in fields.items() if key != "text"]
        files[f"{name}#{fields.get('title')}.tid"] = "\n".join([*lines, "", str(fields.get("text", ""))]).encode()
    pages = _survey(_title_of, False, files.items())
    for file, data in files.items():
        yield from _read(_read_tiddler, file, data, pages, skipped)


DOKUWIKI = Reader(
    read_file=partial(_read, _read_dokuwiki),
    survey=_survey_dokuwiki,
    inside=(".txt",),
    largest=LARGEST,
    marks=(rb"(?m)\A(?!Content-Type: text/x-zim-wiki)(?:.*\n)*?[ ]*======[^=\n]*\w[^=\n]*======[ ]*\r?$",),
)
ZIMWIKI = Reader(
    read_file=partial(_read, _read_zim),
    survey=partial(_survey, _path_of, False),
    inside=(".txt",),
    largest=LARGEST,
    marks=(rb"\AContent-Type: text/x-zim-wiki\b",),
)
TIDDLYWIKI = Reader(
    read_file=partial(_read, _read_tiddler),
    survey=partial(_survey, _title_of, False),
    suffixes=(".tid",),
    largest=LARGEST,
)
WIKITEXT = Reader(
    options=markdown.READER.options,
    read_file=partial(_read, _read_wikitext),
    survey=partial(_survey, _path_of, True),
    suffixes=(".mediawiki", ".wikitext", ".wiki"),
    inside=(".md", ".markdown"),
    largest=LARGEST,
)
