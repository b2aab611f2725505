r"""A tree of reStructuredText in (Sphinx's sources, or plain ones), a Document a file out, with its links.

`survey` reads the whole tree by lines: labels, objects ("class:: X", "setting:: X"), glossaries, files that others
include. So each page is then read alone, in any process, and its links name pages. docutils parses; nothing is executed
or opened, and its tables of roles and directives stay as they are for other users.
"""

import gc
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import PurePosixPath
from posixpath import commonpath, dirname, join, normpath, splitext
from typing import Any

from linkbert.corpora.reader import NO_TEXT, OTHER, Reader, Record, Skipped
from linkbert.corpora.readers.markdown import PIECE, WORDS, Writer, pieces
from linkbert.corpora.resolve import OF_PELICAN, resolve_in_note
from linkbert.corpora.sources import TOO_LARGE, decode_text
from linkbert.records import Document

LARGEST, LONGEST_LINE, DEPTH = 8 << 20, 100_000, 8  # bytes of a file, characters of a line, includes in each other
SUBSTITUTIONS, NESTED = 100_000, "substitution in too many others (left out)"  # of a page
SUFFIXES = (".rst", ".rest")
INCLUDED, LONG = "file that others include (no page of its own)", "line too long (page left out)"
AMBIGUOUS, UNKNOWN = "reference that several pages describe", "reference to nothing in the tree"
BROKEN = "page that docutils cannot parse (left out)"

HIDDEN, ASIDE, NUMBERED, UNSAID = (WORDS[name] for name in ("hidden", "aside", "numbered", "unsaid"))
PROSE = WORDS["prose"] | NUMBERED | UNSAID
CLASSES, FUNCTIONS, MODULES, MEMBERS = (WORDS[name] for name in ("classes", "functions", "modules", "members"))
PYTHON = {"class": CLASSES, "exc": CLASSES, "func": FUNCTIONS, "deco": FUNCTIONS, "mod": MODULES} | dict.fromkeys(
    ("meth", "attr", "data", "const", "type"), MEMBERS | FUNCTIONS
)
NUMBERS = {"pep": "https://peps.python.org/pep-{:0>4}", "rfc": "https://rfc-editor.org/rfc/rfc{}"}  # roles of numbers
ANYTHING = CLASSES | FUNCTIONS | MODULES | MEMBERS

_SIGN = r"([!-/:-@\[-`{-~])"  # a rule of fewer than three is one if the title is as short
_DIRECTIVE = re.compile(r"^([ \t]*)\.\.[ ]+(?:([a-z]+):)?([\w-]+)::[ \t]*(.*(?:\n\1[ \t]+[^:\s].*)*)", re.MULTILINE)
_UNLISTED = re.compile(r"(?:\n[ \t]+:[\w-]+:.*)*?\n[ \t]+:no-?index:")  # another place describes it
_LABELS = re.compile(r"\.\. _(`[^`\n]+`|(?:\\.|[^:`\n\\])+):[ ]*\n")
_TITLE = re.compile(
    rf"\s*(?:{_SIGN}\1*[ ]*\n)?[ ]*(\S.*)\n{_SIGN}(?:\3{{2,}}|(?<=(?m:^).\n.)|(?<=(?m:^)..\n.)\3)[ ]*\n"
)
_HEAD = re.compile(f"^{_TITLE.pattern[3:]}", re.MULTILINE)  # at any line
_LABELLED = re.compile(rf"(?:^[ ]*{_LABELS.pattern}\s*)+", re.MULTILINE)
_INCLUDE = re.compile(r"^([ \t]*)\.\. include::[ ]*(\S+)((?:\n\1[ ]+:.*)*)", re.MULTILINE)
_CODE = re.compile(
    r"^([ ]*)(?:\.\. (?:code-block|code|sourcecode|parsed-literal)::.*|(?!\.\. )\S.*::)\n(?:[ ]*\n|\1[ ]+.*\n)*", re.M
)
_ROLE = re.compile(r":(?:[a-z]+:)?([\w-]+):`(?:[^`<]*[^`<\s]\s*<([^`<>]+)>|[~!.]?([^`]+))`")
_TITLED, _CLOSE = re.compile(r"(.+)\s<(.+)>", re.DOTALL), re.compile(r"(.+?)<([^<>]+)>", re.DOTALL)
_HEADER = re.compile(r"\A(?:[A-Z][\w-]*:[ ].*\n(?:[ \t]+\S.*\n)*){3,}(?=[ ]*\n)")  # of a PEP, as of a mail
_HOST = re.compile(rb"""^html_baseurl\s*=\s*["']https?://([^"']+/)["']""", re.MULTILINE)
_UNSHOWN = {  # what Sphinx does not show of the text of roles
    **dict.fromkeys(("file", "samp"), re.compile(r"[{}]")),
    **dict.fromkeys(("guilabel", "menuselection"), re.compile(r"&(?=\w)")),
    "abbr": re.compile(r"\s*\([^()]*\)$"),
}
_MARKUP = re.compile(r"^\.\. [\w:-]+::|^\.\. _[^:]+:|:[a-z]+:`|`_\b|^([=\-~^])\1{3,}\s*$", re.MULTILINE)
_INLINE = re.compile(r":[\w:-]+:`~?([^`<]+?)(?:\s*<[^`]*)?`|``?(.+?)``?")
_BEFORE = re.compile(r"(?:(?:async|class|static|abstract|final|classmethod|exception)\s+)+")
_SPACE, _LONG_WORD = re.compile(r"\s+"), re.compile(r"\S{2000}")  # in which anything takes long that is looked for
_LOCK = threading.Lock()
Places = dict[str, list[tuple[str, str]]]  # of a name: pages, and the place there or a title


@dataclass(slots=True)
class Tree:
    """What a tree holds, by name."""

    pages: dict[str, str] = field(default_factory=dict)  # file: id
    texts: dict[str, str] = field(default_factory=dict)  # files that others include
    ends: dict[str, list[str]] = field(default_factory=dict)  # last part of an id: ids
    folders: set[str] = field(default_factory=set)  # names of folders: what a role of that name means lies there
    labels: Places = field(default_factory=dict)
    sections: Places = field(default_factory=dict)  # titles that are labels, as autosectionlabel has it
    hosts: list[str] = field(default_factory=list)  # where the tree is published, "docs.example.org/en/latest/"
    titles: Places = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)  # titles of pages
    objects: dict[str, Places] = field(default_factory=dict)  # by directive
    python: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)  # last part: name, page, directive
    roles: dict[str, str] = field(default_factory=dict)  # the directive that describes what a role names


def survey(files: Iterable[tuple[str, bytes]], *more: Any) -> Tree:
    """Read what the files of a tree define; its pages are the .rst files, or the .txt files where more have markup."""
    tree, uses = Tree(), defaultdict[str, Counter[str]](Counter)
    settings = {name: data for name, data in (more[-1] if more else {}).items() if name.endswith("conf.py")}
    tree.hosts = [each.decode() for data in settings.values() for each in _HOST.findall(data)]
    tops = [dirname(name) for name, data in settings.items() if b"autosectionlabel" in data]
    texts = {name: decode_text(data, name, Skipped()) + "\n" for name, data in files}
    is_rst = {name: splitext(name)[1].lower() in SUFFIXES for name in texts}
    marked = Counter(is_rst[name] for name, text in texts.items() if _MARKUP.search(text))
    chosen = {name: text for name, text in texts.items() if is_rst[name] == (marked[True] >= marked[False])}
    pending = list(chosen.items())
    for name, text in pending:
        for found in _INCLUDE.finditer(text):
            if (inner := _included(found[2], name, texts)) and inner not in (name, *tree.texts):
                tree.texts[inner] = texts[inner]
                pending.append((inner, texts[inner]))
    tree.pages = {name: splitext(name)[0] for name in chosen if name not in tree.texts}
    for name, page in tree.pages.items():
        tree.ends.setdefault(page.rpartition("/")[2].casefold(), []).append(page)
        tree.folders |= {*page.split("/")[:-1]} - WORDS["plain"]
        text = _CODE.sub("", _expand(chosen[name], name, tree.texts, [LARGEST]))
        if title := re.search(rf"^(?:.*\n)*?{_TITLE.pattern}", text[:5000]):
            tree.titles.setdefault(_normal(title[2]), []).append((page, ""))
            tree.shown[page] = _INLINE.sub(r"\1\2", title[2]).strip()
        for found in _LABELLED.finditer(text):
            title = _TITLE.match(text, found.end())
            for label in _LABELS.findall(found[0]):
                shown = _INLINE.sub(r"\1\2", title[2]).strip() if title else ""
                tree.labels.setdefault(_normal(label.strip("`")), []).append((page, shown))
        heads = [found[2].strip() for found in _HEAD.finditer(text)] if tops else []
        for head, top in ((head, top) for head in heads for top in tops if not top or page.startswith(f"{top}/")):
            for label in (head, f"{page[len(top) :].lstrip('/')}:{head}"):
                tree.sections.setdefault(_normal(label), []).append((page, _INLINE.sub(r"\1\2", head)))
        _add_objects(text, page, tree)
        for found in _ROLE.finditer(text):
            uses[found[1]][_SPACE.sub(" ", found[2] or found[3])] += 1
    for role, names in uses.items():
        known = {kind: sum(n for name, n in names.items() if name in rows) for kind, rows in tree.objects.items()}
        best = max(known, key=lambda kind: known[kind], default="")
        if role not in known and best and 2 * known[best] >= names.total():
            tree.roles[role] = best
    return tree


def _path(path: str, name: str) -> str:
    return normpath(path[1:] if path[0] == "/" else join(dirname(name), path))


def _included(path: str, name: str, texts: dict[str, str]) -> str:
    """Return the file that a page includes, "/x" from a folder around it, "" for one that is not there."""
    tops = [join(str(folder), path[1:]) for folder in PurePosixPath(name).parents] if path[0] == "/" else []
    return next((each for each in map(normpath, [*tops, _path(path, name)]) if each in texts), "")


def _expand(text: str, name: str, texts: dict[str, str], room: list[int], around: tuple[str, ...] = ()) -> str:
    """Put included files into a text, as long as there is `room`, in characters; not what is around already."""

    def put(found: re.Match[str]) -> str:
        inner, options = _included(found[2], name, texts), dict(re.findall(r":([\w-]+):[ ]*(.*)", found[3]))
        if not inner or inner in (*around, name) or len(around) >= DEPTH or {*options} & {"literal", "code"}:
            return ""
        room[0] -= len(texts[inner]) + 1
        if room[0] < 0:
            return ""
        body = texts[inner].partition(start)[2] if (start := options.get("start-after")) else texts[inner]
        body = body.partition(end)[0] if (end := options.get("end-before")) else body
        lines = _expand(body, inner, texts, room, (*around, name)).split("\n")
        return "\n".join(found[1] + line if line.strip() else "" for line in lines)

    return _INCLUDE.sub(put, text) if ".. include::" in text else text


def _normal(name: str) -> str:
    return _SPACE.sub(" ", name.replace("\\", "")).strip().lower()


def _add_objects(text: str, page: str, tree: Tree) -> None:
    module, program, classes = "", "", [(-1, "")]
    for found in _DIRECTIVE.finditer(text):
        indent, domain, kind, lines = len(found[1]), found[2] or "py", found[3], found[4].split("\n")
        if _UNLISTED.match(text, found.end()):
            continue
        while indent <= classes[-1][0]:
            classes.pop()
        names = [name for line in lines for name in _names(line, domain)]
        program = names[0] if names and kind in ("program", "django-admin") else program
        if kind in MODULES:
            module = names[0] if names and names[0] != "None" else ""
        if kind == "glossary":
            body = re.compile(rf"(?:\n[ ]*(?=\n)|\n[ ]{{{indent + 1},}}.*)*").match(text, found.end())
            rows = (found[4] + body[0] if body else "").split("\n")
            rows = [row for row in rows if row.strip(" ") and row.lstrip()[0] != ":"]
            least = min((len(row) - len(row.lstrip()) for row in rows), default=0)
            for name in (_normal(row.partition(" : ")[0]) for row in rows if row[least : least + 1] != " "):
                tree.objects.setdefault("term", {}).setdefault(name, []).append((page, name))
        elif kind in ANYTHING and domain == "py":
            for name in names if kind != "currentmodule" else ():
                whole = name if kind in MODULES else _whole(module, classes[-1][1], name)
                tree.python.setdefault(name.rpartition(".")[2], []).append((whole, page, kind))
            if kind in CLASSES and names:
                classes.append((indent, ".".join(filter(None, (classes[-1][1], names[0])))))
        elif kind.endswith("option"):
            for name in (name for line in lines for part in line.split(", ") for name in _names(part)):
                for form in (name, f"{program} {name}"):
                    tree.objects.setdefault("option", {}).setdefault(form, []).append((page, name))
        elif kind not in PROSE | HIDDEN | ANYTHING or domain != "py":
            for name in dict.fromkeys([*(line.strip() for line in lines), *names]):
                tree.objects.setdefault(kind, {}).setdefault(name, []).append((page, name))


def _whole(module: str, owner: str, name: str) -> str:
    """Join the names of what a signature describes; one in a class may say it: ("m", "A", "A.b") -> "m.A.b"."""
    return ".".join(filter(None, (module, owner * (not name.startswith(f"{owner}.")), name)))


def _names(line: str, domain: str = "py") -> list[str]:
    """Return what a signature describes: "classmethod Model.save(x)" -> ["Model.save"]."""
    line = line.strip()
    if line[:2] == "$<":  # "$<TARGET_FILE:tgt>", an expression of CMake
        return re.findall(r"[^$<>:]+", line)[:1]
    if domain in ("c", "cpp"):
        return re.findall(r"(?<![\w:.~])([\w:.~]++)\s*+(?:[(\[=;].*)?$", line)
    return [name.rstrip(":>") for name in re.findall(r"^[^\s(=\[,]+", _BEFORE.sub("", line))]


def resolve(
    role: str, name: str, page: str, tree: Tree, around: tuple[str, str] = ("", "")
) -> tuple[str, str, str] | str:
    """Return the page that a reference means, the place there and its title; or the cause why there is none.

    `around` is the module and the class that the reference stands in.
    """
    domain, _, role = role.rpartition(":")
    python, found = role in PYTHON and domain in ("", "py"), list[tuple[str, str, str]]()
    if role in ("ref", "numref", "any"):
        known = tree.labels if _normal(name) in tree.labels else tree.sections
        near = lambda row: (row[0] != page, -len(commonpath([row[0], page])))  # noqa: E731
        rows = sorted(known.get(_normal(name), []), key=near)[:1]  # of translations or versions, the page's own
        found = [(to, _normal(name if known is tree.labels else title), title) for to, title in rows]
    if role in ("doc", "any") and not found:
        found = [(to, "", tree.shown.get(to, "")) for to in _find_page(name, page, tree)]
    if (python or role == "any") and not found:
        found = [(to, whole, "") for whole, to in _find_python(PYTHON.get(role, ANYTHING), name, tree, around)]
    key = _normal(name) if role == "term" else name
    for kind in () if python else (role, tree.roles.get(role, role), *(tree.objects if role == "any" else ())):
        described = tree.objects.get(kind, {})
        forms = (key, key.partition(" ")[0], key.partition("(")[0])
        found = found or [(*row, "") for form in forms for row in described.get(form, ())]
    if not found and role in tree.folders:
        plain = re.sub(r"[<>]", "", name)
        for end in (plain, plain.partition("(")[0], re.sub(r"\((\w+)\)$", r".\1", plain), f"{plain}/index"):
            found = found or [(to, "", "") for to in _ends_with(f"{role}/{end}", tree)]
        named = tree.titles.get(_normal(name), [])
        found = found or [(to, "", "") for to, _ in named if role in to.split("/")]
    several = len({row[0] for row in found}) > 1
    return next((row for row in found if row[0] == page or not several), AMBIGUOUS if several else UNKNOWN)


def _find_page(name: str, page: str, tree: Tree) -> list[str]:
    """Find a page by its path: from the page's folder, the top or a folder around it, or by the end of its path."""
    path = re.sub(r"\.(?:rst|rest|txt|html)$", "", name) or "."
    tops = [join(folder, path[1:]) for folder in map(str, PurePosixPath(page).parents)] if path[0] == "/" else []
    tried = (_path(path, page), *map(normpath, tops))
    return next(([each] for each in tried if each in _ends_with(each, tree)), _ends_with(tried[0], tree))


def _ends_with(path: str, tree: Tree) -> list[str]:
    end = f"/{path}".casefold()
    return [page for page in tree.ends.get(end.rpartition("/")[2], ()) if f"/{page}".casefold().endswith(end)]


def _find_python(kinds: frozenset[str], name: str, tree: Tree, around: tuple[str, str]) -> list[tuple[str, str]]:
    """Look up as Sphinx does (in the class, in the module, whole), else by the end of the name."""
    loose, name = name[:1] == ".", name.lstrip(".").partition("(")[0].strip()
    rows = tree.python.get(name.rpartition(".")[2], [])
    for scope in () if loose else (".".join(filter(None, around)), around[1], around[0], ""):
        if found := [row for row in rows if row[0] == f"{scope}.{name}".lstrip(".")]:
            return [row[:2] for row in found]
    kinds = kinds if loose else kinds - MODULES  # "b" is no module "a.b"
    if found := [row for row in rows if f".{row[0]}".endswith(f".{name}") and row[2] in kinds]:
        return [row[:2] for row in found]
    owner = name.rpartition(".")[0]  # whose members a directive of autodoc lists
    rows = [row for row in tree.python.get(owner.rpartition(".")[2], []) if row[2][:4] == "auto"]
    return [row[:2] for row in rows if row[0] == owner or (row[2] in CLASSES and row[0].endswith(f".{owner}"))]


@cache
def _docutils() -> tuple[Any, Any]:
    """Return docutils' nodes, and a function that parses a text by our directives and roles."""
    from docutils import frontend, nodes, utils
    from docutils.parsers.rst import Directive, Parser, states

    any_option = defaultdict(lambda: str, {"": str})  # one that is empty would allow none

    class AnyDirective(Directive):  # type: ignore[misc]
        optional_arguments, final_argument_whitespace, has_content, option_spec = 1, True, True, any_option

        def run(self) -> list[Any]:
            kind, first = self.name.rpartition(":")[2], (self.arguments or [""])[0]
            if kind in HIDDEN:
                return []
            block = nodes.container("", kind=kind)
            if link := first if kind[:7] == "button-" else self.options.get("link"):  # where a card leads to
                role = self.options.get("link-type", "any" if kind == "button-ref" else "url")
                of_url = nodes.reference("", "-", refuri=link) if role == "url" else nodes.inline("", link, role=role)
                block += nodes.container(
                    "", nodes.paragraph("", "", of_url), kind="figure"
                )  # whose links have no place
            if kind in ASIDE:
                first = ""
            elif kind not in PROSE:
                lines = [line.strip() for line in first.split("\n")]
                block["signs"] = [name for line in lines for name in _names(line, self.name.partition(":")[0])]
                block += [nodes.paragraph("", line) for line in lines if kind not in MODULES]
            elif kind not in UNSAID:
                first = " ".join(first.split(None, 1)[1:]) if kind in NUMBERED else first
                block += nodes.paragraph("", "", *self.state.inline_text(first, self.lineno)[0])
            self.state.nested_parse(self.content, self.content_offset, block)
            return [block]

    def interpret(source: str, text: str, role: str, line: int) -> tuple[list[Any], list[Any]]:  # noqa: ARG001
        return [nodes.inline("", utils.unescape(text), role=(role or "").lower())], []

    class End:  # of a mark: a rest of a text that has none is not searched again for each mark in it
        def __init__(self, pattern: Any) -> None:
            self.regex, self.none = pattern, -1

        def search(self, rest: str) -> Any:
            found = self.regex.search(rest) if len(rest) > self.none else None
            self.none = self.none if found else max(self.none, len(rest))
            return found

    def in_pieces(inliner: Any, parse: Any, text: str, *around: Any) -> tuple[list[Any], list[Any]]:
        found, every = list[Any](), inliner.__dict__.setdefault("every", inliner.implicit_dispatch)
        long = _LONG_WORD.search(text)
        for piece in pieces(text, 1_000 if long else PIECE):
            inliner.implicit_dispatch = every if "://" in piece and not long else []
            for name in ("emphasis", "strong", "literal", "target", "substitution_ref", "interpreted_or_phrase_ref"):
                pattern = getattr(inliner.patterns, name)
                setattr(inliner.patterns, name, End(getattr(pattern, "regex", pattern)))
            found += parse(piece, *around)[0]
        return found, []

    find = states.directives.directive

    def find_ours(name: str, language: Any, document: Any) -> Any:
        ours = hasattr(document.settings, "linkbert") and name.lower() not in ("replace", "unicode")
        return (AnyDirective, []) if ours else find(name, language, document)

    explicit_list = states.Body.explicit_list

    def list_ours(body: Any, blank_finish: Any) -> None:  # it copies all lines that follow, also if a blank one is next
        machine = body.state_machine
        if machine.at_eof() or not machine.is_next_line_blank():
            explicit_list(body, blank_finish)

    def parse(text: str) -> Any:
        settings, inliner = frontend.get_default_settings(Parser), states.Inliner()
        settings.raw_enabled = settings.file_insertion_enabled = settings.warning_stream = False
        settings.line_length_limit, settings.report_level, settings.halt_level = LONGEST_LINE, 5, 6
        settings.linkbert = True
        document, inliner.interpreted = utils.new_document("page", settings), interpret
        inliner.parse = partial(in_pieces, inliner, inliner.parse)
        inliner.problematic = lambda text, *_: nodes.Text(text)
        document.reporter.system_message = lambda *_, **__: nodes.system_message()  # which nobody reads
        collecting = gc.isenabled()
        gc.disable()  # it takes time by the square of the nodes
        with _LOCK:  # docutils has one table of directives for all: other documents find in it what they always do
            states.directives.directive, states.Body.explicit_list = find_ours, list_ours
            try:
                Parser(inliner=inliner).parse(text, document)
            finally:
                states.directives.directive, states.Body.explicit_list = find, explicit_list
                if collecting:
                    gc.enable()
        return document

    return nodes, parse


def read_file(name: str, data: bytes, tree: Tree, skipped: Skipped) -> Iterator[Record]:
    """Read the Document of a file of a tree; what it cannot be is counted."""
    if name not in tree.pages:
        skipped.note(INCLUDED if name in tree.texts else OTHER + splitext(name)[1], name)
        return
    text = _expand(decode_text(data, name, skipped) + "\n", name, tree.texts, room := [LARGEST])
    if room[0] < 0:
        skipped.note(TOO_LARGE, f"{name} with the files that it includes")
        return
    page = _Page(tree.pages[name], tree, skipped)
    if header := _HEADER.match(text):
        page.title = next(iter(re.findall(r"^Title:[ ]*(.*)", header[0], re.MULTILINE)), "").strip()
        text = text[header.end() :]
    if max(map(len, text.split("\n"))) > LONGEST_LINE:
        skipped.note(LONG, name)
        return
    try:
        parsed = _docutils()[1](text)
    except Exception:  # whatever docutils fails by, one page costs itself only
        skipped.note(BROKEN, name)
        return
    try:
        page.read(parsed)
    except (AssertionError, RecursionError):  # nested too deeply
        skipped.note(BROKEN, name)
        return
    text, links, sections = page.writer.finish(page.title)
    if text:
        yield Document(page.id, page.title or page.id.rpartition("/")[2], text, links, sections=sections)
    else:
        skipped.note(NO_TEXT, name, page.id)


class _Page:
    """The text of a page as far as it is written, and what is around the place that is read."""

    def __init__(self, id_: str, tree: Tree, skipped: Skipped) -> None:
        self.id, self.tree, self.skipped, self.writer = id_, tree, skipped, Writer()
        self.title = self.module = ""
        self.classes: tuple[str, ...] = ()
        self.depth, self.left = 0, SUBSTITUTIONS  # those in each other, and those that may follow

    def read(self, document: Any) -> None:
        """Write a document that docutils parsed."""
        self.document, self.nodes = document, (nodes := _docutils()[0])
        targets = list(document.findall(nodes.target))
        self.named = {name: node for node in targets for name in node["names"]}
        self.unnamed = (node for node in targets if node.get("anonymous"))
        self.hidden = tuple(getattr(nodes, name.replace("-", "_")) for name in WORDS["unseen"])
        self.aside = nodes.table, nodes.footnote, nodes.citation
        self.write_block(document)

    def write_block(self, node: Any) -> None:
        nodes, writer, before = self.nodes, self.writer, self.classes
        if isinstance(node, self.hidden):
            return
        if isinstance(node, nodes.target):
            writer.sections += [(_normal(name), writer.size) for name in node["names"] if "refuri" not in node]
        elif isinstance(node, nodes.TextElement):
            self.write_inline(node)
            if isinstance(node, nodes.title) and not self.title:
                self.title = "".join(writer.parts)[writer.line :].strip(" ")
            writer.end_line()
        else:
            head = isinstance(node, nodes.field_list) and writer.size <= len(self.title) + 1
            kind, signs = node.get("kind"), node.get("signs", [])
            hidden = head or isinstance(node, self.aside) or kind in ASIDE
            writer.hidden += hidden
            forms = [form for name in signs for form in (_whole(self.module, ".".join(before), name), name)]
            writer.sections += [(form, writer.size) for form in dict.fromkeys(forms)]
            if signs and kind in MODULES:
                self.module = signs[0] if signs[0] != "None" else ""
            self.classes += (signs[0],) if signs and kind in CLASSES else ()
            for child in node.children:
                self.write_block(child)
            writer.hidden -= hidden
            self.classes = before

    def write_inline(self, node: Any) -> None:
        for child in node.children:
            if isinstance(child, self.nodes.Text):
                self.writer.add(child.astext())
            elif isinstance(child, self.nodes.substitution_reference):
                defined = self.document.substitution_defs
                name = self.document.substitution_names.get(_normal(child["refname"]), child["refname"])
                if name in defined and self.depth < DEPTH and self.left:
                    self.depth, self.left = self.depth + 1, self.left - 1
                    self.write_inline(defined[name])
                    self.depth -= 1
                elif name in defined:
                    self.skipped.note(NESTED, self.id)
            elif isinstance(child, self.nodes.reference):  # which may hold a substitution
                self.writer.open_link("whole", self.find_address(child))
                self.write_inline(child)
                self.writer.close_link("whole")
            elif "role" in child:
                self.write_role(child["role"], child.astext())
            elif not isinstance(child, self.hidden):
                self.write_inline(child)

    def find_address(self, node: Any) -> tuple[str, str] | None:
        """Return what a hyperlink means; None for a bare address, and for a place in the page itself."""
        shown, steps = node.astext(), 0
        while node is not None and "refuri" not in node and (steps := steps + 1) < DEPTH:  # names may mean names
            anonymous = steps == 1 and node.get("anonymous")
            node = next(self.unnamed, None) if anonymous else self.named.get(node.get("refname"))
        uri = OF_PELICAN.sub("", node.get("refuri", "")) if node is not None else ""
        for host in self.tree.hosts:
            if (path := re.sub("^https?://", "", uri)).startswith(host):
                uri = f"/{path[len(host) :]}" + "index" * path.endswith("/")
        found = resolve_in_note(uri, dirname(self.id)) if uri and uri not in (shown, f"mailto:{shown}") else None
        if found and "//" not in uri and len(pages := _find_page(uri.partition("#")[0], self.id, self.tree)) == 1:
            return pages[0], found[1]
        return found

    def write_role(self, role: str, text: str) -> None:
        """Write what interpreted text shows, as a link if its role is one that refers to something."""
        (domain, _, last), found = role.rpartition(":"), _TITLED.fullmatch(text)
        if last in NUMBERS:
            number, _, place = (found[2] if found else text).partition("#")
            forms = (f"{last}-{number:0>4}", f"{last}-{number}", f"{last}{number}")
            pages = [page for form in forms for page in _ends_with(form, self.tree)] or [NUMBERS[last].format(number)]
            self.writer.link((pages[0], place), found[1] if found else f"{last.upper()} {number}")
            return
        python = last in PYTHON and domain in ("", "py")
        tight = python or last in ("ref", "doc", "term", "any", "numref")
        tree = self.tree
        if text[:1] == "!" or not (tight or last in tree.objects or last in tree.roles or last in tree.folders):
            text = _UNSHOWN[last].sub("", text) if last in _UNSHOWN else text
            self.writer.add(found[1] if found else text.removeprefix("!"))
            return
        around = self.module, ".".join(self.classes)

        def find(name: str) -> tuple[str, str, str] | str:
            return resolve(role, _SPACE.sub(" ", name.lstrip("~").strip()), self.id, self.tree, around)

        if not found and (close := _CLOSE.fullmatch(text)) and (tight or not isinstance(find(close[2]), str)):
            found = close
        shown, name = found.groups() if found else (text, text)
        to = find(name)
        if not found and python:
            name = name.lstrip(".")
            shown = name[1:].rpartition(".")[2] if name[:1] == "~" else name
        if isinstance(to, str):
            self.skipped[to] += 1  # its target says which
            self.writer.link((f":{role}:`{name}`", ""), shown)
        else:
            self.writer.link(to[:2], to[2] if to[2] and not found else shown)


READER = Reader(
    read_file=read_file,
    survey=survey,
    suffixes=SUFFIXES,
    largest=LARGEST,
    inside=(".txt", ".inc"),
    settings=("conf.py",),
    marks=(b"\n.. toctree::", b":doc:`", b":ref:`", b":class:`", b"\n.. _", b"\n.. code-block:: "),
)
