"""Pages as a browser takes them: whole, alone, readable in dark and light, with the numbers of the other forms."""

import html
import re
from collections import Counter
from html.parser import HTMLParser
from importlib import resources

import pytest
from markdown_it import MarkdownIt

from linkbert.pretraining.scores import nats, percent
from linkbert.tasks.table import suite
from linkbert.views.page import Measured, Section, text_lines, write_report
from linkbert.views.plots import Plot, svg, write_plots
from linkbert.views.runs import runs_section
from linkbert.views.tables import results_sections
from test_runs import SCORES, make_run  # noqa: F401
from test_tables import result

VOID = {"meta", "br", "wbr", "img", "link", "input", "hr"}
LOADS = {"src", "srcset", "action", "data", "poster", "background", "formaction", "ping", "manifest"}
ODD = "<b a='1'>&amp;\"$x_{"


class Page(HTMLParser):
    """Parses a page strictly: tags nest, ids stand once; collects tables and what would be loaded."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.loads, self.names = [], Counter(), [], [], Counter()
        self.cells, self.texts = [], []
        self.feed(text)
        self.close()
        assert self.open == []
        assert max(self.ids.values(), default=1) == 1
        assert {link.removeprefix("#") for link in self.links} <= self.ids.keys()
        assert self.loads == []
        assert not re.search(r"https?:|//|@import", re.sub(r"/\*.*?\*/", "", text))

    def handle_starttag(self, tag, attrs):
        self.names[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids[value] += 1
            elif name.endswith("href"):
                assert value.startswith("#")
                self.links.append(value)
            elif name in LOADS or name.startswith("on"):
                self.loads.append((tag, name, value))
            self.links += re.findall(r"url\((#.*?)\)", value or "")
        if tag in ("th", "td"):
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if {"th", "td"} & set(self.open):
            self.cells[-1] += data


def page_of(sections, folder):
    write_report(sections, folder / "page.html")
    return Page((folder / "page.html").read_text())


@pytest.fixture
def sections(make_run):  # noqa: F811
    results = [result(task.name, 0.6, seed=seed) for task in suite("glue") for seed in (0, 1)]
    results += [result("rte", 0.7, model=f"models/{ODD}"), result("rte", 0.1, settings={"epochs": 3, "fraction": 0.1})]
    runs = [make_run("a", scores=[(1, SCORES), (2, SCORES)]), make_run("b", "seed=3")]
    return [runs_section(runs), *results_sections(results)]


def test_a_report_is_a_whole_page_with_the_numbers_of_its_tables(sections, tmp_path):
    page = page_of(sections, tmp_path)
    shown = [cell.strip() for cell in page.cells]
    tables = [[row for row in section.table if any(row[1:]) or len(row) == 1] for section in sections]
    assert [cell for cell in shown if not cell.startswith("settings")] == [
        cell.strip() for table in tables for row in table for cell in row
    ]
    text = "\n".join(line for section in sections for line in text_lines(section))
    for number in (percent(SCORES.mlm_accuracy), nats(SCORES.link_gain), "60.0 ± 0.0", "50.0 to 70.0"):
        assert number in shown
        assert number in text
    assert page.names["table"] == page.names["caption"] == sum(bool(section.table) for section in sections)
    assert page.names["nav"] == 1
    assert [link for link in page.links if link.startswith("#part")][:4] == [f"#part-{i}" for i in range(1, 5)]


def test_rows_of_the_paper_are_marked(sections, tmp_path):
    page_of(sections[1:], tmp_path)
    text = (tmp_path / "page.html").read_text()
    assert (
        len(re.findall(r'<tr class="paper">\n<th scope="row">[^<]* \(paper\)', text)) == text.count("(paper)</th>") == 6
    )
    assert len(re.findall(r'<tr class="base">\n<th scope="row">(?:majority|chance)', text)) == 2


def test_what_comes_from_outside_is_text(make_run, tmp_path):  # noqa: F811
    plot = Plot(ODD, ODD, "step", "loss", {ODD: ([1, 2], [3, 4]), "_hidden": ([1], [2])}, "log")
    section = Section(ODD, [ODD], [["", ODD], [ODD, ODD], [ODD, ""]], caption=ODD, plots=[plot])
    page = page_of([section, runs_section([make_run("<i>&$x")])], tmp_path)
    assert page.names["b"] == page.names["i"] == 0
    assert "".join(page.texts).count(ODD) == 9  # heading, caption, four cells, line, the plot and its line
    assert "_hidden" in page.texts
    head = (tmp_path / "page.html").read_text().partition("<title>")[0]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in head


def test_names_in_markdown_are_text(tmp_path):
    names = ["lib/__init__", "a*b*c", "~~x~~", "R&amp;D"]
    write_report([Section("Names", [], [["", "n"], *([name, "1"] for name in names)])], tmp_path / "page.md")
    rendered = MarkdownIt("gfm-like", {"linkify": False}).render((tmp_path / "page.md").read_text())
    assert [html.unescape(each) for each in re.findall(r"<tr>\n<td[^>]*>(.*?)</td>", rendered)] == names


def test_a_store_without_links_has_plots(tmp_path):
    """Of lines without a point above 0 none can be logarithmic."""
    assert "<path" in svg(Plot("degrees", "", "x", "y", {"hyperlink, in-degree": ([], [])}, "log"), "p-")
    shape = {"in_degree": [[1, 0]], "out_degree": [], "coverage": {}}
    (path, *_) = write_plots({"path": "s", "shapes": {"_r": shape}}, tmp_path)
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_a_name_that_is_not_utf_8_is_written(tmp_path):
    for name in ("page.html", "page.md"):
        write_report([Section("a\udcff", ["b"])], tmp_path / name)
        assert r"a\xff" in (tmp_path / name).read_text().replace("\\\\", "\\")


def test_a_bar_stands_where_its_numbers_are(tmp_path):
    share = {"value": 0.5, "low": 0.25, "high": 1.0}
    gain, loss = {"value": 1.0, "low": 0.0, "high": 3.0}, {"value": -1.0, "low": -1.0, "high": -1.0}
    table = [["", "a"], ["x", Measured("50 %", share, 1.0)], ["y", Measured("+1", gain)], ["z", Measured("-1", loss)]]
    page_of([Section("Bars", table=[*table, ["w", Measured("-", None)]])], tmp_path)
    assert bars(tmp_path) == [[0.25, 1, 0.5], [0.25, 1, 0.5], [0, 0, 0]]
    correlation = {"value": -0.5, "low": -1.0, "high": 0.0}
    page_of([Section("Below 0", table=[*table[:2], ["y", Measured("-50", correlation, 1.0)]])], tmp_path)
    assert bars(tmp_path) == [[0.625, 1, 0.75], [0, 0.5, 0.25]]


def bars(folder):
    """Return low, high and value of a page's bars, as shares of their scale."""
    text = (folder / "page.html").read_text()
    found = re.findall(r'<line x1="(.*?)%" x2="(.*?)%" y1="8".*?cx="(.*?)%"', text)
    return [[round((float(end) - 3) / 94, 3) for end in bar] for bar in found]


def test_a_report_of_nothing_and_a_section_without_a_table(tmp_path):
    assert page_of([], tmp_path).names["section"] == 0
    page = page_of([Section("Not scored", ["RTE: not scored"])], tmp_path)
    assert (page.names["table"], page.names["nav"], page.names["li"]) == (0, 0, 1)


def test_every_colour_is_defined_for_light_and_for_dark():
    text = resources.files("linkbert.views").joinpath("base.html").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    assert text.index("prefers-color-scheme: dark") < text.index(dark)
    defined = set(re.findall(r"(--[\w-]+):", light))
    assert defined == set(re.findall(r"(--[\w-]+):", dark))
    assert set(re.findall(r"var\((--[\w-]+)\)", text)) <= defined
    for colours in (light, dark):  # a reader sees all lines: WCAG 2 asks a contrast of 3 of graphics, of 4.5 of text
        values = dict(re.findall(r"(--[\w-]+): (#\w+)", colours))
        for name, value in values.items():
            least = {"--ink": 7, "--soft": 4.5, "--bar": 3}.get(name, 3 if name.startswith("--series") else 0)
            assert contrast(value, values["--paper"]) >= least, (name, value)


def contrast(one, other):
    """Return the contrast of two colours as WCAG 2 defines it."""

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_lines_of_a_plot_have_the_colours_of_the_page():
    """Matplotlib writes its own colours; base.html has a rule for each of them."""
    text = resources.files("linkbert.views").joinpath("base.html").read_text()
    drawn = svg(Plot("p", "P", "x", "y", {str(i): ([1, 2], [i, i]) for i in range(12)}), "p-")
    used = set(re.findall(r"(?:stroke|fill): (#\w{6})", drawn))
    assert len(used) == 11  # ten, and black
    for colour in used:
        assert f'[style*="stroke: {colour}"]' in text
    assert drawn == svg(Plot("p", "P", "x", "y", {str(i): ([1, 2], [i, i]) for i in range(12)}), "p-")
