"""Which page of a tree a link means: all its pages by all their names come in, the id of one, or nothing, goes out.

The order: the path as written, in other capitals; a page of the link's own folder, the nearest, the least deep; a
title; an alias. What pages are called besides follows from their front matter, their file names and conventions.toml.
"""

import html
import json
import logging
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import accumulate, islice
from pathlib import PurePosixPath
from posixpath import join
from unicodedata import normalize

from linkbert.corpora.reader import Skipped, option
from linkbert.corpora.readers.site import read_table
from linkbert.corpora.resolve import (
    MEDIA,
    NOTE_SUFFIX,
    OF_PELICAN,
    SOURCE_SUFFIX,
    as_latin1,
    note_name,
    note_path,
    resolve_in_note,
    unquote,
)
from linkbert.corpora.sources import decode_text

log = logging.getLogger(__name__)
ADDRESSES = ("permalink", "url", "slug", "id", "path")  # keys of front matter whose values are addresses
MOVED = ("redirect_to", "redirect_url")  # of jekyll-redirect-from, DocFX: where a page that has no text leads
FACTS = ("date", "category", "categories", "tags", "heading", *MOVED)  # and what stands in addresses, or is no name
WITHIN = "within:"  # how addresses begin that we make of marks: "within:css:color", a page color below a folder css
INDEXES = ("index", "readme", "_index")  # files that stand for their folder
HOST_PAGES = 3  # different addresses of a host that have to name pages, and half of all that are seen
HOST_PART = 5  # or so many in folders of the tree, and four fifths of those in such folders
LOOKED_AT = 2_000  # wiki links with a label that say which side is the page
BARE = 5  # addresses of a word that have to name one page each, and three quarters of all that are seen
MOST_SITES = 50  # of which so many have most links
LARGEST = 8 << 20  # bytes of a file
NO_NOTEBOOK = "notebook that is not JSON, or has no cells (left out)"
HEAD = 1 << 16  # characters of a page in which it says its names

_APART = re.compile(r"[\s_+-]+")
_SAID = re.compile(
    r"^([ \t-]*)((?i:permalink|slug|url|path|u?id|title|alias(?:es)?|redirect_(?:from|to|url)|date|"
    r"categor(?:y|ies)|tags))[ \t]*(::?|=)[ \t]*((?:[|>][+-]?[ \t]*(?:\n[ \t]+\S.*)+)|.*(?:\n[ \t]*-[ \t].*)*)",
    re.M,
)
_VALUE = re.compile(r"""[ \t]*(?:-[ \t]+)?("[^"]*"|'[^']*'|\[\[[^\[\]]*\]\]|[^,\[\]\n]+)""")
_FRONT = re.compile(r"(?:[ \t]*\n)*(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r"""(["'])(.*)\1(?:\s++#.*)?|[|>][+-]?""", re.DOTALL)
_ITEM = re.compile(r"\n\s*(?:\n|- )")
_KEY = re.compile(r"""\s*+(?:#.*+\s*+)*+(?:[\w"'. /-]+[:=]|[\[\t?]|\Z)""")
_H1 = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1|^(?:- )?# +([^\n]+)$", re.MULTILINE | re.DOTALL)  # or code
_TRANSLATED = re.compile(r"^i18n/([^/]+)/docusaurus-plugin-content-(docs|blog)/(?:current/|version-)?")
_DATED = re.compile(r"(\d{4})-(\d\d)-(\d\d)-(.+)")
_JOURNAL = re.compile(r"(\d{4})[_-](\d\d)[_-](\d\d)")
_DAY = re.compile(r"yyyy|M{2,4}|dd|EEEE|E{1,3}|do|d|M")  # how Logseq calls a day, and how strftime does
_DAYS = {"yyyy": "%Y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "dd": "%d", "EEEE": "%A"}  # and "%a" for others of E
_LAST = re.compile(rb"""^[ \t]*lastVersion:[ \t]*["']([^"'\n]+)""", re.MULTILINE)
_TITLED = re.compile(rb'^[^;\n]*:journal/page-title-format\s+"([^"\n]+)"', re.MULTILINE)
_ID = re.compile(r"(?:^|/)(\d{8,14})[ _-][^/]*$")
_NUMBERED = re.compile(r"\d+\s*[-_.]+\s*(?=[$@]?[^\d\W])")
_SAID_LANGUAGE = re.compile(r"\?lang=([\w-]+)")
LABEL = re.compile(  # of MyST: before a heading or something else, or as an option of a directive
    r"^(?:\(([^()\n]{1,200})\)=[ \t]*$(?:\n\s*(#+[ ].*)$)?|[ \t]*:(?:name|label):[ \t]*([^\s`\"<>{}]+)[ \t]*$)", re.M
)
_FIGURE = re.compile(  # of MyST, and its label
    r"^[ \t]*[`:~]{3,}\{(?:\w+-)?(figure|table)\}.*\n(?:[ \t]*:.*\n)*?[ \t]*:(?:name|label):[ \t]*(\S+)", re.M
)
_HEADED = re.compile(r"^#{1,6}[ ]+(.*?)[ ]*(?:\{(?:[^{}#\n]*+#([\w:.-]++))?+[^{}\n]*+\})?[ ]*$", re.M)  # of Pandoc
_SHOWN = re.compile(r"^::: ([\w.]+)[ \t]*$", re.MULTILINE)  # of mkdocstrings
_LABELS = re.compile(  # of Documenter.jl: what a page is about, and its headings
    r"^#{1,6}[ ]+(?:\[([^\[\]\n]+)\]\(@id[ ]*([^()\n]*)\)|(.+?))[ ]*$|^```@docs\n(.*?)^```", re.MULTILINE | re.DOTALL
)
_SHOWS_TITLES = re.compile(r"\[AUTOTITLE\]|<(?:doc|xref):")  # of GitHub's docs, DocC, DocFX
_FENCED = re.compile(r"^[ ]{0,3}(```+|~~~+).*?^[ ]{0,3}\1", re.MULTILINE | re.DOTALL)
_LOCALE = r"[a-z]{2}(?:[-_][A-Za-z]{2,4})?"
_LANGUAGE = re.compile(r"\.[a-z]{2}(?:-[a-z]{2,4})?\Z")
_ADDRESSES = (  # of those that start with letters of their own the search is fast
    r"""https?://[^\s<>()"'\]#?]+""",
    r"\]\(<?(?:@(?=/))?(/[^\s<>()#?]+|[\w$@-]+(?=[)#]))",
    r"\]:[ ]*(/[^\s#?]+)",
    r'href="(/[^"#?]+)',
)
_LABELLED = re.compile(r"\[\[([^\[\]|\n#]++)(?:#[^\[\]|\n]*+)?\|([^\[\]|\n#]++)(?:#[^\[\]|\n]*+)?\]\]")
_WEB = re.compile(r"(?:https?:)?//(?:www\.)?", re.IGNORECASE)
_OF_PROGRAM = re.compile(  # of Obsidian, Bear, Logseq, and of Nikola
    r"(?:obsidian|bear|logseq|joplin|craftdocs|link)://(?:[^#]*?[?&](?:file|page|title|name|filepath)=([^&#]+)"
    r"|(?:slug|filename|vault/[^/]+)/([^?#]+))",
    re.IGNORECASE,
)
_HEADER = re.compile(  # of MultiMarkdown and Pelican: lines before the first blank one
    r"(?:title|(?:date|authors?|slug|category|tags|status|lang|layout|css|summary)(?=[^\n]*\n[a-z][\w -]{0,40}:))"
    r"[ \t]*:(?![:/])[^\n]*\n(?:(?:[a-z][\w -]{0,40}:(?![:/])|[ \t]+\S)[^\n]*\n)*(?=[ \t]*(?:\n|\Z))",
    re.IGNORECASE,
)
_FILES = re.compile(r"^git(?:hub|lab)\.com/.*/files/")  # whose root is the top of the tree
REPOSITORIES = ("github.com", "gitlab.com")
_SETTING = re.compile(r"""([ \t]*)(?:- )?["']?([\w/-]+)["']?[ \t]*[:=][ \t]*["']?([^"'\s#]*)""")
_OF_SITE = re.compile(
    r"""^[ \t]{0,4}["']?(?:html_)?(?:base|site)?_?url["']?[ \t]*[:=][ \t]*["']?((?:https?:/)?/[^\s"'#,]*)""",
    re.M | re.I,
)
_PLACE = re.compile(
    r":(?:slugified_)?(?:file|base)?(categor(?=ies|y)|(?:short_)?year|month|(?:y_)?day|title|slug|name|path|collection|output_ext)(?:ies|y\b)?"
)
_OF_WIKI = re.compile(r"(?=/[^/]+/[^/]+/(?:-/)?wikis?/)")
_REPOSITORY = re.compile(r"^(git(?:hub|lab)\.com/[^/]+/[^/]+)/(?:-/)?(?:((?:blob|tree|edit|raw)/[^/]+)|wikis?)/")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a tool writes links and names; conventions.toml says what the fields mean."""

    name: str = ""
    signs: tuple[str, ...] = ()
    label_first: bool | None = None
    own_address: bool = False
    flat: bool = False
    outline: bool = False
    tags: str | None = None
    day: str = "MMM do, yyyy"


_YAML = ("_config", "config", "hugo", "mkdocs", "permalinks")  # the last of Hugo's folder of settings
_SETTINGS = [f"{name}.{kind}" for name in _YAML for kind in ("yml", "yaml", "toml")]
_SETTINGS += [f"docusaurus.config.{kind}" for kind in ("js", "ts", "mjs", "mts", "cjs", "cts")]
SETTINGS = (*_SETTINGS, "config.edn", "conf.py", "versions.json")
_DATE = "/:categories/:year/:month/:day/:title"
_DATES = {"year": "%Y", "short_year": "%y", "month": "%m", "day": "%d", "y_day": "%j"}
STYLES = {"date": _DATE, "pretty": f"{_DATE}/", "ordinal": "/:categories/:year/:y_day/:title",
          "none": "/:categories/:title"}  # fmt: skip
DIALECTS = {name: Dialect(name, tuple(row.pop("signs")), **row) for name, row in read_table("conventions.toml").items()}


def recognise(files: Iterable[str]) -> tuple[Dialect, str]:
    """Find whose tree it is by its files: the dialect, and the sign that lies least deep.

    >>> recognise(["site/book.toml", "site/src/SUMMARY.md", "site/src/a.md"])[0].name
    'mdbook'
    """
    found = [
        (file.count("/"), order, file, dialect)
        for file in files
        for order, dialect in enumerate(DIALECTS.values())
        if any(fnmatchcase(f"/{file}", f"*/{sign}") for sign in dialect.signs)
    ]
    *_, file, dialect = min(found, key=lambda each: each[:3], default=("", Dialect()))
    return dialect, file


@dataclass(frozen=True, slots=True)
class Options:
    """What a user says of a tree of pages."""

    root: str = option("", "folder of the tree at which addresses such as /guide start (docs)")
    host: str = option("", "address under which the tree is published (example.org/docs)")
    dialect: str = option("", f"whose notes or site it is: {', '.join(DIALECTS)}, or none")

    def __post_init__(self) -> None:
        if self.dialect not in ("", "none", *DIALECTS):
            raise ValueError(f"--dialect {self.dialect} is not known: it is one of {', '.join(DIALECTS)}, or none")


@lru_cache(1 << 16)
def plain(name: str) -> str:
    """Write a name in small letters, blanks and underscores as hyphens: "Getting_Started" -> "getting-started"."""
    return _APART.sub("-", normalize("NFC", name).casefold())


@dataclass(slots=True)
class Pages:
    """The pages of a tree, by their names; an empty one knows none, and leaves every target as it is written."""

    dialect: Dialect = field(default_factory=Dialect)
    exact: dict[str, str] = field(default_factory=dict)  # address in the tree: id; paths of files come first
    folded: dict[str, str] = field(default_factory=dict)  # the same, plain
    ends: list[tuple[str, int, str, str]] = field(default_factory=list)  # sorted: key of _key, number, name, id
    own: dict[str, str] = field(default_factory=dict)  # id: where it is published, if it says so
    roots: list[str] = field(default_factory=list)  # folders where addresses from "/" start, "docs/"
    bare: bool = False  # an address of a word is the page of that name, wherever it lies
    sites: list[str] = field(default_factory=list)  # what the tree's own addresses start with, "example.org/", "/en/"
    latest: str = ""  # of Docusaurus, "/versioned_docs/version-2.0/": what is published at "/docs/"
    included: dict[str, str] = field(default_factory=dict)  # of Quarto, texts that others take in, by their ids
    shown: dict[str, str] = field(default_factory=dict)  # of MyST, titles: of pages by id, of labels
    titles: dict[str, str] = field(default_factory=dict)  # of pages by id, where links show them
    chosen: list[str] = field(default_factory=list)  # links that several pages as near are meant by, until counted
    near: dict[tuple[str, int], dict[str, tuple[int, list[str]]]] = field(default_factory=dict)  # see _nearest

    def add(self, name: str, id_: str, kind: int = 0) -> None:
        """Give a page another address in the tree; or a title (kind 1) or an alias (2)."""
        if not kind:
            name = name.strip("/") or "."
            self.exact.setdefault(name, id_)
            self.folded.setdefault(plain(name), id_)
        self.ends.append((_key(name, kind), len(self.ends), name, id_))

    def names_of(self, id_: str, names: Iterable[str]) -> Iterator[str]:
        """Yield what links of other sources call a page, by its path or by `names`: all that mean it in its tree."""
        parts = id_.split("/")
        if parts[-1].lower() in INDEXES:
            names = ("/" + "/".join(parts[:-1]), *names)
        addresses = {note_path(name, "") for name in names if name[:1] == "/"}
        yield from (each for each in sorted(addresses) if each != id_ and self.exact.get(each) == id_)
        named = ["/".join(parts[first:]) for first in range(len(parts))] + [name for name in names if name[:1] != "/"]
        for name in dict.fromkeys(normalize("NFC", name).casefold() for name in named):
            if self._look_up(name, "")[0] == id_:
                yield note_name(name)

    def find_address(self, address: str, page: str) -> tuple[str, str] | None:
        """Return what an address in a page means, an id or else a path or an address elsewhere, and its fragment.

        None where it leads to no document.
        """
        if address.startswith(("[[", "((", "dendron://")):
            return self.find_note(unquote(address if address[0] == "d" else address[2:-2]), page)[0]
        # Of Docusaurus, Zola: a file of the site's folder; Docsify, Joplin: a page; of MyST: one of this project.
        # Of ReadMe.io: the page of that slug or file.
        if named := re.match(r"(?:doc|ref|page):(?!//)([\w/-]+)(?:#(.*))?\Z", address):
            return (self.find_name(named[1], page) or note_path(named[1], "")), named[2] or ""
        if named := re.match(rf"{WITHIN}([\w-]*):([^#]*)(?:#(.*))?\Z", address):  # of marks that name a kind of page
            within = [each for _, each in self.ending(named[2]) if f"/{named[1]}/" in f"/{plain(each)}"]
            to = min(within, key=len, default="") if named[1] else self.find_name(named[2], page)
            return to or note_path(named[2], ""), named[3] or ""
        if (app := _OF_PROGRAM.match(address)) and (note := self.find_name(unquote(app[1] or app[2]), page)):
            return note, unquote(address.partition("#")[2])
        address = OF_PELICAN.sub("", address)
        address = re.sub(r"^(?:@(?:site|note)?|[#:])(?=/)" + r"|^(?:project|path):" * bool(self.shown), "", address)
        address = address if "://" in address else re.sub(r"\\|%5C", "/", address)  # as Windows parts folders
        if address.startswith("xref:"):  # of DocFX: the uid of a page, or of a member in the folder of its module
            uid, _, fragment = unquote(address[5:]).partition("#")
            names = [uid := uid.partition("?")[0], "/".join(uid.rsplit(".", 1))]
            if self.dialect.name == "mkdocs":  # its page may show all that is in a module
                names += [uid.rsplit(".", n)[0] for n in (1, 2) if uid.count(".") > n]
            if self.shown:  # of MyST: another project
                return f"xref://{uid}", fragment
            return next(filter(None, (self.find_name(name, page) for name in names)), f"xref:{uid}"), fragment
        if address == "#":
            return None
        if address[:1] == "#" and self.shown and (found := self.find_label(unquote(address[1:]), page)):
            return found if found[0] != page else None
        found = resolve_in_note(address, page.rpartition("/")[0])
        if found is None or not self.exact:
            return found
        target, fragment = found
        id_ = next((id_ for path in self.paths(address) if (id_ := self.find_path(path, page))), "")
        if not id_ and self.shown and (found := self.find_label(unquote(address), page)):
            return found if found[0] != page else None
        return self._translate(id_, address, page) or target, fragment

    def find_label(self, label: str, page: str) -> tuple[str, str] | None:
        """Return the page that holds a label of MyST, the link's own before others, and the label."""
        here = any(id_ == page for _, id_ in self.ending(label, 2))
        id_ = page if here else self._nearest(label, page, 2)[0] or self.find_name(label, page)
        return (id_, label) if id_ else None

    def _translate(self, id_: str, address: str, page: str) -> str:
        """Return a page in the language that an address says, or that the link's page has in its name, if it is there.

        A link of "a.fr" to "b" means "b.fr"; of any page, "b?lang=fr" means that or "fr/b" in place of "en/b".
        """
        said = _SAID_LANGUAGE.search(address)
        own, path = said or _LANGUAGE.search(page), NOTE_SUFFIX.sub("", address.partition("#")[0].partition("?")[0])
        if not id_ or not own or (not said and _LANGUAGE.search(path)):
            return id_
        bare, language = _LANGUAGE.sub("", id_), own[0].rpartition("=")[2].lstrip(".")
        parts = bare.split("/")
        swapped = ["/".join([*parts[:i], language, *parts[i + 1 :]]) for i in range(len(parts) - 1)] if said else []
        return next((form for form in (f"{bare}.{language}", *swapped) if self.exact.get(form) == form), id_)

    def paths(self, address: str) -> Iterator[str]:
        """Yield an address as paths, from "/" where it is one of the tree's own site; none where it leads elsewhere."""
        address = address.partition("#")[0].partition("?")[0]
        path = outside(address) or ""
        forms = [] if path else [unquote(address)]
        path = path or _in_wiki(forms[0])
        for site in self.sites:  # the longest first: a host before "/en/"
            if f"{path}/".startswith(site):
                path = ("/./" if _FILES.search(site) else "/") + path[len(site) :]
                forms.append(path)
        for path in forms:
            if self.latest and path.startswith("/docs/") and not NOTE_SUFFIX.search(path):
                yield self.latest + path[6:]
            yield path

    def find_path(self, path: str, page: str) -> str | None:
        """Return the id of the page that a path means, seen from a page; from "/" it is one in the tree."""
        written = bool(SOURCE_SUFFIX.search(path))
        inside = note_path(f"/{path}", "")
        while inside.startswith("../"):
            inside = inside[3:]
        last = plain(inside.rpartition("/")[2]) + "/"  # no page's address ends so: most paths on a site's host
        at = bisect_left(self.ends, (last,))
        if inside not in (".", "..") and not (at < len(self.ends) and self.ends[at][0].startswith(last)):
            return None
        addresses = [inside]
        if path[0] != "/":
            own = self.own.get(page, page)
            folders = [page.rpartition("/")[0], own, own.strip("/").rpartition("/")[0]]
            if page.rpartition("/")[2].lower() in INDEXES:
                folders = [folders[0], folders[2]]
            elif not written and (self.dialect.own_address or own[-1:] == "/"):
                folders.insert(0, own)
            addresses = [note_path(path, folder.strip("/")) for folder in folders]
        roots = sorted(self.roots, key=lambda root: not page.startswith(root))[: 1 if inside == "." else None]
        below = [(root + address).removesuffix("/.") for root in roots for address in (*addresses, inside)]
        if inside == "." and path[0] == "/":  # the home is an index of the root, no page that is published at its name
            below = [each for each in below if self.exact.get(each, "").rpartition("/")[0] == each]
        site = roots and path[0] == "/" and path[:3] != "/./"  # where the README of a repository is not the home,
        is_readme = self.exact.get(inside, "").lower() == "readme" != inside.lower()
        addresses = [] if site and (inside == "." or is_readme) else addresses
        tries = [(self.exact, addresses), (self.folded, [*map(plain, addresses)])]
        indexes = [note_path(index, inside.lower()) for index in INDEXES] if site else []
        is_index = self.exact.get(inside, "").lower() in indexes  # nor that of a folder the index of the site's
        tries.insert(0 if is_index else 1 if path[0] == "/" else 2, (self.exact, below))
        for pages, names in (*tries, (self.folded, [*map(plain, below)])):
            if found := next(filter(None, map(pages.get, names)), None):
                return found
        if inside == "." or not (path[0] == "/" or written or "/" in inside or self.bare or self.dialect.flat):
            return None
        found, other = self._nearest(inside, page)
        if not found and self.dialect.flat and path[0] == ".":  # such as "../wiki/Page"
            found, other = self._nearest(inside.rpartition("/")[2], page)
        return None if other else found or None

    def ending(self, name: str, kind: int = 0) -> list[tuple[str, str]]:
        """List addresses that end with a name, or titles or aliases, and whose they are, in order of reading."""
        key = _key(name, kind)
        first, last = (bisect_left(self.ends, (each,)) for each in (key, key[:-1] + "0"))  # which comes behind "/"
        return [(address, id_) for _, address, id_ in sorted(row[1:] for row in self.ends[first:last])]

    def _nearest(self, name: str, page: str, kind: int = 0) -> tuple[str, str]:
        """Return the page nearest to a page that a name means by its path, title (1) or alias (2); and one as near.

        Which page it is in each folder is worked out once a name: thousands of pages may have one name.
        """
        near = self.near.get((name, kind))
        if near is None:
            near = self.near[name, kind] = self._rank(name, kind)
        folder = page.rpartition("/")[0]
        while folder and folder not in near:
            folder = folder.rpartition("/")[0]
        first, other, *_ = *near.get(folder, (0, []))[1], "", ""
        return first, other

    def _rank(self, name: str, kind: int) -> dict[str, tuple[int, list[str]]]:
        """Map every folder that has such a page below it to the depth of the least deep, and to the first two."""
        own, ranks = normalize("NFC", name), dict[str, tuple[tuple[int, ...], int]]()
        for address, id_ in self.ending(name, kind):
            above = address.count("/") - name.count("/")
            if self.dialect.outline and not kind and address != id_ and above != id_.count("/"):
                continue  # of Logseq: "a/b", whose file is a___b, is not called b
            tail = address[-len(own) :]
            spelled = (tail.casefold() != own.casefold()) + (_APART.sub("-", tail) != _APART.sub("-", own))
            rank: tuple[int, ...] = (0,) if kind else (spelled, address != id_, len(address) != len(name))
            depth = (id_ if kind else address).count("/")
            ranks[id_] = min((rank, depth), ranks.get(id_, (rank, depth)))
        best, near = min(ranks.values(), default=((), 0))[0], dict[str, tuple[int, list[str]]]()
        for folder, (rank, depth) in ranks.items():
            id_ = folder
            while rank == best and folder:
                folder = folder.rpartition("/")[0]
                least, ids = near.get(folder, (depth, []))
                if depth < least or (len(ids) < 2 and depth == least):
                    near[folder] = depth, [*ids * (depth == least), id_]
        return near

    def find_note(self, inside: str, page: str, label: str = "") -> tuple[tuple[str, str] | None, str]:
        """Return what a wiki link means, and its fragment, and the words that stand for both.

        None for a picture and the like; a target of "" is the note itself.

        >>> Pages().find_note("Trees/Oak#Fruit#Acorn", "")
        (('[[trees/oak]]', 'Acorn'), 'Trees/Oak > Fruit > Acorn')
        """
        for side, other in ((inside.strip(), label.strip()), (label.strip(), inside.strip())):
            if re.match(r"(?:https?|ftp)://", side):
                return resolve_in_note(side, ""), other or side
        left, right = inside.partition("#")[0], label.partition("#")[0]
        if right and self.dialect.label_first:  # in a wiki of several people some write it the other way
            leads = self._look_up(left.strip(), page)[0] or "://" in left or left[:1] == "/" or MEDIA.search(left)
            if self.dialect.name == "dendron" or self._look_up(right.strip(), page)[0] or not leads:
                inside, label = label, inside
        elif right[:8] == "dendron:":
            inside, label = label, inside
        inside, page = _of_vault(inside.strip(), page)
        name, *places = (part.strip() for part in inside.rstrip("\\").split("#"))
        shown = label.strip() or " > ".join(word for word in (name, *places) if word and word[0] != "^")
        if MEDIA.search(name):
            return None, shown
        path = note_path(name, page.rpartition("/")[0]) if name.startswith((".", "/")) else NOTE_SUFFIX.sub("", name)
        target = (self.find_name(name, page) or note_name(path)) if name else ""
        return (target, places[-1] if places else ""), shown

    def find_name(self, name: str, page: str) -> str:
        """Return the id of the page that a wiki link names, "" for none; a choice among several is noted."""
        name, page = _of_vault(name, page)
        found, other = self._look_up(name.strip(), page)
        self.chosen += [f"[[{name.strip()}]] is {found}, not {other}"] * bool(other)
        return found

    def _look_up(self, name: str, page: str) -> tuple[str, str]:
        """Return the id of the page that a wiki link names, and another that is as near."""
        if not name or not self.exact:
            return "", ""
        if name[0] in "./" and (found := self.find_path(name, page)):
            return found, ""
        name = name.lstrip("./") or name
        for form in dict.fromkeys((name, NOTE_SUFFIX.sub("", name))):
            if form in self.exact:
                return self.exact[form], ""
            if (nearest := self._nearest(form, page))[0]:
                return nearest
        return next((nearest for kind in (1, 2) if (nearest := self._nearest(name, page, kind))[0]), ("", ""))


def _of_vault(name: str, page: str) -> tuple[str, str]:
    """Return what Dendron calls a note, "dendron://vault/a.b", as a name that is looked for in its vault first."""
    vault = re.match(r"dendron://([^/]*)/", name)
    return (name[vault.end() :], f"{vault[1]}/") if vault else (name, page)


def _key(name: str, kind: int) -> str:
    """Write an address so that those of one end stand together, "a/b" -> "b/a/"; titles and aliases by themselves."""
    return f"{kind}:{plain(name).replace('/', chr(1))}/" if kind else "/".join(reversed(plain(name).split("/"))) + "/"


def outside(address: str) -> str | None:
    """Return an address on the web without "https://www.", a repository's files alike in all its branches; else None.

    >>> outside("https://github.com/o/r/blob/main/docs/a%20b.md")
    'github.com/o/r/files/docs/a b.md'
    """
    if not (found := _WEB.match(address)):
        return None
    address = unquote(address[found.end() :])
    return _REPOSITORY.sub(lambda found: f"{found[1]}/{'files' if found[2] else 'wiki'}/", address)


def _in_wiki(path: str) -> str:
    """Write a path from the top of a host of repositories, if it is one of a wiki, with its usual host."""
    return (outside(f"//{REPOSITORIES['/-/' in path]}{path}") if _OF_WIKI.match(path) else "") or path


def id_of(name: str) -> str:
    """Return the id of a file's page: its path without the suffix, in one form of Unicode."""
    return str(PurePosixPath(normalize("NFC", name)).with_suffix(""))


def read_text(name: str, data: bytes, skipped: Skipped) -> str:
    """Return a file as Markdown: of a notebook (.ipynb) the cells that are text, and its headings of old."""
    text = decode_text(data, name, skipped)
    if not name.lower().endswith(".ipynb"):
        return text
    try:
        book, parts = json.loads(text), list[str]()
        for cell in (cell for sheet in (book, *book.get("worksheets", ())) for cell in sheet.get("cells", ())):
            if (kind := cell["cell_type"]) in ("markdown", "heading"):
                mark = "#" * cell.get("level", 1) + " " if kind == "heading" else ""
                parts.append(mark + "".join(cell["source"]))
        return "\n\n".join(parts)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        skipped.note(NO_NOTEBOOK, name)
        return ""


def read_said(text: str) -> tuple[list[tuple[str, str]], int]:
    r"""Return what a page says of its names, by key, in front matter or as properties, and where its text starts.

    Only keys at the left count, and no YAML or TOML is parsed: what a list or a quote holds is all that is wanted.

    >>> read_said("---\ntitle: 'Oak'\nmenu:\n  title: x\n---\nAn oak."), read_said("title:: Oak")
    (([('title', 'Oak')], 37), ([('title', 'Oak')], 0))
    """
    front = _FRONT.match(text, 0, HEAD)
    if text[:99].lstrip()[:1] == "{" and (of_json := _read_json(text)):
        return of_json
    front = front if front and _KEY.match(front[2]) else _HEADER.match(text, 0, HEAD)
    if front:
        found = _SAID.findall(front[front.lastindex or 0])
        rows = [(key, value) for indent, key, sign, value in found if not indent and sign != "::"]
        start = front.end()
    else:  # properties of an outline are lines; those before its first item or blank line are the page's
        own = _ITEM.split(text, maxsplit=1)[0]
        found = [*_SAID.findall(own), *(row for row in _SAID.findall(text, len(own), HEAD) if row[1] == "id")]
        rows, start = [(key, value.partition("\n")[0]) for _, key, sign, value in found if sign == "::"], 0
    lowered = ((key.lower(), value) for key, value in rows)
    return [(key, name) for key, value in lowered for name in _names(key, value) if name], start


def _read_json(text: str) -> tuple[list[tuple[str, str]], int] | None:
    """Return the same of front matter in JSON, as Hugo has it; None where a text only starts with a brace."""
    try:
        said, end = json.JSONDecoder().raw_decode(text[:HEAD], len(text) - len(text.lstrip()))
    except (ValueError, RecursionError):
        return None
    lists = ((key.lower(), value if isinstance(value, list) else [value]) for key, value in said.items())
    rows = ((key, each) for key, values in lists if _SAID.match(f"{key}:") for each in values)
    named = [(key, each.strip()) for key, each in rows if isinstance(each, str)]
    return (named, end) if said and text[end : end + 1] in ("", "\n") else None


def _names(key: str, value: str) -> list[str]:
    """List the names in a value: of a title the whole, without its quotes or a comment."""
    value = re.sub(r"\A[|>][+-]?[ \t]*\n", "", value).strip()
    if key == "categories" and value[:1] not in ("[", "-"):  # words
        return value.strip("\"'").split()
    if key != "title":
        return [found.strip(" \t\"'[]") for found in _VALUE.findall(value)]
    found = _QUOTED.fullmatch(value)
    quoted = (found[2] or "").replace(*("''", "'") if found[1] == "'" else ('\\"', '"')) if found else ""
    words = html.unescape(quoted if found else re.split(r"\s#", value, maxsplit=1)[0]).split()
    return [re.sub(r"(`+)(\S(?:.*?\S)?)\1", r"\2", " ".join(words))]  # as headings are


def _slug(heading: str) -> str:
    """Return what a heading is called in addresses, as Pandoc and MkDocs call it."""
    return plain(re.sub(r"[^\w .-]", "", heading).strip())


def survey(files: Iterable[tuple[str, bytes]], options: Options, others: Mapping[str, bytes]) -> Pages:
    """Collect the names of a tree's pages, and what their links say about its roots and its site."""
    pages, said, labels = Pages(), dict[str, list[tuple[str, str]]](), dict[str, list[tuple[str, str]]]()
    books, manual = (any(name.endswith(DIALECTS[kind].signs) for name in others) for kind in ("quarto", "mkdocs"))
    manual |= options.dialect == "mkdocs"
    paths = [name for name in others if name.rpartition("/")[2] != "conf.py" or b"myst" in others[name]]
    shown = list[tuple[str, str]]()  # what autorefs may name, by page
    addresses, labelled = dict[str, None](), dict[tuple[str, str], None]()  # in order
    defined, titled = set[tuple[str, str]](), False
    for name, data in files:
        text, id_ = read_text(name, data, Skipped()), id_of(name)
        paths.append(name)
        if not NOTE_SUFFIX.search(name):
            pages.add(normalize("NFC", name), id_)
        said[id_], start = read_said(text)
        if books and name.rpartition("/")[2][:1] == "_":
            pages.included[id_] = text[start:]
        headings = (found for found in _H1.finditer(text, start, HEAD) if found[2])
        for first in islice(headings, 1):  # one of several below a text is no name
            alone = not text[start : first.start()].strip() or next(headings, None) is None
            if heading := first[2].partition("{#")[0].partition(" [#")[0].rstrip(" #"):
                said[id_].append(("title" if alone else "heading", heading))
        addresses |= dict.fromkeys(found for pattern in _ADDRESSES for found in re.findall(pattern, text))
        labelled |= dict.fromkeys(_LABELLED.findall(text))
        titled = titled or _SHOWS_TITLES.search(text) is not None
        if "](@" in text or "\n```@" in text:
            names = (each for found in _LABELS.findall(text) for part in found for each in part.split("\n"))
            defined |= {(name.strip("` ").partition("(")[0], id_) for name in names if name.strip()}
        for label in (*_SHOWN.findall(text), *(_slug(title) for title, _ in _HEADED.findall(text))) if manual else ():
            shown.append((id_, label))
        marked = any(mark in text for mark in (")=", ":name:", ":label:"))
        labels[id_] = [(a or b, title.lstrip("# ")) for a, title, b in LABEL.findall(text)] if marked else []
        labels[id_] += [(label, kind.capitalize()) for kind, label in _FIGURE.findall(text)] if marked else []
        for title, label in _HEADED.findall(_FENCED.sub("", text)) if books else ():
            if label := label or _slug(title):
                labels[id_].append((label, title))
    pages.dialect, sign = recognise(paths)
    if options.dialect:
        pages.dialect, sign = DIALECTS.get(options.dialect, Dialect()), "as given"
    for day in _TITLED.findall(others.get(sign, b"")):
        pages.dialect = replace(pages.dialect, day=day.decode("utf-8", "replace"))
    for id_ in said:
        pages.add(id_, id_)
    within = {part.lstrip("_") for id_ in said for part in id_.split("/")[:-1]}
    templates, hosts, folders = _read_settings(others, within)
    for id_, rows in said.items():
        for key, name in rows:
            _add_said(pages, id_, key, name)
        for address in _published(id_, rows, templates):
            pages.add(address, id_)
            if address[-1:] == "/":
                pages.own.setdefault(id_, f"/{address}")
        for number in _ID.findall(id_):  # of a slip box
            pages.add(number, id_, 2)
    late = lambda id_: (bool(_LANGUAGE.search(id_)), id_.rpartition("/")[2].lower() == "readme")  # noqa: E731
    for id_ in sorted(said, key=late):  # "index.fr" is called "index" after others, a README beside an index nothing
        for address in _conventional(id_, pages.dialect):
            pages.add(address, id_)
        if id_.rpartition("/")[2] == "page" and "app" in id_.split("/"):  # of Next.js
            pages.own.setdefault(id_, id_.rpartition("/")[0])
    for id_, rows in said.items() if pages.dialect.name in ("myst", "quarto") else ():
        pages.shown |= {label: re.sub("[`*]", "", title) for label, title in labels[id_] if title}
        pages.shown[id_] = next((name for key, name in rows if key in ("title", "heading")), id_)
        for label, _ in labels[id_]:
            pages.add(label, id_, 2)
    if titled or pages.dialect.name == "writerside":
        pages.titles = {id_: next((name for key, name in rows if key == "title"), "") for id_, rows in said.items()}
    for name, id_ in sorted(defined):
        for each in {name, name.rpartition(".")[2]}:
            pages.add(each, id_, 2)
    for id_, name in shown if pages.dialect.name == "mkdocs" else ():
        pages.add(name, id_, 2)
    for id_ in (id_ for id_ in said if id_.lower() == "home"):  # of wikis
        pages.add(".", id_)
    for name, data in others.items() if pages.dialect.name == "docusaurus" else ():
        if name.rpartition("/")[2] == "versions.json":
            last = _LAST.search(b"\n".join(others.values())) or re.search(rb'"([^"]+)"', data)
            pages.latest = f"/versioned_docs/version-{last[1].decode('utf-8', 'replace')}/" if last else ""
    if pages.dialect.name == "docusaurus1":  # "docs/x" is at /docs/x and at /docs/en/x
        for address, id_ in [*pages.exact.items()]:
            if (found := re.match(r"(?:.*/)?docs/", address)) and not address.startswith("en/", found.end()):
                pages.add(f"{found[0]}en/{address[found.end() :]}", id_)
    if folders and pages.dialect.name == "jekyll":
        pages.dialect = replace(pages.dialect, own_address=True)
    pages.ends.sort()
    bare = [len({id_ for _, id_ in pages.ending(unquote(each))}) == 1 for each in addresses if "/" not in each]
    is_bare = bare.count(True) >= max(BARE, 0.75 * len(bare))
    pages.bare = is_bare and not (pages.dialect.flat or options.dialect == "none")
    pages.roots = [f"{options.root.strip('/')}/"] if options.root else _find_roots(pages, addresses)
    pages.sites = [] if pages.dialect.outline else _find_sites(pages, addresses, hosts)  # Logseq has none of its own
    if options.host:
        top = "/" * (options.host[:1] == "/" != options.host[1:2])  # a folder of any host
        pages.sites = [f"{top}{(outside(options.host) or options.host).strip('/')}/", *pages.sites]
    if not options.root:  # again, with the addresses of the site
        pages.roots = _find_roots(pages, (path for each in addresses for path in pages.paths(each)))
    if pages.dialect.label_first is None and labelled:
        votes = [(bool(pages.find_name(a, "")), bool(pages.find_name(b, ""))) for a, b in [*labelled][:LOOKED_AT]]
        pages.dialect = replace(pages.dialect, label_first=votes.count((False, True)) > votes.count((True, False)))
    known = {
        f"links are read as {pages.dialect.name} writes them ({sign})": pages.dialect.name,
        "of [[a|b]], b is the page": pages.dialect.label_first,
        "addresses of a word are the page of that name, in any folder": pages.bare,
        f"addresses from / start at {', '.join(pages.roots)}": pages.roots,
        f"addresses that start with {', '.join(pages.sites)} are looked for in this tree": pages.sites,
    }
    if any(known.values()):
        said_so = "; ".join(line for line, value in known.items() if value)
        log.warning("%s (--dialect, --root and --host say otherwise)", said_so)
    pages.chosen.clear()
    pages.near.clear()
    return pages


def _conventional(id_: str, dialect: Dialect) -> Iterator[str]:
    """Yield the addresses that follow from a page's path.

    >>> list(_conventional("docs/_posts/2020-01-31-first", Dialect()))
    ['docs/2020/01/31/first', 'docs/first']
    """
    *folders, last = as_latin1(id_).split("/")
    if last == "page" and "app" in folders:  # of Next.js: the index of its folder; one in brackets is none
        last, folders = "index", [folder for folder in folders if folder[0] != "("]
    forms = [[*folders, each] for each in (last, _LANGUAGE.sub("", last), _NUMBERED.sub("", last))]
    shown = [folder.removeprefix("_") for folder in folders if folder != "_posts"]
    is_index = last.lower() in INDEXES and bool(shown)
    above, post = (shown[:-1], shown[-1]) if is_index else (shown, last)  # a post may be a folder
    if dated := _DATED.fullmatch(post):
        forms += [[*above, *dated.groups()], [*above, dated[4]]]
    forms += [[*shown, last], [_NUMBERED.sub("", part) for part in (*shown, last)]]
    if dialect.name == "docusaurus":  # "docs/x" is at /docs/next/x, where there are versions
        for path in (id_, "/".join(forms[-1])):
            forms.append(_TRANSLATED.sub(r"\1/\2/", _next(path)).split("/"))
    if dialect.outline or "%" in last:
        forms.append([*folders, unquote(last).replace("___", "/" if dialect.outline else "___")])
    if journal := _JOURNAL.fullmatch(last) if dialect.outline else None:
        with suppress(ValueError):
            day = date(*map(int, journal.groups()))
            forms += [[*folders, _DAY.sub(lambda part: _of_day(part[0], day), dialect.day)]]  # "Sep 14th, 2022"
    for form in forms:
        address = "/".join(form)
        if address != id_:
            yield address
        is_index = form[-1].lower() in INDEXES
        if is_index or (dialect.name == "docusaurus" and [form[-1].lower()] == [each.lower() for each in form[-2:-1]]):
            yield "/".join(form[:-1]) or "."
            if is_index and dialect.name and dialect.label_first is None:  # a site, which publishes a README as this
                yield "/".join([*form[:-1], "index"])


def _next(path: str) -> str:
    """Return where Docusaurus publishes a page of the newest texts, or of a version: "docs/x" -> "docs/next/x"."""
    return f"/{path}".replace("/docs/", "/docs/next/").replace("/versioned_docs/version-", "/docs/")[1:]


def _of_day(part: str, day: date) -> str:
    if part == "do":
        return f"{day.day}{'th' if day.day in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(day.day % 10, 'th')}"
    form = _DAYS.get(part, "%a" * (part[0] == "E"))
    return f"{day:{form}}" if form else str(day.day if part == "d" else day.month)


def _add_said(pages: Pages, id_: str, key: str, name: str) -> None:
    """Add a name that a page gives itself: an address, a title or an alias."""
    if key in FACTS or (key == "path" and name[0] != "/"):
        return
    if key in ADDRESSES:
        folder, _, last = id_.rpartition("/")
        plugins = pages.dialect.name == "docusaurus" and name[0] == "/"  # one publishes a folder: "/x" is there
        for plugin in (accumulate(id_.split("/")[:-1], join) if name != "/" else [folder]) if plugins else ():
            pages.add(plugin + unquote(name), id_)
        address = name if name[0] == "/" else note_path(name, folder) + "/" * name.endswith("/")
        if ":" not in name and name != "/":
            pages.add(NOTE_SUFFIX.sub("", unquote(address)), id_)
            pages.add(unquote(address).replace("/_", "/"), id_)
            if pages.dialect.name == "docusaurus":
                pages.add(_next(unquote(address).lstrip("/")), id_)
            if last.lower() in INDEXES and name[0] != "/":  # a page that is a folder
                pages.add(note_path(name, folder.rpartition("/")[0]), id_)
            if key not in ("id", "path"):
                pages.own[id_] = address
    elif name[0] == "/":
        pages.add(unquote(name), id_)
    else:
        pages.add(name, id_, 1 if key == "title" else 2)


def _read_settings(others: Mapping[str, bytes], folders: set[str]) -> tuple[list[tuple[str, str, str]], set[str], bool]:
    """Return what sites say: how addresses are made (folder of the site, of the pages or "", template), and hosts.

    And whether Jekyll publishes each page as a folder.
    """
    templates, hosts, folders_too = [("", "", STYLES["date"])], set[str](), False
    for file, data in others.items():
        text, around = decode_text(data, file, Skipped()), [(-1, "")]
        for indent, key, value in (found.groups() for found in map(_SETTING.match, text.split("\n")) if found):
            while around[-1][0] >= len(indent):
                around.pop()
            template = STYLES.get(value, value) if key == "permalink" else value
            folders_too |= key == "permalink" and not indent and template.endswith("/")
            if _PLACE.search(template):
                scope = next((each for each in (key, around[-1][1]) if each in folders), "")
                templates.append((file.rpartition("/")[0], scope, template))
            around.append((len(indent), key))
        said = _OF_SITE.findall(text)
        bases = ["", *(each for each in said if each[0] == "/")]
        hosts |= {f"{host.strip('/')}{base}".rstrip("/") + "/" for host in map(outside, said) if host for base in bases}
    return templates, hosts, folders_too


def _published(id_: str, rows: list[tuple[str, str]], templates: list[tuple[str, str, str]]) -> Iterator[str]:
    """Yield the addresses of a page that templates, and its own, make of its name, its date and its categories.

    >>> list(_published("news/_posts/2020-01-31-first", [("category", "Web")], [("", "", "/:categories/:title/")]))
    ['news/Web/first/']
    """
    folders, said = id_.split("/"), dict(reversed(rows))
    last = folders.pop()
    last = folders[-1] if folders and last.lower() in INDEXES else last
    dated = _DATED.fullmatch(last)
    own = [("", "own", name) for key, name in rows if key == "permalink" and ":" in name]
    is_post = dated or "_posts" in folders
    scopes = {"", "own", *(folder.lstrip("_") for folder in folders)}
    for top, scope, template in (*own, *templates):
        if scope not in scopes or not (is_post or scope):
            continue
        above = folders[top.count("/") + 1 if top else 0 : folders.index("_posts")] if "_posts" in folders else []
        kinds = "/".join(dict.fromkeys([*above, *(name for key, name in rows if key in FACTS[1:3])]))
        values = {"categor": kinds, "output_ext": "", "collection": scope}
        if (of := next((n for n, each in enumerate(folders) if each == f"_{scope}"), -1)) >= 0:
            values["path"] = "/".join([*folders[of + 1 :], *id_.split("/")[-1:]])
        with suppress(ValueError):
            day = date.fromisoformat(said.get("date", last)[:10])
            values |= {key: f"{day:{form}}" for key, form in _DATES.items()}
        for name in dict.fromkeys((said.get("slug") or (dated[4] if dated else last), said.get("title", ""))):
            values |= dict.fromkeys(("title", "slug", "name"), re.sub(r"[^\w\s-]", "", name))
            parts = _PLACE.split(template)
            parts[1::2] = map(values.get, parts[1::2])
            if name and None not in parts:
                yield note_path("/" + "".join(parts), "") + "/" * template.endswith("/")


def _find_roots(pages: Pages, addresses: Iterable[str]) -> list[str]:
    """Find the folders where addresses from "/" start: what stands before the one page that ends with one."""
    votes = Counter[str]()
    for address in addresses:
        inside = note_path(unquote(address), "")
        if address[0] == "/" and inside != "." and inside not in pages.exact:
            tops = [each[: -len(inside)] for each, _ in pages.ending(inside)]
            first = min(tops, key=len, default="")
            if tops and all(re.fullmatch(rf"{re.escape(first)}({_LOCALE}/)?", top) for top in tops):  # and translations
                votes[first] += 1
    enough = [root for root, count in votes.most_common(8) if root and count > 1 and 10 * count >= votes.total()]
    return [root for root in enough if not _is_translation(pages, root)]


def _is_translation(pages: Pages, root: str) -> bool:
    """Check whether most pages below a folder named by a language stand outside it, too: "de/a", "a"."""
    above, _, language = root.strip("/").rpartition("/")
    if not re.fullmatch(_LOCALE, language):
        return False
    own = {id_[len(root) :] for id_ in pages.exact.values() if id_.startswith(root)}
    return 2 * sum(join(above, id_) in pages.exact for id_ in own) >= len(own)


def _find_sites(pages: Pages, addresses: Iterable[str], hosts: set[str]) -> list[str]:
    """Find what the tree's own addresses start with: where most of what follows is the address of a page.

    Of a host where others publish, too, only what is in folders that the tree has counts. `hosts` say that they are it.
    """
    seen, known, deep, near = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    folders = {address.rpartition("/")[0] for address in pages.exact} - {""}
    for address in addresses:
        address = outside(address) or unquote(address)
        if address[0] == "/" and pages.find_path(address, ""):
            continue
        address = _in_wiki(address)
        parts, there = address.split("/"), False
        for count in (1, 2, 4) if parts[0] in REPOSITORIES else (1, 2, 3):
            site, rest = "/".join(parts[:count]), "/".join(parts[count:]).strip("/")
            if site and rest and not (count == 3 and there):
                seen[f"{site}/"] += 1
                flat = "/" not in rest and site.count("/") < 3 - pages.bare and f"{site}/" not in hosts
                flat &= rest not in pages.exact  # "schema.org/Thing" names no page "notes/Thing"
                there = not flat and bool(pages.find_path(f"/{rest}", ""))
                there = there or (count == 3 and "/" in rest and bool(pages.ending(rest)))  # of several versions
                known[f"{site}/"] += there
                deep[f"{site}/"] += there and "/" in rest
                below = rest.rpartition("/")[0]
                near[f"{site}/"] += bool(below) and any(f"{root}{below}" in folders for root in ("", *pages.roots))
    found, wikis = [], [each for each in +known if "/wiki/" in each]
    others = sum(id_[0] != "_" for id_ in {*pages.exact.values()}) - 1 if len(wikis) == 1 else 0  # no side bar
    of_wiki = min(HOST_PAGES, max(others, 1))
    for site, count in known.most_common():
        share = 0.5 if 2 * deep[site] >= count or site.count("/") > 3 - pages.bare else 0.9  # words are of any wiki
        is_part = site.count("/") == 1 and deep[site] >= max(HOST_PART, 0.8 * near[site])
        one = site[0] == "/" and site.count("/") < 3 and deep[site]  # such as "/en/"
        least = 1 if one else of_wiki if wikis == [site] else HOST_PAGES  # of two wikis none is known to be this one
        if is_part or (site in hosts and count) or count >= max(share * seen[site], least):
            found.append(site)
    return sorted(found[:MOST_SITES], key=lambda site: (site[0] == "/", -len(site)))
