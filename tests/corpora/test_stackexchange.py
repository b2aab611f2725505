"""Posts of Stack Exchange: which links are the site's own, and what a bad row costs."""

import tarfile
from html import escape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.readers import stackexchange
from linkbert.corpora.readers.stackexchange import Options
from linkbert.corpora.sources import find_reader, read_source

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'


def row(number: int, body: str, more: str = 'PostTypeId="1"') -> str:
    return f'  <row Id="{number}" {more} Body="{escape(body)}" />\n'


def read(path: Path, rows: str | bytes, **options: str) -> tuple[dict[str, list[tuple[str, str]]], Skipped]:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    assert find_reader(path) == "stackexchange"
    skipped, found = Skipped(), {}
    for post in read_source("stackexchange", path, Options(**options), skipped):
        found[post.id] = [(post.text[link.start : link.end] * (link.start >= 0), link.target) for link in post.links]
    return found, skipped


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("https://a.example.org/questions/5/some-title", "5"),
        ("http://a.example.org/questions/5/some-title/7#7", "7"),
        ("https://a.example.org/q/5/33", "5"),
        ("//a.example.org/a/7", "7"),
        ("/questions/5", "5"),
        ("https://a.example.org/questions/tagged/moss", "https://a.example.org/questions/tagged/moss"),
        ("https://b.example.org/questions/5", "https://b.example.org/questions/5"),
    ],
)
def test_which_post_an_address_names(tmp_path, address, target):
    rows = HEAD + row(1, f'<p>See <a href="{address}">it</a>.</p>') + "</posts>"
    found, _ = read(tmp_path / "Posts.xml", rows, site="a.example.org")
    assert found == {"1": [("it", target)]}
    found, _ = read(tmp_path / "a.example.org" / "Posts.xml", rows)
    assert found == {"1": [("it", target)]}


def test_bad_rows_cost_themselves(tmp_path, monkeypatch):
    rows = HEAD + row(1, "<p>One</p>") + '  <row Id="2" PostTypeId="1" Body="<p>" />\n' + row(3, "") + row(4, "<p>4")
    rows += row(5, "<b><i>" * 40_000 + "x" * 9) + row(1, "<p>Again") + row(6, "tags", 'PostTypeId="4"')
    rows += '<!DOCTYPE x [<!ENTITY a "b">]><row Id="7" PostTypeId="1" Body="&a;"/>\n' + row(8, "<p>8</p>")[:40]
    monkeypatch.setattr(stackexchange, "SHARD_BYTES", 100)
    found, skipped = read(tmp_path / "Posts.xml", rows)
    assert [*found] == ["1", "4", "7"]
    assert skipped == {
        stackexchange.BROKEN: 1,
        stackexchange.OTHER_POST: 1,
        "no text": 1,
        "page with tags nested too deeply (left out)": 1,
        CUT: 1,
    }


def test_a_folder_of_dumps_in_an_archive_says_whose_each_is(tmp_path):
    (tmp_path / "Posts.xml").write_text(
        HEAD + row(1, '<p><a href="https://moss.example.org/q/2">It</a>.</p>') + "</posts>"
    )
    with tarfile.open(tmp_path / "dumps.tar", "w") as archive:
        archive.add(tmp_path / "Posts.xml", "moss.example.org/Posts.xml")
    (post,) = read_source("stackexchange", tmp_path / "dumps.tar")
    assert [link.target for link in post.links] == ["2"]


PARTS = ["<row ", 'Id="1" ', 'PostTypeId="1" ', 'PostTypeId="2" ', 'ParentId="9" ', 'Body="', "&lt;p&gt;", "moss"]
PARTS += ["&lt;a href=", "/q/7", "https://a.example.org/a/3", "&gt;", "&lt;/a&gt;", '" ', "/>", "\n", "&", "&#0;", " "]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*PARTS, row(2, "<p>See <a href=/q/1>it</a>")]), max_size=40))
def test_any_rows_give_links_in_the_text(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("posts") / "Posts.xml"
    path.write_text(f"{HEAD}{row(1, '<p>One')}{''.join(parts)}", encoding="utf-8")
    for post in read_source("stackexchange", path, Options("a.example.org"), Skipped()):
        for link in post.links:
            assert link.start == link.end == -1 or 0 <= link.start < link.end <= len(post.text)
