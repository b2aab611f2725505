"""Web pages: how fast they are read, which links are lost, how much is navigation, which prose is lost.

    python benchmarks/pages.py speed catholic-encyclopedia.html.tar.xz --body 'div#springfield2' --drop 'div.pub'
    python benchmarks/pages.py links /usr/share/doc/sqlite3
    python benchmarks/pages.py prose /usr/share/doc/sqlite3        (needs trafilatura, resiliparse, readability-lxml)

**speed**, on one core, against BeautifulSoup doing the same work. The pages (evenly drawn from the tree) are
decompressed and held in memory first. The work: parse, find the body, take out what is dropped, give the text with its
links at their places. BeautifulSoup does it with the same selectors, on lxml, its fastest parser, and on html.parser;
ours also decodes, resolves addresses and makes Documents. All in turn, in this process; seconds of CPU. Printed first:
on how many pages both find the same links with the same anchors.

**links**: a store of the folder is built, and its links are counted against those that this file finds by itself, with
lxml and the file system. Its rules:

 * A document is a file of a page's suffix, by its real path (what a symbolic link names is what it leads to), that the
   store holds under that path or as another name of it.
 * A link is <a href> or <area href>. It leads into the corpus if its address (joined to that of the page or its <base>,
   without query and fragment, percent-decoded) is a file of the tree, also compressed, or with ".html" behind it, or a
   folder with an index page; in other capitals if there is one such file only. Links to the page itself do not count.
 * Lost: a link into the corpus, page to page, that the store's graph does not have, as often as it stands in the page.
 * Wrong: an edge of the graph between two pages where the page has no such link.
 * Navigation, of the links that have a place in the text: (1) the text of the block around the link stands, with links
   in it, on more than half of the pages of the tree, or of the page's folder if that has ten pages; or (2) an element
   around the link is <nav> or <footer>, has role=navigation, or has a class or id that trafilatura or readability take
   for navigation (NAMES), and no more words outside links than in them.

**prose**: what the peers take for main text and we do not keep. Of each page, the lines of at least ten words of a
peer's text; a line is lost if less than 80 % of its runs of three words are in ours. A line that stands on more than
half of the pages is none of the page's prose. Printed for each peer, and the other way round (what of ours it loses).
"""

from __future__ import annotations

import argparse
import gzip
import posixpath
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit

import lxml.html
from bs4 import BeautifulSoup, NavigableString, Tag
from bs4.element import PreformattedString

from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import Skipped
from linkbert.corpora.readers import html
from linkbert.corpora.sources import _read_files, plan_source, read_shard
from linkbert.graph.links import LinkGraph, add_graph
from linkbert.records import Document

Found = tuple[str, list[tuple[str, str]]]  # text; address and anchor of each link in it


def main() -> None:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "links", "prose"])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--body", default="body")
    parser.add_argument("--drop", default="")
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--show", type=int, default=5, help="examples of each fault")
    arguments = parser.parse_args()
    {"speed": measure_speed, "links": count_links, "prose": compare_prose}[arguments.what](arguments)


def measure_speed(arguments: argparse.Namespace) -> None:
    """Compare, time, print."""
    options = html.Options(body=arguments.body, drop=arguments.drop)
    shards = plan_source("html", arguments.tree, options)
    pages = [page for shard in shards if shard.path for page in _read_files(shard, html.LARGEST, Skipped())]
    pages = pages[:: max(len(pages) // arguments.pages, 1)]
    size = sum(len(data) for _, data in pages)
    print(f"{len(pages):,} pages, {size / 1e6:.1f} MB")

    def ours() -> None:
        for name, data in pages:
            for record in html.read_file(name, data, options, Skipped()):
                assert isinstance(record, Document) or record.source

    def theirs(kind: str) -> None:
        for _, data in pages:
            soup(data, kind, options)

    ways = {"linkbert": ours, "bs4, lxml": lambda: theirs("lxml"), "bs4, html.parser": lambda: theirs("html.parser")}
    for kind in ("lxml", "html.parser"):
        texts = links = count = 0
        for _, data in pages:
            page = html.parse(html.decode(data)[0], body=options.body, drop=options.drop)
            text, found = soup(data, kind, options)
            if page is not None:
                mine = [(href, page.text[start:end]) for start, end, href in page.links if start >= 0]
                texts += page.text == text
                links += mine == found
                count += len(mine)
        print(f"{kind}: the same text on {texts:,} pages, the same links and anchors on {links:,} (ours: {count:,})")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            begin = time.process_time()
            way()
            seconds[name].append(time.process_time() - begin)
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{name:18} {len(pages) / median:8,.0f} pages/s {size / median / 1e6:7.1f} MB/s")
        ratios = [b / a for a, b in zip(seconds["linkbert"], taken, strict=True)]
        if name != "linkbert":
            print(f"  linkbert is {statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f})")


def soup(data: bytes, parser: str, options: html.Options) -> Found:
    """Read a page with BeautifulSoup."""
    root = BeautifulSoup(data, parser).select_one(options.body)
    if root is None:
        return "", []
    dropped = html._DROPPED.replace("> * > tr > ", "").replace(":has(> ", ":has(")  # as far as soupsieve knows it
    for element in root.select(", ".join(filter(None, (dropped, options.drop)))):
        element.decompose()
    out: list[str] = []
    links: list[tuple[str, str]] = []
    gap = ""

    def walk(node: Tag) -> None:
        nonlocal gap
        for child in node.children:
            if isinstance(child, Tag):
                gap = html._GAPS.get(child.name, gap) if gap != "\n" else gap
                first = len(out)
                walk(child)
                if child.name == "a" and child.get("href"):
                    anchor = "".join(out[first:]).strip()
                    if anchor:
                        links.append((str(child["href"]), anchor.partition("\n")[0]))
                gap = html._GAPS.get(f"/{child.name}", gap) if gap != "\n" else gap
            elif isinstance(child, NavigableString) and not isinstance(child, PreformattedString):
                run = " ".join(child.split())
                if not gap and child[:1].isspace():
                    gap = " "
                if run:
                    out.append(gap + run if out else run)
                    gap = " " if child[-1].isspace() else ""

    walk(root)
    return "".join(out), links


# ---- links

PAGE = re.compile(r"\.(?:html?|xhtml|shtml)(?:\.(?:gz|bz2|xz|zst))?$", re.IGNORECASE)
COMPRESSION = re.compile(r"\.(?:gz|bz2|xz|zst)$")
REFRESH = re.compile(r"""http-equiv=.?refresh[^>]*content=["']?[\d.\s]*;\s*(?:url=)?["']?([^"'>]*)""", re.IGNORECASE)
DEPTH = 20  # folders that stand above the tree, so that one sees what climbs out of it
MANY = 10  # pages of a folder that has a navigation of its own
BLOCKS = {name for name in html._BREAKS if name != "br"} | {"td", "th"}
# Of trafilatura's and readability's names what means navigation; notes, marks of headings and menu commands are none.
NAMES = re.compile(
    r"(?:^|[^a-z]|[a-z](?=nav))nav(?![a-z]*y\b)|menu(?!selection)|crumb|footer|side-?bar|banner|pager|pagination|"
    r"related|skip|header(?!link)",
    re.IGNORECASE,
)


class Anchor(NamedTuple):
    """A link as this file finds it."""

    target: str  # real path of a page of the tree, or ""
    href: str
    words: str
    named: bool  # in an element that is navigation by its name
    block: str  # text of the block around it


class Tree:
    """The pages of a folder, their real paths, and what they link to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.files = {path.relative_to(self.folder).as_posix() for path in self._walk(self.folder)}
        self.folded: dict[str, list[str]] = {}
        for name in self.files:
            self.folded.setdefault(name.casefold(), []).append(name)
        self.words: dict[str, int] = {}
        self.pages = {name for name in self.files if PAGE.search(name) and self.real(name) == name}

    def _walk(self, folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or not path.exists():
                continue
            if path.is_dir():
                if not path.is_symlink() or not self.folder.is_relative_to(path.resolve()):
                    yield from self._walk(path)
            elif PAGE.search(path.name):
                yield path

    def real(self, name: str) -> str:
        """Return the path in the tree that a file really has, "" for one outside."""
        path = (self.folder / name).resolve()
        return path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else ""

    def find(self, name: str) -> str:
        """Return the page that a path names, "" if none."""
        name = posixpath.normpath(name.lstrip("/")) if name.strip("/") else "."
        indexes = ("index.html", "index.htm", "default.htm", "default.html")
        forms = [name, f"{name}.gz", f"{name}.html", f"{name}.htm"]
        forms += [posixpath.normpath(posixpath.join(name, index)) for index in indexes]
        for form in forms:
            if form in self.files:
                return self.real(form)
        others = [found for form in forms for found in self.folded.get(form.casefold(), ())]
        return self.real(others[0]) if len(others) == 1 else ""

    def read(self, name: str) -> list[Anchor]:
        """Find the links of a page."""
        data = (self.folder / name).read_bytes()
        if name.endswith(".gz"):
            data = gzip.decompress(data)
        text = html.decode(data)[0]
        self.words[name] = 0
        if not text.strip():
            return []
        root = lxml.html.document_fromstring(re.sub(r"^\s*<\?xml[^>]*>", "", text).encode(), parser=PARSER)
        self.words[name] = len(root.text_content().split())
        base = next((each.get("href") for each in root.iter("base") if each.get("href")), "")
        own = urljoin(f"file:///{'_/' * DEPTH}{quote(name)}", base)
        named: dict[Any, bool] = {}
        blocks: dict[Any, str] = {}
        return [self._anchor(link, own, named, blocks) for link in root.iter("a", "area") if link.get("href")]

    def find_move(self, name: str) -> str:
        """Return the page that one which says that it has moved leads to, or ""."""
        found = REFRESH.search((self.folder / name).read_bytes()[:4096].decode("utf-8", "replace"))
        return self.find(posixpath.join(posixpath.dirname(name), unquote(found[1].partition("#")[0]))) if found else ""

    def _anchor(self, link: Any, own: str, named: dict[Any, bool], blocks: dict[Any, str]) -> Anchor:
        address = link.get("href").strip()
        target = ""
        with suppress(ValueError):
            joined = urlsplit(urljoin(own, address))
            if joined.scheme == "file" and not joined.netloc and not address.startswith("#"):
                path = unquote(joined.path).removeprefix("/" + "_/" * DEPTH)
                target = "" if path.startswith("/_") and not address.startswith("/") else self.find(path)
        around = list(link.iterancestors())
        for each in around:
            if each not in named:
                named[each] = is_navigation(each)
        block = next((each for each in around if each.tag in BLOCKS), around[-1])
        if block not in blocks:
            blocks[block] = one_line(block.text_content())
        return Anchor(
            target, address, one_line(link.text_content()), any(named[each] for each in around), blocks[block]
        )


PARSER = lxml.html.HTMLParser(encoding="utf-8", huge_tree=True)


def one_line(text: str) -> str:
    """Fold white space."""
    return " ".join(text.split())


def is_navigation(element: Any) -> bool:
    """Judge an element by its tag, role, class and id, and by the share of its words that are links."""
    name = f"{element.get('class') or ''} {element.get('id') or ''}"
    if element.tag in ("body", "html") or not (
        element.tag in ("nav", "footer") or element.get("role") == "navigation" or NAMES.search(name)
    ):
        return False
    inside = sum(len(link.text_content().split()) for link in element.iter("a") if link.get("href"))
    return len(element.text_content().split()) <= 2 * inside + 10


def count_links(arguments: argparse.Namespace) -> None:
    """Build a store of a folder and count what became of its links."""
    tree = Tree(arguments.tree)
    found = {name: tree.read(name) for name in sorted(tree.pages)}
    repeated = find_repeated(found)
    with TemporaryDirectory() as folder:
        store = build_documents([arguments.tree], Path(folder) / "store", format="html")
        add_graph(store, "hyperlink", "hyperlink")
        edges = LinkGraph.open(store.path).to_arrow().to_pylist()
        documents = list(store.documents())
    ids = {COMPRESSION.sub("", name): name for name in tree.pages}
    names = [ids.get(document.id, "") for document in documents]
    held = Counter((names[edge["source"]], names[edge["target"]]) for edge in edges)
    pages = {name for name in names if name}
    stubs = {name: target for name in tree.pages - pages if (target := tree.find_move(name)) in pages}
    leads = (
        (name, stubs.get(link.target, link.target))
        for name in sorted(tree.pages - stubs.keys())
        for link in found[name]
    )
    wanted = Counter((name, target) for name, target in leads if target not in ("", name) and tree.words[target])
    lost, wrong = wanted - held, Counter({pair: n for pair, n in held.items() if pair not in wanted})
    print(f"{len(tree.pages):,} pages, {len(documents):,} documents; skipped {store.manifest['skipped']}")
    for what, pairs, of in (("lost", lost, wanted), ("wrong", wrong, held)):
        print(f"links {what}: {pairs.total():,} of {of.total():,} ({pairs.total() / max(of.total(), 1):.2%})")
        for pair in list(pairs)[: arguments.show]:
            print("   ", *pair)
    placed, examples = 0, list[str]()
    for document, name in zip(documents, names, strict=True):
        prose, chrome = Counter[str](), dict[str, str]()
        for link in found.get(name, ()):
            if link.named or link.block in repeated.get(posixpath.dirname(name), repeated[""]):
                chrome[link.words] = link.block
            else:
                prose[link.words] += 1
        for anchor in (document.text[link.start : link.end] for link in document.links if link.start >= 0):
            placed, prose[anchor] = placed + 1, prose[anchor] - 1
            if prose[anchor] < 0 and anchor in chrome:
                examples.append(f"{name}: {anchor!r} in {chrome[anchor][:80]!r}")
    print(f"navigation: {len(examples):,} of {placed:,} placed links ({len(examples) / max(placed, 1):.2%})")
    for example in random.Random(1).sample(examples, min(len(examples), arguments.show)):
        print("   ", example)


def find_repeated(found: dict[str, list[Anchor]]) -> dict[str, set[str]]:
    """Find the blocks with links that stand on more than half of the pages of the tree (""), and of each folder."""
    folders: dict[str, list[set[str]]] = {"": []}
    for name, links in found.items():
        blocks = {link.block for link in links if link.words}
        for folder in {"", posixpath.dirname(name)}:
            folders.setdefault(folder, []).append(blocks)
    repeated: dict[str, set[str]] = {}
    for folder, pages in folders.items():
        if not folder or len(pages) >= MANY:
            counts = Counter(block for blocks in pages for block in blocks)
            repeated[folder] = {block for block, count in counts.items() if count > max(len(pages) / 2, 2)}
    return {folder: blocks | repeated[""] for folder, blocks in repeated.items()}


# ---- prose


def compare_prose(arguments: argparse.Namespace) -> None:
    """Print how much of the prose that each peer keeps is lost here, and the other way round."""
    options = html.Options()
    pages, ours = {}, {}
    for shard in plan_source("html", arguments.tree, options):
        pages |= dict(_read_files(shard, html.LARGEST, Skipped()))
        for record in read_shard("html", shard, options, Skipped()):
            if isinstance(record, Document):
                ours[record.id] = record.text
    names = sorted(ours.keys() & pages.keys())
    names = names[:: max(len(names) // arguments.pages, 1)]
    for peer, read in peers().items():
        begin = time.process_time()
        theirs = {name: read(html.decode(pages[name])[0]) for name in names}
        seconds = time.process_time() - begin
        size = sum(len(pages[name]) for name in names)
        print(f"{peer}, {len(names):,} pages, {size / seconds / 1e6:.1f} MB/s")
        for what, kept, other in (("lost here", theirs, ours), ("lost there", ours, theirs)):
            common = Counter(line for name in names for line in set(kept[name].split("\n")))
            lines = words = 0
            lost: list[str] = []
            for name in names:
                there = runs(other[name])
                for line in map(one_line, kept[name].split("\n")):
                    own = runs(line)
                    if len(own) < 8 or common[line] > max(len(names) / 2, 2):
                        continue
                    lines, words = lines + 1, words + len(own)
                    if len(own & there) < 0.8 * len(own):
                        lost.append(f"{name}: {line[:140]}")
            print(f"  {what}: {len(lost):,} of {lines:,} lines of prose ({len(lost) / max(lines, 1):.2%})")
            for example in random.Random(1).sample(lost, min(len(lost), arguments.show)):
                print("     ", example)


def runs(text: str) -> set[tuple[str, ...]]:
    """Return the runs of three words of a text."""
    words = re.findall(r"\w+", text.casefold())
    return set(zip(words, words[1:], words[2:], strict=False))


def peers() -> dict[str, Callable[[str], str]]:
    """Return what finds a page's main text, by name: page in, lines of text out."""
    import readability
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    def by_readability(source: str) -> str:
        try:
            summary = readability.Document(source).summary()
        except readability.readability.Unparseable:
            return ""
        return html.parse(summary).text  # type: ignore[union-attr]

    return {
        "trafilatura": lambda source: trafilatura.extract(source, include_comments=False) or "",
        "resiliparse": lambda source: extract_plain_text(source, main_content=True),
        "readability": by_readability,
    }


if __name__ == "__main__":
    main()
