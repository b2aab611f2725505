"""Feeds and exports of blogs: what a post is called in each form, and what is none (WordPress: golden/sources)."""

import logging
from pathlib import Path

import pytest

from linkbert.corpora.reader import CUT, Skipped
from linkbert.corpora.readers import feed, html
from linkbert.corpora.readers.feed import DRAFT, NO_POST
from linkbert.corpora.sources import find_reader, read_source
from linkbert.records import Document, Redirect

ATOM, BLOGGER = 'xmlns="http://www.w3.org/2005/Atom"', "http://schemas.google.com/blogger/2008/kind#"
FERRY = "https://boats.example.org/ferry"
TIDES = [("the tides", "https://boats.example.org/tides")]


def read(path: Path, text: str | bytes) -> tuple[dict[str, tuple[str, list[tuple[str, str]]]], dict[str, str], Skipped]:
    """Return each document's title and links, the other names of documents, and what was counted."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert find_reader(path) == "feed"
    skipped, found, names = Skipped(), {}, {}
    for record in read_source("feed", path, None, skipped):
        if isinstance(record, Document):
            links = [(record.text[link.start : link.end], link.target) for link in record.links]
            found[record.id] = (record.title, links)
        elif isinstance(record, Redirect):
            names[record.source] = record.target
    return found, names, skipped


RSS = """<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
 xmlns:media="http://search.yahoo.com/mrss/" xmlns:feedburner="http://rssnamespace.org/feedburner/ext/1.0">
<channel><title>Boats</title><item><media:title>No</media:title>
<title>The &lt;b&gt;ferry&lt;/b&gt; &amp;amp; us</title>{}</item></channel></rss>"""
RDF = """<?xml version="1.0"?><rdf:RDF xmlns="http://purl.org/rss/1.0/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><channel rdf:about="x"><title>Boats</title></channel>
<item rdf:about="y"><title>The ferry &amp; us</title>{}</item></rdf:RDF>"""
ENTRY = f"""<feed {ATOM}><title>Boats</title><link href="https://no.example.org"/>
<entry><title type="html">The ferry &amp;amp; us</title>{{}}</entry></feed>"""
BODY = "&lt;p>See &lt;a href='../tides'>the tides&lt;/a>.&lt;/p>"
LINK = "<link>http://www.boats.example.org/ferry/</link>"
FORMS = [
    (RSS, f"{LINK}<description>{BODY}</description>"),
    (RSS, f"<description>A part of it</description>{LINK}"
          "<content:encoded><![CDATA[See <a href='/tides'>the tides</a>.]]></content:encoded>"),
    (RSS, f"<guid>{FERRY}/</guid><media:content>No</media:content><description/><description>No</description>"
          "<content:encoded>See &lt;a href='http://boats.example.org/tides#x'>the tides&lt;/a>.</content:encoded>"),
    (RSS, "<link>https://feeds.example.net/~r/1</link>"
          f"<feedburner:origLink>{FERRY}/?</feedburner:origLink><description>{BODY}</description>"),
    (RDF, f"{LINK}<description>{BODY}</description>"),
    (ENTRY, f'<link rel="self" href="https://no.example.org/1"/><link href="{FERRY}/"/>'
            f'<content type="html">{BODY}</content>'),
    (ENTRY, f'<link rel="alternate" href="{FERRY}/"/><summary>No</summary><content type="xhtml"><div '
            'xmlns="http://www.w3.org/1999/xhtml"><p>See <a href="../tides">the tides</a>.</p></div></content>'),
    (ENTRY, f'<id>tag:no</id><link href="{FERRY}.html"/><content xml:base="{FERRY}/" type="html">{BODY}</content>'),
]  # fmt: skip


@pytest.mark.parametrize(("form", "item"), FORMS)
def test_a_post_is_called_by_its_address_in_every_form(tmp_path, form, item):
    found, _, skipped = read(tmp_path / "feed.xml", form.replace("{}", item))
    [(id_, (title, links))] = found.items()
    assert id_.removesuffix(".html") == FERRY
    assert (title, links, skipped) == ("The ferry & us", TIDES, {})


def test_plain_text_is_no_markup_and_a_post_without_an_address_is_called_by_its_number(tmp_path):
    entry = ENTRY.replace("{}", '<id>urn:1</id><content type="text">if a &lt;b&gt; c</content>')
    path = tmp_path / "posts.atom"
    path.write_text(entry)
    [post] = read_source("feed", path, None, Skipped())
    assert (post.id, post.text) == ("posts.atom#1", "if a <b> c")


def test_of_a_blog_posts_and_pages_that_are_published_are_read(tmp_path):
    def entry(kind: str, name: str, more: str = "") -> str:
        term = f'<category scheme="s" term="{BLOGGER}{kind}"/>' if "<" not in kind else kind
        address = f'<link rel="alternate" href="http://boats.example.org/{name}.html"/>'
        return f"<entry><title>{name}</title>{term}{more}{address}<content type='html'>A {name}</content></entry>"

    now = 'xmlns:app="http://purl.org/atom/app#" xmlns:blogger="http://schemas.google.com/blogger/2018"'
    kinds = [entry(kind, kind) for kind in ("settings", "template", "post", "page", "comment")]
    kinds += [
        entry("post", said, f"<app:control><app:draft>{said}</app:draft></app:control>") for said in ("yes", "no")
    ]
    kinds += [entry(f"<blogger:type>{kind}</blogger:type><blogger:status>{status}</blogger:status>", f"{kind}{status}")
              for kind, status in (("POST", "LIVE"), ("POST", "DRAFT"), ("COMMENT", "LIVE"))]  # fmt: skip
    found, _, skipped = read(tmp_path / "feed.atom", f"<feed {ATOM} {now}>{''.join(kinds)}</feed>")
    assert [each.rpartition("/")[2] for each in found] == ["post.html", "page.html", "no.html", "POSTLIVE.html"]
    assert skipped == {NO_POST: 4, DRAFT: 2}


def test_what_is_damaged_costs_itself(tmp_path):
    post = f"<item>{LINK}<title>A & B</title><description>&lt;i>Fine&nbsp;\x02w&lt;/i>eather &c;</description></item>"
    deep = f"<item>{LINK.replace('ferry', 'deep')}<description>{'&lt;b&gt;&lt;i&gt;' * 40_000}x</description></item>"
    text = f"<rss><channel>{post}{deep}<item>{LINK.replace('ferry', 'none')}</item><item><description>cut"
    found, _, skipped = read(tmp_path / "feed.xml", text + "</description></item></channel></rss>")
    assert ([*found], found[FERRY][0]) == ([FERRY, "feed.xml#4"], "A & B")
    assert skipped == {html.NESTED: 1, "document without text": 1}
    found, _, skipped = read(tmp_path / "feed.xml", text)
    assert ([*found], skipped[CUT]) == ([FERRY, "feed.xml#4"], 1)
    bomb = '<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c SYSTEM "file:///etc/passwd">]>'
    bomb += f"<rss><channel><item>{LINK}<description>Fine &a;&c; weather</description></item></channel></rss>"
    (tmp_path / "bomb.xml").write_text(bomb)
    [post] = read_source("feed", tmp_path / "bomb.xml", None, Skipped())
    assert post.text == "Fine weather"


def test_a_site_with_a_feed_is_a_site_and_says_nothing_of_it(tmp_path, caplog):
    for name in ("a.html", "b.html"):
        (tmp_path / name).write_text(f"<p>{name} <a href='a.html'>A</a>")
    (tmp_path / "index.xml").write_text(RSS.format(f"{LINK}<description>{BODY}</description>"))
    with caplog.at_level(logging.WARNING):
        assert find_reader(tmp_path) == "html"
    assert not caplog.text


def test_shortcodes_that_pages_do_not_show_go():
    said = '[vc_row el_class="a"][b]bold[/b] [sic] [1] [gallery ids="1,2"] [x] a [[wiki]]\n<ul>\n<li>one</li></ul>'
    assert feed._mark_up(said) == "bold [sic] [1]  [x] a [[wiki]]<br><ul><br><li>one</li></ul>"
