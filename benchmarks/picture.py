"""Draw a demo's picture of the paper's idea as SVG: a text, the one it links to, the words that became easier by it.

    linkbert demo && python benchmarks/picture.py linkbert-demo docs/picture.svg --number 2

In: the folder of a finished demo. Out: one file with its own background, for a README in light or dark. `--number`
chooses among the demo's three clearest pairs. Lines of text have a given length, so that marks stand where words are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from linkbert.config import make_config
from linkbert.instances.sampler import Sampler
from linkbert.model.checkpoint import load_model
from linkbert.model.fill import guess_masked
from linkbert.pretraining.journal import read_journal, read_record
from linkbert.pretraining.scores import Scores, from_json
from linkbert.views.gains import Picture, Piece, pictures

WIDTH, COLUMN, CHARS, LINES = 880, 372, 44, 11
CHAR, LEADING = 7.8, 21  # of a letter of the text: its width and a line's height, in px
STYLE = """
  .back { fill: #fcfcfd; stroke: #d9d9e0 } .box { fill: #f4f5f8; stroke: #d9d9e0 } .mark { fill: #ffe28a }
  .link, .near { fill: #2f62d9 } .far { fill: #9aa0aa } .arrow { stroke: #2f62d9; stroke-width: 2.5; fill: none }
  text { font: 14px system-ui, sans-serif; fill: #1c2024 } .title { font-size: 19px; font-weight: 600 }
  .soft { fill: #60646c } .head { font-weight: 600 } .mono { font: 13px ui-monospace, monospace; white-space: pre }
  @media (prefers-color-scheme: dark) {
    .back { fill: #16181c; stroke: #43484e } .box { fill: #212429; stroke: #43484e } .mark { fill: #6b5200 }
    .link, .near { fill: #8eb0ff } .far { fill: #767c86 } .arrow { stroke: #8eb0ff }
    text { fill: #edeef0 } .soft { fill: #b0b4ba }
  }
"""


def words(pieces: Iterable[Piece]) -> Iterator[tuple[str, bool, bool]]:
    """Yield (token, is it shown, does a space stand before it): "compile _ definitions ." is "compile_definitions."."""
    tokens = [(token, bool(kind)) for text, kind in pieces for token in text.split()]
    glued = True
    for i, (token, shown) in enumerate(tokens):
        after = tokens[i + 1][0] if i + 1 < len(tokens) else ""
        between = token == "." and i > 0 and tokens[i - 1][0].isdigit() and after.isdigit()
        yield token, shown, not (glued or token in [*".,;:)!?_-'"])
        glued = between or token in [*"(_-'"]


def wrapped(pieces: Iterable[Piece]) -> list[tuple[str, list[tuple[int, int]]]]:
    """Break a text into lines, each with the places of the words that are shown."""
    units: list[list[tuple[str, bool]]] = []  # what no line may break
    for token, shown, spaced in words(pieces):
        if spaced or not units:
            units.append([])
        units[-1].append((token, shown))
    lines: list[tuple[str, list[tuple[int, int]]]] = [("", [])]
    for unit in units:
        text, marks = lines[-1]
        if text and len(text) + 1 + sum(len(token) for token, _ in unit) > CHARS:
            lines.append(("", []))
            text, marks = lines[-1]
        text += " " * bool(text)
        for token, shown in unit:
            marks += [(len(text), len(token))] if shown else []
            text += token
        lines[-1] = text, marks
    return lines


def write(parent: Element, x: float, y: float, content: str, kind: str = "", **more: str) -> None:
    """Add a text."""
    SubElement(parent, "text", {"x": f"{x:g}", "y": f"{y:g}", "class": kind, **more}).text = content


def rectangle(parent: Element, x: float, y: float, width: float, height: float, kind: str) -> None:
    """Add a rectangle."""
    places = {"x": x, "y": y, "width": width, "height": height, "rx": 5 if height > 16 else 3}
    SubElement(parent, "rect", {key: f"{value:g}" for key, value in places.items()} | {"class": kind})


def draw(picture: Picture, scores: Scores, about: str) -> Element:
    """Lay out a picture."""
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img"})
    SubElement(svg, "title").text = f"What the link from {picture.title_a} to {picture.title_b} tells a language model"
    SubElement(svg, "style").text = STYLE
    rectangle(svg, 1, 1, WIDTH - 2, 0, "back")
    back = svg[-1]
    write(svg, 30, 44, "A document links to another, and the other one helps to read it", "title")
    by = f", by the words “{picture.anchor}”" if picture.anchor else ""
    write(
        svg,
        30,
        70,
        f"“{picture.title_a}” links to “{picture.title_b}”{by}. Marked: masked in A, and found in B.",
        "soft",
    )
    texts = [wrapped(picture.a)[:LINES], wrapped(picture.b)[:LINES]]
    height = 48 + LEADING * max(map(len, texts))
    for left, name, lines in zip((30, WIDTH - 30 - COLUMN), ("A", "B"), texts, strict=True):
        rectangle(svg, left, 90, COLUMN, height, "box")
        title = picture.title_a if name == "A" else picture.title_b
        write(svg, left + 14, 116, f"{name}: {title}", "head")
        for i, (text, marks) in enumerate(lines):
            y = 142 + LEADING * i
            for start, length in marks:
                rectangle(svg, left + 12 + CHAR * start, y - 14, CHAR * length + 4, 19, "mark")
            write(svg, left + 14, y, text, "mono", textLength=f"{CHAR * len(text):g}")
    middle, start = 90 + height / 2, 30 + COLUMN + 8
    SubElement(svg, "path", {"d": f"M{start} {middle:g}h{WIDTH - 2 * start - 10}", "class": "arrow"})
    SubElement(svg, "path", {"d": f"M{WIDTH - start} {middle:g}l-14 -7v14z", "class": "link"})
    y = 90 + height + 34
    write(
        svg, 30, y, "How likely the model finds the masked word, in one of the clearest of 300 held-out pairs", "head"
    )
    for word, *chances in picture.words[:3]:
        for name, kind, chance in zip(("a random text", "the linked text"), ("far", "near"), chances, strict=True):
            y += 26
            write(svg, 30, y, f"“{word}”, next to {name}")
            rectangle(svg, 330, y - 12, 430 * chance, 14, kind)
            write(svg, 330 + 430 * chance + 8, y, f"{100 * chance:.1f} %", "head")
    if gain := scores.shared_gain:
        y += 38
        interval = f"95 % {gain.low:+.3f} to {gain.high:+.3f}"
        write(
            svg,
            30,
            y,
            f"All {gain.pairs:,} held-out pairs: {gain.value:+.3f} nats a masked word that B holds ({interval})",
        )
    write(svg, 30, y + 24, about, "soft")
    svg.set("viewBox", f"0 0 {WIDTH} {y + 46:g}")
    svg.set("width", str(WIDTH))
    back.set("height", f"{y + 44:g}")
    return svg


def main(arguments: Sequence[str] | None = None) -> None:
    """Find the picture of a demo, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("demo", type=Path, metavar="DEMO")
    parser.add_argument("to", type=Path, metavar="FILE.svg")
    parser.add_argument("--number", type=int, default=1, metavar="N", help="which of the clearest pairs")
    parser.add_argument(
        "--about", default="The manual of CMake; an encoder of two layers, trained for minutes on a CPU."
    )
    given = parser.parse_args(arguments)
    config = make_config(None, base=read_record(given.demo / "run")["config"])
    scored = [line for line in read_journal(given.demo / "run" / "journal.jsonl") if "evaluation" in line]
    sampler = Sampler.open(given.demo / "store", config, split="held-out", anchors="usable")
    guess = partial(guess_masked, load_model(given.demo / "run" / "model").eval())
    found = pictures(sampler, guess)
    svg = draw(found[given.number - 1], from_json(scored[-1]["evaluation"]), given.about)
    indent(svg)
    ElementTree(svg).write(given.to, encoding="utf-8")


if __name__ == "__main__":
    main()
