"""Count which links of a public tree of Markdown reach the page that a careful person finds.

    git clone https://github.com/vuejs/docs vuejs
    python benchmarks/links.py vuejs vitepress --root src --host vuejs.org

What a link means is worked out here anew, from the raw files and the rules of the tool that the tree is written for; no
line of linkbert's readers is used. Rules: code blocks, code spans, comments and front matter hold no links; pictures,
places in the same page and pages that link to themselves do not count; a page is what linkbert made a document of.
An address is looked up as a path beside the file, then as the address of a page of the published site (its permalink,
slug, url, aliases; in small letters), seen from the page's own address, then from the root; a wiki link by the tool's
rule for names (nearest first where several have one). Printed: links that have such a page, of these lost and led to
another page than the one found here, with examples to be looked at by hand; and links that only linkbert resolves.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from calendar import month_abbr
from collections import Counter, defaultdict
from pathlib import Path
from posixpath import dirname, normpath
from posixpath import join as join_path
from urllib.parse import unquote

import yaml

from linkbert.corpora.build import build_documents
from linkbert.graph.links import LinkGraph, add_graph
from linkbert.workers import make_executor

KINDS = ("vitepress", "hugo", "jekyll", "docusaurus", "mkdocs", "flat", "dendron", "logseq", "notes")
SUFFIX = re.compile(r"\.(md|mdx|markdown)$", re.I)
MEDIA = re.compile(
    r"\.(png|jpe?g|gif|svg|webp|bmp|ico|mp3|mp4|m4a|ogg|wav|webm|mov|pdf|zip|canvas|avif|flac|mkv|tiff?)$", re.I
)
FENCE = re.compile(r"^([ \t>]*(?:[-*+][ \t]+|\d+[.)][ \t]+)?)(```+|~~~+).*?(?:^[ \t>]*\2[`~]*[ \t]*$|\Z)", re.M | re.S)
UNSEEN = re.compile(
    r"<!--.*?-->|%%.+?%%|<(script|style|pre|svg)\b.*?</\1>|\{% *highlight.*?endhighlight *%\}"
    r"|\{\{[<%] *(code-toggle|highlight).*?\{\{[<%] */\2.*?\}\}",
    re.S,
)
SPAN = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n\n).)*?(?<!`)\1(?!`)", re.S)
ADDRESS = re.compile(
    r"(?<!\\)\]\(\s*(?:<([^<>\n]*)>|(\[\[[^\]\n]*\]\])|((?:[^\s()\\{<]|\{\{.*?\}\}|\{%.*?%\}|\\.|\((?:[^\s()]|\([^\s()]*\))*\))+))(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)"
)
TAG = re.compile(r"<(?:a|A|Link)\s[^<>]*?(?:href|to)=(?:\"([^\"]*)\"|'([^']*)')")
DEFINED = re.compile(r"^ {0,3}\[([^\]\n]+)\]:[ \t]*<?((?:\{\{.*?\}\}|[^\s>])+)>?", re.M)
USED = re.compile(r"(?<!\\)\[((?:[^\[\]\\]|\\.|\[[^\[\]]*\])*)\](?:\[([^\[\]]*)\])?(?![(:\[])")
WIKI = re.compile(r"(?<!\\)(?<!\]\()\[\[([^\[\]\n]+)\]\]")
FRONT = re.compile(r"\A---[ \t]*\n(.*?)^---", re.M | re.S)


def key(name: str) -> str:
    """Write a name as wikis compare it: small letters, blanks as hyphens."""
    return re.sub(r"[\s_+-]+", "-", name.strip().lower())


class Tree:
    """The pages of a tree, read anew from its files, and where its links lead by the rules of its tool."""

    def __init__(self, folder: Path, kind: str, root: str, hosts: list[str], ids: set[str]) -> None:
        self.kind, self.hosts, self.root = (
            kind,
            [host.strip("/") for host in hosts],
            root.strip("/") + "/" if root else "",
        )
        self.texts, self.front = {}, {}
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if SUFFIX.search(name) and not re.search(r"(^|/)\.", name) and path.is_file():
                id_ = SUFFIX.sub("", name)
                if id_ in ids:
                    text = path.read_text("utf-8", "replace").replace("\r\n", "\n")
                    found = FRONT.match(text)
                    try:
                        front = yaml.safe_load(found[1]) if found else {}
                    except (yaml.YAMLError, ValueError):
                        front = {}
                    self.front[id_] = front if isinstance(front, dict) else {}
                    self.texts[id_] = text[found.end() :] if found else text
        self.files = {id_.lower(): id_ for id_ in self.texts}
        self.urls: dict[str, str] = {}  # address of the site, without slashes around it: id
        self.own: dict[str, str] = {}
        versions = folder / self.root / "versions.json"  # of Docusaurus: the first is published at /docs/
        self.latest = f"versioned_docs/version-{json.loads(versions.read_text())[0]}/" if versions.is_file() else "?"
        for id_ in sorted(self.texts, key=lambda id_: self.latest not in id_):
            for n, url in enumerate(self.addresses(id_)):
                url = url.strip("/").lower().replace(" ", "-")
                self.urls.setdefault(url, id_)
                if not n:
                    self.own[id_] = url
        self.names = defaultdict(list)
        for id_ in self.texts:
            for name in self.note_names(id_):
                self.names[key(name)].append(id_)

    def addresses(self, id_: str):
        """Yield where the site shows a page, its own address first."""
        front, path = self.front[id_], id_[len(self.root) :] if id_.startswith(self.root) else None
        said = [front.get(name) for name in ("permalink", "url", "slug") if isinstance(front.get(name), str)]
        for each in said:
            base = dirname(path or id_)
            if self.kind == "docusaurus" and path and each.startswith("/"):
                yield path.replace(self.latest, "docs/").split("/")[0] + each
            yield each if each.startswith("/") else join_path(base, each)
        if self.kind == "docusaurus" and isinstance(front.get("id"), str):
            yield join_path(dirname((path or id_).replace(self.latest, "docs/")), front["id"])
            yield join_path(dirname(path or id_), front["id"])
        if path is not None:
            last = path.rpartition("/")[2]
            dated = re.match(r"(\d{4})-(\d\d)-(\d\d)-(.*)", last)
            if self.kind == "docusaurus":
                if path.startswith(self.latest):
                    yield path.replace(self.latest, "docs/")
                if path.startswith("versioned_docs/version-"):
                    yield path.replace("versioned_docs/version-", "docs/")
                path = "/".join(re.sub(r"^\d+\s*[-_.]+\s*(?=\D)", "", part) for part in path.split("/"))
                if dated:
                    yield join_path(dirname(path), *dated.groups())
            if self.kind == "jekyll":
                if dated:
                    yield "news/" + "/".join(dated.groups())
                path = re.sub(r"(^|/)_", r"\1", path)
            if last.lower() in ("index", "_index", "readme"):
                yield dirname(path)
            yield path
        if self.kind == "docusaurus" and id_.startswith("docs/"):
            yield id_.replace("docs/", "docs/next/", 1)
        for name in ("aliases", "redirect_from"):
            for each in front.get(name) or [] if isinstance(front.get(name), list) else []:
                if isinstance(each, str) and "/" in each and self.kind in ("hugo", "jekyll"):
                    yield each if each.startswith("/") else join_path(dirname(path or id_), each)

    def note_names(self, id_: str):
        """Yield what wiki links call a page."""
        last = id_.rpartition("/")[2]
        yield last
        if self.kind == "logseq":
            yield unquote(last).replace("___", "/")
            for key_, value in re.findall(r"^\s*(?:- )?(title|alias|id):: *(.*)", self.texts[id_], re.M):
                yield from [value] if key_ == "title" else [part.strip(" []") for part in value.split(",")]
            if day := re.fullmatch(r"(\d{4})_(\d\d)_(\d\d)", last):
                number = int(day[3])
                end = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
                yield f"{month_abbr[int(day[2])]} {number}{end}, {day[1]}"
        elif self.kind in ("notes",):
            aliases = self.front[id_].get("aliases") or self.front[id_].get("alias") or []
            yield from [str(each) for each in aliases] if isinstance(aliases, list) else str(aliases).split(",")

    def links(self, id_: str):
        """Yield what stands in the links of a page, and their sort."""
        text = UNSEEN.sub("", FENCE.sub("", self.texts[id_]))
        text = SPAN.sub(
            lambda span: "code" if "]" in span[0] or "[" in span[0] or "<" in span[0] or "(" in span[0] else span[0],
            text,
        )
        defined = {name.lower().strip(): to for name, to in DEFINED.findall(text)}
        text = DEFINED.sub("", text)
        for found in WIKI.finditer(text):
            if text[found.end() : found.end() + 1] != "(":
                yield "wiki", found[1]
        for found in ADDRESS.finditer(text):
            yield "address", found[1] or found[2] or found[3]
        for found in TAG.findall(text):
            yield "address", found[0] or found[1]
        for shown, name in USED.findall(ADDRESS.sub("]()", WIKI.sub("", text))):
            if to := defined.get((name or shown).lower().strip()):
                yield "address", to

    def page_of_name(self, name: str, page: str) -> str | None:
        """Return the pages that a name may mean, joined by a bar: nothing tells one from the other."""
        name = name.strip().rstrip("\\").split("#")[0].strip()
        name = name if key(name) in self.names else SUFFIX.sub("", name)
        if not name:
            return None
        if name.startswith((".", "/")) and "/" in name:
            return self.page_of_path(name, page)
        found = list(self.names.get(key(name), []))
        if not found and "/" in name:
            found = [
                id_
                for id_ in self.names.get(key(name.rpartition("/")[2]), [])
                if key("/" + id_).endswith(key("/" + name))
            ]
        if not found:
            return None

        def rank(id_: str):
            last = id_.rpartition("/")[2]
            shared = 0
            for a, b in zip(dirname(page).split("/"), dirname(id_).split("/"), strict=False):
                if a != b:
                    break
                shared += 1
            whole = "/" in name
            alias = key(name) not in (key(last), key(id_[-len(name) :]))
            return (alias, not whole and last != name, last.lower() != name.lower(), -shared, id_.count("/"))

        best = min(map(rank, found))
        return "|".join(sorted({id_ for id_ in found if rank(id_) == best}))  # nothing tells one from the other

    def page_of_path(self, path: str, page: str) -> str | None:
        """Return the page that a path means."""
        plain = re.sub(r"\.html?$", "", SUFFIX.sub("", path))
        rooted = path.startswith("/")
        forms = []
        if rooted:
            forms = [("url", plain), ("file", plain), ("file", self.root + plain.lstrip("/"))]
        else:
            beside = ("file", join_path(dirname(page), plain))
            own = self.own.get(page, page[len(self.root) :])
            is_index = page.rpartition("/")[2].lower() in ("index", "_index", "readme")
            below = [("url", join_path(own, plain))] if self.kind in ("hugo", "jekyll", "mkdocs") or is_index else []
            near = [
                ("url", join_path(dirname(own), plain)),
                ("url", join_path(dirname(page[len(self.root) :]), plain)),
                ("url", join_path(own, plain)),
            ]
            forms = [beside, *below, *near] if SUFFIX.search(path) else [*below, beside, *near]
            forms += (
                [("file", self.root + plain), ("file", join_path(self.root, plain.split("/")[0], plain))]
                if SUFFIX.search(path)
                else []
            )
        for kind, form in forms:
            form = normpath(form).lstrip("/")
            form = re.sub(r"^(\.\./)+|^\.$", "", form).lower()
            if kind == "file":
                found = next(
                    (
                        self.files[f]
                        for f in (form, f"{form}/index", f"{form}/readme", f"{form}/_index")
                        if f.strip("/") in self.files
                        for f in [f.strip("/")]
                    ),
                    None,
                )
            else:
                found = self.urls.get(form.replace(" ", "-")) or self.urls.get(re.sub(r"(^|/)index$", "", form))
            if found:
                return found
        if self.kind in ("flat", "dendron", "logseq"):
            return self.page_of_name(plain.rpartition("/")[2], page)
        return None

    def expected(self, sort: str, inside: str, page: str) -> str | None:
        """Return the page that a careful person finds for a link."""
        if sort == "address" and inside.startswith("[["):
            sort, inside = "wiki", inside.strip("[]")
        if sort == "wiki":
            left, bar, right = inside.partition("|")
            sides = [right, left] if bar and self.kind in ("flat", "dendron") else [left]
            sides = [re.sub(r"^dendron://[^/]*/", "", side) for side in sides]
            if MEDIA.search(sides[0]):
                return None
            return next((found for side in sides if (found := self.page_of_name(side, page))), None)
        inside = self.evaluate(inside)
        address = unquote(inside.split("#")[0].split("?")[0])
        if not address or MEDIA.search(address):
            return None
        if web := re.match(r"(?:https?:)?//(?:www\.)?(.*)", address):
            host = next((host for host in self.hosts if f"{web[1]}/".startswith(f"{host}/")), None)
            rest = web[1][len(host) :] if host else ""
            return self.page_of_path(rest, page) if rest.strip("/") else None
        if re.match(r"[a-zA-Z][\w+.-]*:", address):
            return None
        return self.page_of_path(address, page)

    def evaluate(self, address: str) -> str:
        """Write what a template makes of an address."""
        if found := re.search(r"\{% *link +(\S+) *%\}", address):
            return "/" + found[1] + address[found.end() :]
        if found := re.search(r"\{% *post_url +(\S+) *%\}", address):
            return "/_posts/" + found[1] + ".md"
        if found := re.search(r"\{\{[<%]? *(?:rel)?ref +\"?([^\" >]+)", address):
            return found[1]
        if found := re.search(r"\{\{ *['\"]([^'\"]*)['\"] *\| *(?:relative|absolute)_url", address):
            return found[1] + address[address.find("}}") + 2 :]
        return re.sub(r"\{\{ *site\.(baseurl|url) *\}\}", "", address)


def main() -> None:
    """Build a tree's store, work out its links anew, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--root", default="", help="folder of the tree that is published")
    parser.add_argument("--host", action="append", default=[], help="where it is published")
    parser.add_argument("--show", type=int, default=8, help="examples of each outcome")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = build_documents([given.folder], Path(folder) / "store", format="markdown")
        add_graph(store, "hyperlink", "hyperlink", executor=make_executor(1))
        graph, documents = LinkGraph.open(store.path, "hyperlink"), list(store.documents())
        ids = [document.id for document in documents]
        got = {
            id_: Counter(ids[t] for t in graph.targets[graph.offsets[n] : graph.offsets[n + 1]])
            for n, id_ in enumerate(ids)
        }
    tree = Tree(given.folder, given.kind, given.root, given.host, set(ids))
    counts, lost, wrong, more = Counter(), [], [], []
    for id_ in tree.texts:
        rest = Counter(got[id_])
        missing = []
        for sort, inside in tree.links(id_):
            target = tree.expected(sort, inside, id_)
            counts["links"] += 1
            if target is None or id_ in target.split("|"):
                continue
            counts["in the corpus"] += 1
            if there := [each for each in target.split("|") if rest[each]]:
                rest[there[0]] -= 1
            else:
                missing.append((id_, inside, target))
        lost += missing
        others = list(rest.elements())
        for row in missing:  # a page that nothing here led to stands against one that is missing
            if others:
                wrong.append((*row, others.pop()))
        more += [(id_, other) for other in others]
    total = counts["in the corpus"] or 1
    print(f"{given.folder} ({len(ids)} pages): {dict(counts)}, lost {len(lost)} = {100 * len(lost) / total:.2f} %,")
    print(f"  perhaps on a wrong page {len(wrong)} = {100 * len(wrong) / total:.2f} %, by linkbert alone {len(more)}")
    draw = random.Random(1)
    for title, rows in (("lost", lost), ("wrong", wrong), ("alone", more)):
        for row in draw.sample(rows, min(given.show, len(rows))):
            print(f"  {title}: " + " | ".join(row))


if __name__ == "__main__":
    main()
