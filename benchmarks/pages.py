"""Web pages a second and MB of HTML a second on one core, against BeautifulSoup doing the same work.

    python benchmarks/pages.py catholic-encyclopedia.html.tar.xz --body 'div#springfield2' --drop 'div.pub'

The pages (evenly drawn from the tree) are decompressed and held in memory first. The work: parse, find the body, take
out what is dropped, give the text with its links at their places. BeautifulSoup does it with the same selectors, on
lxml, its fastest parser, and on html.parser; ours also decodes, resolves addresses and makes Documents. All in turn, in
this process; seconds of CPU. Printed first: on how many pages both find the same links with the same anchors.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from bs4 import BeautifulSoup, NavigableString, Tag
from bs4.element import PreformattedString

from linkbert.corpora.reader import Skipped
from linkbert.corpora.readers import html
from linkbert.corpora.sources import _read_files, plan_source
from linkbert.records import Document

Found = tuple[str, list[tuple[str, str]]]  # text; address and anchor of each link in it


def main() -> None:
    """Compare, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path)
    parser.add_argument("--body", default="body")
    parser.add_argument("--drop", default="")
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    options = html.Options(body=arguments.body, drop=arguments.drop)
    shards = plan_source("html", arguments.tree, options)
    pages = [page for shard in shards if shard.path for page in _read_files(shard, Skipped())]
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
    tables = html._TABLES.replace("> * > tr > ", "").replace("> ", "")  # as far as soupsieve knows them
    for element in root.select(", ".join(filter(None, (html._DROPPED, tables, options.drop)))):
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


if __name__ == "__main__":
    main()
