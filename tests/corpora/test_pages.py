"""Which page of a tree a link means, and what tools add to Markdown: small trees, each of one kind."""

import json
import os
import pickle
import shutil
import time
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import TypeAdapter

from linkbert import cli, registry
from linkbert.corpora.build import build_documents
from linkbert.corpora.reader import SEVERAL, Reader, Skipped, make_options
from linkbert.corpora.readers.markdown import NO_NOTE, read_page, to_commonmark
from linkbert.corpora.readers.pages import DIALECTS, LARGEST, Dialect, Options, survey
from linkbert.corpora.sources import read_source
from linkbert.graph.links import LinkGraph, add_graph
from linkbert.records import Document
from linkbert.views.show import find_document
from linkbert.workers import make_executor


def write_tree(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text or "Words.", encoding="utf-8")


def read_tree(folder, files, skipped=None, **options):
    """Write files, read them, and return the documents by id; every anchor is checked to be where it says."""
    write_tree(folder, files)
    made = make_options(["markdown"], options)["markdown"]
    records = read_source("markdown", folder, made, Skipped() if skipped is None else skipped)
    return {record.id: record for record in records if isinstance(record, Document)}


def test_items_of_joplin_are_notes_or_none(tmp_path):
    first, second, book = ("a" * 32, "b" * 32, "c" * 32)
    end = "\n\nid: {}\nparent_id: " + book + "\nsource_url: \ntype_: {}"
    skipped = Skipped()
    files = {
        f"{first}.md": f"On <b> C #\n\n# Head\n\nSee [it](:/{second})." + end.format(first, 1),
        f"{second}.md": "Ferns\n\nid: not the end\n\nWords." + end.format(second, 1),
        f"{book}.md": "Plants" + end.format(book, 2),
    }
    pages = read_tree(tmp_path, files, skipped)
    assert {name: (each.title, each.text) for name, each in pages.items()} == {
        first: ("On <b> C #", "Head\nSee it."), second: ("Ferns", "id: not the end\nWords."),
    }  # fmt: skip
    assert led_to(pages[first]) == [second]
    assert skipped == {NO_NOTE: 1}


def led_to(document):
    return [link.target for link in document.links]


@pytest.mark.parametrize(
    ("link", "page", "others"),
    [
        ("[[push]]", "push", ["Push"]),
        ("[[Push]]", "Push", ["push"]),
        ("[[PUSH it]]", "push-it", ["Pushes"]),
        ("[[Plan]]", "en/Plan", ["de/Plan", "x/y/Plan"]),
        ("[[Plan]]", "Plan", ["en/Plan"]),
        ("[[sub/Plan]]", "en/sub/Plan", ["de/sub/Plan", "en/Plan"]),
        ("[[Plan]]", "en/sub/Plan", ["de/Plan"]),
        ("[[Minutes]]", "x/Minutes", ["x/y/Minutes"]),
        ("[x](plan.md)", "en/Plan", ["Plan"]),
        ("[x](Sub/Plan.md)", "en/sub/plan", []),
        ("[x](/sub/plan)", "content/sub/plan", ["content/plan"]),
        ("[x](../other/)", "en/other", []),
        ("[x](../../other/#part)", "other", []),
        ("[x](/guide/)", "docs/guide/index", []),
        ("[x](/guide/page.html?x=1#y)", "src/guide/page", ["README"]),
        ("[x](a%20b.md)", "en/a b", []),
        ("[x](/fr-ca/some/page)", "some/page", []),
        ("[x]([[night sky]])", "pages/night sky", []),
        ("[x](../en/Note.md)", "en/Note", []),
        ("[x](./03-more/setup)", "en/03-more/02-setup", []),
        ("[x](more/setup)", "en/03-more/02-setup", []),
        ('[x]({{< relref "sub/plan" >}})', "en/sub/plan", ["de/sub/plan"]),
        ('[x]({{% ref "/sub/plan.md#y" %}})', "content/sub/plan", []),
        ("[x]({% link _docs/plan.md %})", "site/_docs/plan", ["site/plan"]),
        ("[x]({{ site.baseurl }}{% link _docs/plan.md %})", "_docs/plan", []),
        ("[x]({% post_url 2020-01-02-first %})", "site/_posts/2020-01-02-first", []),
        ("<a href=\"{{ '/docs/plan/' | relative_url }}\">x</a>", "docs/plan", []),
        ("[x][p]\n\n[q]: https://x.org/{{ v }}.zip\n[p]: {{ '/docs/plan' | absolute_url }}", "docs/plan", []),
        ("{% post_link first 'The first' %}", "source/_posts/first", []),
        ("{% post_link news/first The first true %}", "source/_posts/news/first", ["source/_posts/first"]),
        ("\n\n| a | b |\n|---|---|\n| [[Plan|x]] | y |", "en/Plan", []),
        ("[x](/docs/{{< param v >}}/plan)", "en/docs/v2/plan", ["de/docs/v2/plan"]),
    ],
)
def test_a_link_leads_to_the_page_that_a_careful_reader_finds(tmp_path, link, page, others):
    files = {f"{name}.md": "" for name in (page, *others)}
    documents = read_tree(tmp_path, files | {"en/from.md": f"See {link}"})
    assert led_to(documents["en/from"])[0] == page


@pytest.mark.parametrize(
    ("config", "link", "post", "said"),
    [
        ("", "/news/2020/03/04/first.html", "news/_posts/2020-03-04-first", ""),
        ("", "/food/cakes/2020/03/04/first/", "_posts/2020-03-04-first", "categories: [food, cakes]"),
        ("", "/food/cakes/2020/03/04/first", "_posts/2020-03-04-first", "categories: food cakes"),
        ("permalink: ordinal", "/2020/064/first.html", "_posts/2020-03-04-first", ""),
        ("permalink: none", "/food/first.html", "_posts/2020-03-04-first", "category: Food"),
        ("permalink: /:categories/:title/", "/a/b/first", "a/_posts/2020-03-04-first", "categories:\n- b"),
        (
            "permalink: /blog/:year/:slug:output_ext",
            "/blog/2021/one",
            "_posts/2020-03-04-first",
            "slug: one\ndate: 2021-01-02",
        ),
        ("", "/essays/2020/first", "_posts/2020-03-04-first", "permalink: /essays/:year/:title/"),
        ("collections:\n  pans:\n    permalink: /kitchen/:name/", "/kitchen/first", "_pans/first", ""),
        (
            "permalinks:\n  pans: /:year/:slug/",
            "/2020/the-first",
            "content/pans/x",
            "title: 'The first!'\ndate: 2020-03-04",
        ),
        ("url: https://me.example.org\nbaseurl: /s", "https://me.example.org/s/first", "first", ""),
        ("site_url: https://me.example.org/s/", "https://me.example.org/s/first/", "docs/first", ""),
        ("permalink: pretty", "/2020/03/04/first/", "_posts/2020-03-04-first", ""),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_site_says_how_addresses_are_made(tmp_path, config, link, post, said, kind):
    """Addresses of posts that stand in no file: by their categories, dates and a template of the site's settings."""
    (tmp_path / "tree").mkdir()
    other = post.replace("first", "other").replace("/x", "/other")
    files = {"_config.yml": config or "title: x", "from.md": f"See [x]({link})."}
    write_tree(tmp_path / "tree", files | {f"{post}.md": f"---\n{said}\n---\nText.", f"{other}.md": "More."})
    if kind == "zip":
        shutil.make_archive(str(tmp_path / "tree"), "zip", tmp_path / "tree")
    source = tmp_path / ("tree.zip" if kind == "zip" else "tree")
    documents = {each.id: each for each in read_source("markdown", source) if isinstance(each, Document)}
    assert led_to(documents["from"]) == [post]


def test_a_template_holds_where_it_is_said_to(tmp_path):
    files = {"docs/_config.yml": "collections:\n  pans:\n    permalink: /kitchen/:name/\n", "docs/_pans/stew.md": ""}
    posts = {"docs/_posts/2020-01-02-stew.md": "---\ncategory: tv\n---\nText.", "docs/x/stew.md": ""}
    source = "[a](/kitchen/stew/) [b](/tv/2020/01/02/stew.html) [c](/kitchen/none/)"
    documents = read_tree(tmp_path, files | posts | {"docs/from.md": source})
    assert led_to(documents["docs/from"]) == ["docs/_pans/stew", "docs/_posts/2020-01-02-stew", "kitchen/none"]


def test_front_matter_of_json(tmp_path):
    one = '{\n "Title": "The {one}",\n "menu": {"title": "no"},\n "aliases": ["/was/"], "slug": "uno"\n}\n\nText.'
    files = {
        "content/one.md": one,
        "from.md": "[a](/uno/) [b](/was/)",
        "two.md": "{ no } front matter",
        "_index.md": "",
    }
    documents = read_tree(tmp_path, files | {"three.md": '{"title": "x" broken}', "four.md": "{" * 100_000})
    assert (documents["content/one"].title, documents["content/one"].text) == ("The {one}", "Text.")
    assert led_to(documents["from"]) == ["content/one"] * 2
    assert [documents[name].text[:9] for name in ("two", "three", "four")] == ["{ no } fr", '{"title":', "{{{{{{{{{"]


def test_a_wiki_of_two_pages_is_its_own(tmp_path):
    own, other = "https://github.com/o/r/wiki", "https://github.com/x/y/wiki"
    files = {"Home.md": f"[a]({own}/Set-Up) [b]({own})", "Set-Up.md": f"[c]({own}/Home) [d]({other}/z)"}
    documents = read_tree(tmp_path / "a", files)
    assert led_to(documents["Home"]) + led_to(documents["Set-Up"])[:1] == ["Set-Up", "Home", "Home"]
    files["Set-Up.md"] += f" [e]({other}/Home)"  # of two that name pages none is known to be it
    assert led_to(read_tree(tmp_path / "b", files)["Home"]) == [f"{own}/Set-Up", own]


@pytest.mark.parametrize("address", ["caf%E9.md", "caf%C3%A9.md", "/caf%E9", "café.md"])
def test_escapes_of_latin_1_are_letters(tmp_path, address):
    assert led_to(read_tree(tmp_path, {"café.md": "", "from.md": f"[x]({address})"})["from"]) == ["café"]


def test_the_index_of_an_inner_root_is_not_the_home(tmp_path):
    """Addresses of a site in two forms give two roots: the index of the inner one is not the home of the outer."""
    site = "https://me.example.org"
    names = [f"p{i}" for i in range(4)]
    files = {f"content/docs/{name}.md": f"[a](@/docs/{name}.md)" for name in names} | {"content/docs/_index.md": ""}
    source = " ".join(f"[x]({site}/docs/{name})" for name in names) + f" [home]({site}/) [docs]({site}/docs/)"
    documents = read_tree(tmp_path, files | {"content/more/from.md": source})
    assert led_to(documents["content/more/from"])[-2:] == [f"{site}/", "content/docs/_index"]


def test_a_page_that_is_published_at_the_name_of_the_root_is_not_the_home(tmp_path):
    files = {"docs/_config.yml": "url: https://x.org", "docs/_docs/index.md": "---\npermalink: /docs/\n---\nHi."}
    files |= {f"docs/_docs/p{i}.md": "[a](/docs/p0/) [b](/docs/)" for i in range(3)} | {
        "docs/_posts/2020-01-02-q.md": ""
    }
    documents = read_tree(tmp_path, files | {"docs/a.md": "[h](/) [w](https://x.org) [d](/docs/)"})
    assert led_to(documents["docs/a"]) == [".", "https://x.org", "docs/_docs/index"]


def test_pages_from_the_top_of_the_content(tmp_path):
    files = {
        "content/_index.md": "",
        "content/blog/one.md": "[a](@/blog/two.md) [b](@/_index.md#x)",
        "content/blog/two.md": "",
    }
    files |= {"x/two.md": "", "content/three.md": "[c](@/blog/one.md)"}
    assert led_to(read_tree(tmp_path, files)["content/blog/one"]) == ["content/blog/two", "content/_index"]


@pytest.mark.parametrize(
    "link", ["[x](plan)", "[[missing]]", "[x](/a/plan)", "[x](https://else.org/plan)", "[x](b.js)"]
)
def test_what_no_page_is_called_stays_as_it_is_written(tmp_path, link):
    documents = read_tree(tmp_path, {"x/plan.md": "", "y/a/plan.md": "", "z/a/plan.md": "", "from.md": f"See {link}."})
    assert not {*led_to(documents["from"])} & {*documents}


def test_components_that_lead_somewhere_and_fences_in_them(tmp_path):
    source = """See
<LinkCard
  title="Two"
  href="/two"
/>
and on.

<Tabs>
  <Tab to="two">
    ```js
    const x = 1;
    ---
    ```
  </Tab>
</Tabs>

Then [two](/two)."""
    page = read_tree(tmp_path, {"one.mdx": source, "two.mdx": ""})["one"]
    assert page.text == "See and on.\nThen two."
    assert [(page.text[link.start : link.end], link.target) for link in page.links] == [
        ("", "two"),
        ("", "two"),
        ("two", "two"),
    ]


def test_titles_come_before_aliases_and_files_before_both(tmp_path):
    files = {
        "one.md": "---\ntitle: Wood\naliases: [two, Log]\n---\nx",
        "two.md": "# Trunk\n\nx",
        "three.md": '---\naliases:\n  - Wood\n  - "Bark: outer"\nmenu:\n  title: Log\n---\nx',
        "from.md": "[[two]] [[Wood]] [[Log]] [[trunk]] [[Bark: outer]]",
    }
    assert led_to(read_tree(tmp_path, files)["from"]) == ["two", "one", "one", "two", "three"]


def test_pages_say_their_addresses(tmp_path):
    files = {
        "_config.yml": "",
        "docs/_guide/assets.md": "---\npermalink: /guide/assets/\n---\n[next](../layouts/)",
        "docs/_guide/layouts.md": "---\npermalink: /guide/layouts/\nredirect_from:\n  - /old/\n---\n[old](/old/)",
        "docs/_posts/2021-03-04-news.md": "[a](/guide/assets/) [b](/2021/03/04/news.html) [c](/guide/tool)",
        "docs/_guide/05-kit.md": "---\nslug: tool\n---\n[d](/old)",
    }
    documents = read_tree(tmp_path, files)
    assert led_to(documents["docs/_guide/assets"]) == ["docs/_guide/layouts"]
    assert led_to(documents["docs/_guide/layouts"]) == ["docs/_guide/layouts"]
    assert led_to(documents["docs/_guide/05-kit"]) == ["docs/_guide/layouts"]
    assert led_to(documents["docs/_posts/2021-03-04-news"]) == [
        "docs/_guide/assets",
        "docs/_posts/2021-03-04-news",
        "docs/_guide/05-kit",
    ]


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        ({"_config.yml": "permalink: pretty"}, ""),
        ({"_config.yml": "permalink: /:path/"}, ""),
        ({"_config.yml": "collections:\n  docs:\n    permalink: /:path/"}, "_docs/"),
        ({"astro.config.mjs": ""}, "src/content/docs/"),
        ({"hugo.toml": ""}, "content/"),
    ],
)
def test_where_each_page_is_a_folder_two_dots_lead_to_what_lies_beside_it(tmp_path, settings, folder):
    pages = {f"{folder}{language}{name}.md": "[a](../one/)" for language in ("", "fr/") for name in ("one", "two")}
    documents = read_tree(tmp_path, settings | pages)
    assert led_to(documents[f"{folder}fr/two"]) == [f"{folder}fr/one"]
    assert led_to(documents[f"{folder}two"]) == [f"{folder}one"]


def test_hugos_folder_of_settings_says_how_addresses_are_made(tmp_path):
    files = {"hugo.toml": "", "config/_default/permalinks.yaml": "page:\n  blog: /:year/:month/:slug/\n"}
    files |= {"content/blog/7-x/index.md": "---\ndate: 2020-02-17\ntitle: Of many\n---\nText."}
    documents = read_tree(tmp_path, files | {"content/a.md": "[a](/2020/02/of-many/)"})
    assert led_to(documents["content/a"]) == ["content/blog/7-x/index"]


def test_an_index_is_the_page_of_its_folder_before_a_readme(tmp_path):
    files = {"mkdocs.yml": "site_url: https://x.org/docs/", "docs/q.md": "[a](sub/) [b](/docs/sub/)"}
    files |= {"docs/sub/README.md": "Of the folder.", "docs/sub/index.md": "Welcome.", "docs/only/README.md": "One."}
    files["docs/r.md"] = "[a](only/)"
    documents = read_tree(tmp_path, files)
    assert led_to(documents["docs/q"]) == ["docs/sub/index"] * 2
    assert led_to(documents["docs/r"]) == ["docs/only/README"]


def test_a_translation_is_no_root(tmp_path):
    files = {f"{top}book/{name}.md": "Text." for top in ("", "de/") for name in ("README", "one", "two")}
    files |= {"de/book/old.md": "[x](/book/old.md)", "de/book/older.md": "[x](/book/older.md) [y](/book/old.md)"}
    documents = read_tree(tmp_path, files | {"blog/a.md": "[c](/book/)"})
    assert led_to(documents["blog/a"]) == ["book/README"]


def test_docusaurus_shows_the_newest_texts_by_their_ids_too(tmp_path):
    files = {"docusaurus.config.mjs": "", "versions.json": '["1.0"]', "docs/ExpectAPI.md": "---\nid: expect\n---\nNew."}
    files |= {"versioned_docs/version-1.0/ExpectAPI.md": "---\nid: expect\n---\nOld."}
    documents = read_tree(tmp_path, files | {"blog/a.md": "[a](/docs/next/expect) [b](/docs/expect)"})
    assert led_to(documents["blog/a"]) == ["docs/ExpectAPI", "versioned_docs/version-1.0/ExpectAPI"]


def test_addresses_of_pages_that_are_folders_or_end_with_html(tmp_path):
    files = {"book.toml": "", "src/README.md": "[a](one.html)", "src/one.md": "---\nPermalink: /2020/one.html\n---\nx"}
    files |= {"src/sub/two.md": "[b](../index.html) [c](/2020/one.html) [d](/posts/2021/03/04/news/) [e](/posts/big)"}
    files |= {"src/posts/2021-03-04-news/index.md": "---\nslug: big\ntitle: 'It''s \"new\"'\n---\n[f](../../sub/)"}
    files |= {"src/sub/index.fr.md": "", "src/sub/index.md": ""}
    documents = read_tree(tmp_path, files)
    post = "src/posts/2021-03-04-news/index"
    assert led_to(documents["src/sub/two"]) == ["src/README", "src/one", post, post]
    assert led_to(documents[post]) == ["src/sub/index"]  # not the page of another language
    assert documents[post].title == 'It\'s "new"'


def test_an_index_of_the_site_is_not_the_readme_of_its_repository(tmp_path):
    files = {"README.md": "[a](/guide/x) [b](/guide/y) [c](/index.html)", "docs/index.md": ""}
    documents = read_tree(tmp_path, files | {"docs/guide/x.md": "", "docs/guide/y.md": ""})
    assert led_to(documents["README"]) == ["docs/guide/x", "docs/guide/y", "docs/index"]


def test_hugo_starts_from_the_own_address_of_a_page(tmp_path):
    files = {
        "hugo.toml": "",
        "content/docs/x.md": "",
        "content/docs/ops/x.md": "",
        "content/docs/ops/_index.md": "[a](../x)",
    }
    files |= {"content/docs/ops/y.md": "[b](../x/) [c](../x.md) [d](/docs/ops/)"}
    documents = read_tree(tmp_path, files)
    assert led_to(documents["content/docs/ops/y"]) == [
        "content/docs/ops/x",
        "content/docs/x",
        "content/docs/ops/_index",
    ]
    assert led_to(documents["content/docs/ops/_index"]) == ["content/docs/x"]


def test_docusaurus_has_versions(tmp_path):
    files = {"web/docusaurus.config.js": "", "docs/x.md": "", "docs/y.md": "[a](/docs/next/x)"}
    files |= {"docs/02-q.md": "", "docs/z.md": "[a](/docs/next/q) [b](@site/docs/02-q.md)"}
    files |= {"web/parts/some.md": "---\nslug: /short\n---\nx", "web/a.md": "[c](/parts/short)"}
    files |= {"web/versioned_docs/version-0.1/x.md": "", "web/blog/2021-02-03-z.md": "[b](/docs/0.1/x) [c](/docs/x)"}
    documents = read_tree(tmp_path, files)
    assert led_to(documents["docs/y"]) == ["docs/x"]
    assert led_to(documents["docs/z"]) == ["docs/02-q", "docs/02-q"]
    assert led_to(documents["web/a"]) == ["web/parts/some"]
    assert led_to(documents["web/blog/2021-02-03-z"]) == ["web/versioned_docs/version-0.1/x", "docs/x"]


def test_a_tree_knows_its_own_host(tmp_path, caplog):
    pages = ("guide/one", "guide/two", "api/three")
    text = " ".join(f"[x](https://www.wiki.example.org/en/{page})" for page in (*pages, "gone"))
    files = {f"docs/{page}.md": text + " [y](https://else.org/guide/one) [z](/guide/two)" for page in pages}
    documents = read_tree(tmp_path, files)
    found = led_to(documents["docs/api/three"])
    assert found[:3] == [f"docs/{page}" for page in pages]
    assert found[3:] == ["https://www.wiki.example.org/en/gone", "https://else.org/guide/one", "docs/guide/two"]
    assert "addresses that start with wiki.example.org/en/" in caplog.text


HOME = {"content/_index.md": "# Home", "content/docs/_index.md": "", "content/docs/b.md": "", "content/docs/c.md": ""}


@pytest.mark.parametrize(
    ("link", "page"),
    [
        ("/", "content/_index"),
        ("/#top", "content/_index"),
        ("https://x.example.org", "content/_index"),
        ("https://x.example.org/", "content/_index"),
        ("/docs/", "content/docs/_index"),
        ("https://x.example.org/docs/", "content/docs/_index"),
        ("https://github.com/o/r/tree/main/docs", "docs/README"),
        ("https://github.com/o/r/blob/main/docs/README.md", "docs/README"),
    ],
)
def test_the_home_of_a_site_is_not_the_readme_of_its_repository(tmp_path, link, page):
    host = "https://x.example.org/docs/"
    known = f"[b](/docs/b) [c](/docs/c) [b]({host}b/) [c]({host}c/) [d]({host})"
    own = [f"docs/d/{name}.md" for name in "efg"]
    links = " ".join(f"[x](https://github.com/o/r/blob/main/{name})" for name in own)
    files = dict.fromkeys(own, "") | {"docs/README.md": links}
    files |= HOME | {"README.md": "", "content/a.md": f"# A\n\n[x]({link}) {known}"}
    assert led_to(read_tree(tmp_path, files)["content/a"])[0] == page


def test_a_root_without_an_index_has_no_home(tmp_path):
    files = {"README.md": "", "docs/b.md": "", "docs/c.md": "", "docs/a.md": "[x](/) [b](/b) [c](/c)"}
    assert led_to(read_tree(tmp_path, files)["docs/a"]) == [".", "docs/b", "docs/c"]
    (tmp_path / "flat").mkdir()
    assert led_to(read_tree(tmp_path / "flat", {"README.md": "", "a.md": "[x](/)"})["a"]) == ["README"]


def test_the_first_two_folders_of_an_address_may_be_others_in_the_tree(tmp_path):
    pages = ("learn/one", "learn/two", "setup/three")
    links = " ".join(f"[x](/shell/scripts/{page}) [y](https://docs.example.org/shell/scripts/{page})" for page in pages)
    files = {f"reference/text/{page}.md": "" for page in pages} | {"reference/a.md": f"{links} [z](/shell/api/x/gone)"}
    found = led_to(read_tree(tmp_path, files)["reference/a"])
    assert found == [f"reference/text/{page}" for page in pages for _ in range(2)] + ["shell/api/x/gone"]
    files = {f"reference/v{v}/{page}.md": "" for page in pages for v in "12"}
    files["reference/v2/a.md"] = " ".join(f"[x](/shell/module/{page})" for page in pages)
    (tmp_path / "versions").mkdir()
    found = led_to(read_tree(tmp_path / "versions", files)["reference/v2/a"])
    assert found == [f"reference/v2/{page}" for page in pages]


@pytest.mark.parametrize(("dead", "own"), [(1, True), (6, False)])
def test_a_host_that_others_publish_at_too_is_known_by_the_folders_of_the_tree(tmp_path, dead, own):
    links = [f"docs/p{i}/" for i in range(5)] + [f"server/v{i}/x" for i in range(9)]
    links += [f"docs/gone{i}" for i in range(dead)]
    page = " ".join(f"[x](https://boats.example.org/{link})" for link in links)
    documents = read_tree(tmp_path, {f"docs/p{i}.md": "" for i in range(5)} | {"a.md": page})
    assert ("docs/p0" in led_to(documents["a"])) == own


@pytest.mark.parametrize(
    "mark",
    [
        '{{< relref "../Some%20Trees/Oak.md" >}}',
        '{{< relref "../Some Trees/Oak" >}}',
        "{{% ref '../Some Trees/Oak.md' %}}",
        "{{< ref `../Some Trees/Oak.md` >}}",
        '{{< ref path="../Some Trees/Oak.md" lang="en" >}}',
        "{{< ref ../Some%20Trees/Oak.md >}}",
    ],
)
def test_a_path_in_a_mark_of_a_template_may_have_blanks(tmp_path, mark):
    documents = read_tree(tmp_path, {"Some Trees/Oak.md": "", "Some.md": "", "x/a.md": f"[x]({mark})"})
    assert led_to(documents["x/a"]) == ["Some Trees/Oak"]


def test_words_at_any_wiki_are_no_pages_of_this_one(tmp_path):
    there = " ".join(f"[x](https://words.org/{word})" for word in ("one", "two", "three", "four", "five"))
    documents = read_tree(tmp_path, {"one.md": there, "two.md": "", "three.md": ""})
    assert all(target.startswith("https:") for target in led_to(documents["one"]))


def test_files_of_the_own_repository_are_pages(tmp_path):
    there = [f"[x](https://github.com/o/r/{way}/docs/{page}.md)" for way in ("blob/main", "tree/v1") for page in "abc"]
    documents = read_tree(tmp_path, {f"docs/{page}.md": " ".join(there) for page in "abc"})
    assert led_to(documents["docs/a"]) == ["docs/a", "docs/b", "docs/c"] * 2


@pytest.mark.parametrize(
    ("sign", "link", "shown"),
    [
        ("dendron.yml", "[[left|right]]", "left"),
        ("dendron.yml", "[[left|dendron://vault/right#part]]", "left"),
        ("_Sidebar.md", "[[left|Right]]", "left"),
        ("_Footer.md", "[[left|right]]", "left"),
        (".obsidian/app.json", "[[right|left]]", "left"),
        ("logseq/config.edn", "[[right|left]]", "left"),
        ("logseq/config.edn", "#right", "right"),
        ("logseq/config.edn", "#[[Some day]]", "Some day"),
    ],
)
def test_a_dialect_says_which_side_is_the_page(tmp_path, sign, link, shown):
    files = {"v/left.md": "", "v/right.md": "", "v/Some day.md": "", sign: "x", "v/from.md": f"See {link} now."}
    page = read_tree(tmp_path, files)["v/from"]
    assert led_to(page) == ["v/Some day" if "Some" in link else "v/right"]
    assert [page.text[link.start : link.end] for link in page.links] == [shown]


def test_in_logseq_a_page_is_called_by_its_whole_name_and_nothing_is_published(tmp_path):
    pulls = " ".join(f"[x](https://github.com/o/r/pull/{n})" for n in (1, 4, 7))
    files = {f"pages/GPT___5___{n}.md": "- x" for n in (1, 4, 7)} | {
        "logseq/config.edn": "{}",
        "pages/AWS___CLI.md": "- x",
        "pages/AWS%2FMCP.md": "- x",
        "pages/Model Context Protocol.md": "alias:: MCP, Brew/Tool\n\n- x",
        "pages/kept/apart.md": "- x",
        "pages/A.md": f"- [[CLI]] [[MCP]] [[AWS/MCP]] [[aws/cli]] [[Brew]] [[brew/tool]] [[kept/apart]] #CLI {pulls}",
    }
    found = led_to(read_tree(tmp_path, files)["pages/A"])
    mcp = "pages/Model Context Protocol"
    assert found[:7] == ["[[cli]]", mcp, "pages/AWS%2FMCP", "pages/AWS___CLI", "[[brew]]", mcp, "pages/kept/apart"]
    assert found[7:] == ["[[cli]]", *(f"https://github.com/o/r/pull/{n}" for n in (1, 4, 7))]


def test_in_dendron_the_page_stands_behind_the_bar_whether_it_is_there_or_not(tmp_path):
    files = {
        "dendron.yml": "",
        "pkg.nextjs.md": "---\ntitle: Nextjs\n---\nx",
        "a.md": '---\nschema: "[[dendron://docs/pkg.nextjs]]"\n---\n'
        "See [[Nextjs|dendron.x.nextjs]], [[there|ref.gone#p]].",
    }
    page = read_tree(tmp_path, files)["a"]
    assert page.text == "See Nextjs, there."
    assert sorted(led_to(page)) == ["[[dendron.x.nextjs]]", "[[ref.gone]]", "pkg.nextjs"]
    wiki = {"_Sidebar.md": "", "Page.md": "x", "from.md": "See [[shown|Gone]], [[Page|other]], [[shown|Page]]."}
    page = read_tree(tmp_path / "wiki", wiki)["from"]  # whose authors may mix both
    assert page.text == "See shown, other, shown."
    assert led_to(page) == ["[[gone]]", "Page", "Page"]
    wiki["from.md"] = "A [[/images/x.png|alt=Foo]] and [[https://e.org/x|the site]]."
    page = read_tree(tmp_path / "other", wiki)["from"]
    assert (page.text, led_to(page)) == ("A alt=Foo and the site.", ["https://e.org/x"])


def test_a_dialect_can_be_given(tmp_path):
    files = {"left.md": "", "right.md": "", "from.md": "[[left|right]] #right"}
    assert led_to(read_tree(tmp_path, files)["from"]) == ["left"]
    assert led_to(read_tree(tmp_path, files, dialect="wiki")["from"]) == ["right"]
    assert led_to(read_tree(tmp_path, files, dialect="logseq")["from"]) == ["left", "right"]
    with pytest.raises(ValueError, match="--dialect zettel is not known: it is one of logseq, dendron"):
        read_tree(tmp_path, files, dialect="zettel")


def test_without_a_sign_the_links_say_which_side_is_the_page(tmp_path):
    files = {"a.md": "", "b.md": "", "one.md": "[[the first|a]] [[the second|b]] [[a|the first]]"}
    assert led_to(read_tree(tmp_path, files)["one"]) == ["a", "b", "a"]


def test_root_and_host_can_be_given(tmp_path):
    files = {"x/guide/a.md": "", "y/guide/a.md": "", "z/from.md": "[a](/guide/a) [b](https://example.org/d/guide/a)"}
    assert led_to(read_tree(tmp_path, files)["z/from"])[0] == "guide/a"
    assert led_to(read_tree(tmp_path, files, root="y", host="example.org/d")["z/from"]) == ["y/guide/a"] * 2


def test_names_of_logseq(tmp_path):
    files = {
        "logseq/config.edn": "{}",
        "pages/birds___owl.md": "- x\n  id:: 64aa0000-0000-4000-8000-000000000001",
        "pages/maps%2Fold.md": "- x",
        "pages/file.md": "title:: Own title\nalias:: other, [[third]]\n\n- x\n- alias:: not this",
        "journals/2022_09_01.md": "- x",
        "journals/2021_11_12.md": "- x",
        "pages/a.md": "- [[birds/owl]] [[maps/old]] [[own title]] [[Third]] [[Sep 1st, 2022]] [[Nov 12th, 2021]]\n"
        "  tags:: [[file]]\n- ((64aa0000-0000-4000-8000-000000000001)) {{embed [[file]]}} [[not this]]",
    }
    documents = read_tree(tmp_path, files)
    targets = ["birds___owl", "maps%2Fold", "file", "file", "file", "birds___owl", "file"]
    found = [target.removeprefix("pages/") for target in led_to(documents["pages/a"]) if target.startswith("pages/")]
    assert sorted(found) == sorted(targets)
    assert documents["pages/file"].title == "Own title"
    assert {"journals/2022_09_01", "journals/2021_11_12", "[[not this]]"} <= {*led_to(documents["pages/a"])}
    assert documents["pages/a"].text.startswith("birds/owl maps/old own title Third Sep 1st, 2022 Nov 12th, 2021\n")


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_every_dialect_is_said_when_it_is_recognised(tmp_path, caplog, dialect):
    sign = dialect.signs[0].replace("*", "md")
    read_tree(tmp_path, {"a.md": "", f"{sign}" if "." in sign[-5:] else f"{sign}.x": "x"})
    assert f"read as {dialect.name} writes them ({sign}" in caplog.text
    assert TypeAdapter(Dialect).validate_json(TypeAdapter(Dialect).dump_json(dialect)) == dialect  # as a build sends it


def test_a_choice_among_several_pages_is_counted_and_shown(tmp_path):
    skipped = Skipped()
    read_tree(tmp_path, {"b/note.md": "", "c/note.md": "", "a/from.md": "[[note]]"}, skipped)
    assert skipped[SEVERAL] == 1
    assert skipped.examples == [f"a/from.md: [[note]] is b/note, not c/note: {SEVERAL}"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('a\n\n!!! note "Mind"\n\n    the [gap](b.md)\n\n    ```\n    code\n    ```\n\nb', "a\nMind\nthe gap\nb"),
        ('??? tip\n    one\n\n    !!! note inline end "In"\n        two\n\nthree', "one\nIn\ntwo\nthree"),
        ('=== "C"\n\n    - one\n\n        more\n\n=== "D"\n\n    two', "C\none\nmore\nD\ntwo"),
        ("- item\n\n    !!! note\n        in it\n\n- other", "item\nin it\nother"),
        ("- !!! read this\n- other", "!!! read this\nother"),
        (
            'x\n\n:   !!! note\n\n        in it\n\n    y\n\n1.  ??? tip "T"\n        [b](b.md)\n\nz',
            "x\nin it\ny\nT\nb\nz",
        ),
        (":::tip[Title]\nA\n:::\n\n:::: details More\n::: warning\nB\n:::\n::::\nC", "Title\nA\nMore\nB\nC"),
        ("## H\n\t- one\n\t\t- two\n- three", "H\none\ntwo\nthree"),
        ("{{< tabs >}}\nA {{% b %}}c{{% /b %}}\n{{< /tabs >}}", "A c"),
        ("{{< highlight go >}}\n[[x]]\n{{< /highlight >}}\n{{< code-toggle />}}\nkept", "kept"),
        ("{% highlight ruby %}\nx = [[y]]\n{% endhighlight %}\n{% raw %}kept{% endraw %} `{{ x }}`", "kept {{ x }}"),
        ("A *b*{: .c}\n{: #d}\n\n> q\n{.is-info}\n\n[x](y){ .z } {width=3}", "A b\nq\nx"),
        ("==a== b==c ==d== 1 == 2", "a b==c d 1 == 2"),
        (":material-check: :smile: :octicons-x-16:", ":smile:"),
        ('*[HTML]: Hyper\n\n--8<-- "x.md"\n\n[TOC]\n\n[[_TOC_]]\n\nx', "x"),
        ("import A from 'a'\nimport {\n  B\n} from \"b\";\n\nImport wheat from abroad.", "Import wheat from abroad."),
        ("a $x_1*y_2*z$ b $$\\sum_{i} *i*$$ costs $5 or $6", "a $x_1*y_2*z$ b $$\\sum_{i} *i*$$ costs $5 or $6"),
        ("$$\na\n= b_1*c_2*d\n$$", "$$ a = b_1*c_2*d $$"),
        (r"let \(u_1*v_2*w\) and \\(a*b*c\\) be", r"let \(u_1*v_2*w\) and \\(a*b*c\\) be"),
        ("\\\\[\na*b*c\n\\\\] and \\[ \\sum a*b*c \\]", "\\\\[ a*b*c \\\\] and \\[ \\sum a*b*c \\]"),
        (r"\(see *this* snake_case\) and \[no link\](x_y.md)", "(see this snake_case) and [no link](x_y.md)"),
        ("type:: [[x]]\nkey:: v\n\n- a\n  id:: 1\n  more", "a more"),
        ("{{#include x.rs}}\n\n{{#title A}}\n\nx", "x"),
        ("Use std::vector and a::b.", "Use std::vector and a::b."),
        ("<details>\n<summary>S</summary>\n\nbody\n\n</details>", "S\nbody"),
        ("Term\n:   one\n    more\n\n    two\n: three\n\n:x: 1 : 2", "Term\none more\ntwo\nthree\n:x: 1 : 2"),
        ("* TOC\n{:toc}\n\n1. here\n{: .a toc }\n\n- kept\n{: .toclevel}", "kept"),
        ("- TODO a\n  :LOGBOOK:\n  CLOCK: [2022-09-14 Wed]\n  :END:\n- b", "TODO a\nb"),
        ('<h1 align="center">\n  <img src="x.png">\n  The Tool\n</h1>\n\nIt works.', "It works."),
        ('::alert{type="x"}\nA :icon{name="y"} b, a:b{c}.\n::\n\nEnd', "A b, a:b{c}.\nEnd"),
        ("A [small]{.caps} [b]{ #c .d } [e][f]{.g}\n\n[f]: h.md", "A small b e"),
        ("?> Mind [b](c.md).\n!> Two.", "Mind b.\nTwo."),
    ],
)
def test_marks_of_tools_go_and_words_stay(source, text):
    assert read_page(source, "a").text == text


MARKS = [
    "]({{",
    "{{< code ",
    "{% ",
    ":::",
    "!!! a\n    ",
    "==a",
    "$a",
    "::",
    "[a]: {{",
    "[[a|",
    '::: {.a title="b',
    "1. !!! ",
    '[[!a "',
    "[[!a [[b]]",
    "title: a\n",
    "title: a\n b",
    '{{domxref("a',
    "[a](@ref ",
    "```@docs\n",
    "# [a](@id ",
]
BOOKS = ["# a {#b", "# a {#", "\\index{a", "[-@sec-a", "\\@ref(a:", "a"]  # the last behind the first


@pytest.mark.slow
@pytest.mark.parametrize("mark", [*MARKS, *BOOKS])
def test_no_mark_costs_more_than_its_size(mark, tmp_path):
    started = time.process_time()
    files = {"_quarto.yml": ""} if mark in BOOKS else {"b.md": ""}
    text = BOOKS[0] * (mark == "a") + mark * (30_000 // len(mark))
    assert read_tree(tmp_path, files | {"a.md": text, "b.md": ""})["b"]
    assert time.process_time() - started < 2


def test_names_reach_pages_of_other_sources(tmp_path):
    """By their paths and aliases, if these mean the page in its own tree; a file there comes before an alias."""
    read_tree(tmp_path / "a", {"from.md": "[[oak]] [[Log]] [[wood]] [o](trees/) [p](/old/oak/) [[Big Tree]]"})
    trees = {"trees/Oak.md": "# Big tree\n\n---", "trees/README.md": "", "Wood.md": "", "b/Wood.md": ""}
    trees["trees/Oak.md"] = "---\naliases: [Log, Wood]\nredirect_from: /old/oak/\n---\n# Big tree\n\nAn oak."
    read_tree(tmp_path / "b", trees)
    store = build_documents([tmp_path / "a", tmp_path / "b"], tmp_path / "store")
    with make_executor(1) as executor:
        add_graph(store, "hyperlink", "hyperlink", executor=executor)
    graph, ids = LinkGraph.open(store.path, "hyperlink"), [document.id for document in store.documents()]
    found = [ids[at] for at in graph.targets[slice(*graph.offsets[ids.index("from") :][:2])]]
    assert found == ["trees/Oak", "trees/Oak", "Wood", "trees/README", "trees/Oak", "trees/Oak"]
    assert not store.manifest["skipped"]
    assert [ids[find_document(store, name)] for name in ("log", "Wood", "Big Tree", "old/oak")] == [
        "trees/Oak",
        "Wood",
        "trees/Oak",
        "trees/Oak",
    ]


BOOK = {
    "_config.yml": "title: b",
    "_toc.yml": "root: a",
    "a.md": "(here)=\n# A\n\nSee [](there).",
    "b.md": "(there)=\n# B b",
}
QUARTO = {
    "_quarto.yml": "", "a.qmd": "{{< include _p.qmd >}}", "sub/_q.qmd": "Deep [b](b.qmd).", "sub/b.qmd": "B.",
    "_p.qmd": "Part. {{< include sub/_q.qmd >}}\n", "c.qmd": "[](a.qmd) and [x](#) see @fig-y. [![](i.png)](a.qmd)\n\n"
    "```\n# %%\n```\n\n+---+---+\n| Name | [in](sub/b.qmd) |\n+===+===+\n| a | b |\n+---+---+\n\nAfter.",
}  # fmt: skip
JEKYLL = {
    "_config.yml": "c:\n  guides:\n    permalink: /:path/\n  notes:\n    permalink: /:collection/:path.html\n",
    "_guides/x/code-of-conduct.md": "C.", "CODE_OF_CONDUCT.md": "D.", "_notes/deep/n.md": "N.",
    "_guides/a.md": "[c](/x/code-of-conduct/) [n](/notes/deep/n.html)",
}  # fmt: skip
ID = "64e0a1b2c3d4e5f60718293a4b5c6d7e"
NOTION = {f"A {ID}.md": f"# A\n\nKind: Big\nRelation tags: B (sub/B%20{ID}.md), C (C%20{ID}.md)\n\nText: more.",
          f"sub/B {ID}.md": "# B\n\nB.", f"C {ID}.md": "# C\n\nC."}  # fmt: skip
README = {"docs/a.md": "See [W](doc:who-is-it#x), [r](ref:gone).", "docs/b.md": "---\nslug: who-is-it\n---\nB."}
AUTOREFS = {
    "mkdocs.yml": "", "a.md": "See [`F`][p.m.F], [here][own], [I][install-it] and `p.m.G`: [`p.m.G`][].\n\n[own]: c.md",
    "b.md": "# B\n\n::: p.m\n    options:\n      x: true\n\nText.", "c.md": "# C\n\n## Install it\n\nText.",
}  # fmt: skip
NEXT = {
    "app/docs/a/page.mdx": "[b](/docs/b) [c](../docs/b)",
    "app/(x)/docs/b/page.mdx": "B.",
    "app/docs/b/page.mdx": "B.",
}
DOCUSAURUS = {"website/siteConfig.js": "", "docs/X.md": "[m](/docs/en/man-api) [n](/docs/N)", "docs/N.md": "N.",
              "docs/ManAPI.md": "---\nid: man-api\n---\nM."}  # fmt: skip
LOCALES = {f"docs/{language}{name}/README.md": name for language in ("", "zh/") for name in ("config", "guide")}
LOCALES |= {".vuepress/config.js": "", "docs/zh/a.md": "[c](/config/) [g](/guide/)", "docs/a.md": "[c](/config/)"}


@pytest.mark.parametrize(
    ("files", "page", "text", "links"),
    [
        (BOOK, "a", "See B b.", ["b"]),
        (QUARTO, "a", "Part. Deep b.", ["sub/b"]),
        (QUARTO, "c", "a and x see Figure.\nAfter.", ["a", "a", "sub/b"]),
        (JEKYLL, "_guides/a", "c n", ["_guides/x/code-of-conduct", "_notes/deep/n"]),
        (NOTION, f"A {ID}", "Text: more.", [f"sub/B {ID}", f"C {ID}"]),
        (README, "docs/a", "See W, r.", ["docs/b", "gone"]),
        (AUTOREFS, "a", "See F, here, I and p.m.G: p.m.G.", ["b", "c", "c", "b"]),
        (NEXT, "app/docs/a/page", "b c", ["app/docs/b/page", "app/docs/b/page"]),
        (DOCUSAURUS, "docs/X", "m n", ["docs/ManAPI", "docs/N"]),
        (LOCALES, "docs/zh/a", "c g", ["docs/config/README", "docs/guide/README"]),
    ],
)  # fmt: skip
def test_a_site_is_read_as_its_tool_does(tmp_path, files, page, text, links):
    found = read_tree(tmp_path, files)[page]
    assert found.text == text
    assert led_to(found) == links


def test_a_text_that_takes_itself_in_ends(tmp_path):
    text = "Word. {{< include _p.qmd >}} " * 400
    page = read_tree(tmp_path, {"_quarto.yml": "", "_p.qmd": text, "a.qmd": "{{< include /_p.qmd >}}"})["a"]
    assert 1_000_000 < len(page.text) <= LARGEST


def test_a_page_that_only_leads_on_is_a_redirect(tmp_path):
    files = {
        "old/a.md": "---\nredirect_url: ../new.html#x\n---\n",
        "b.md": "---\nredirect_to: /new\n---\n", "new.md": "New.",
        "c.md": "---\nredirect_to: https://example.org\n---\nKept.", "from.md": "[a](old/a.md) [b](b.md)",
    }  # fmt: skip
    write_tree(tmp_path / "in", files)
    store = build_documents([tmp_path / "in"], tmp_path / "store")
    with make_executor(1) as executor:
        add_graph(store, "hyperlink", "hyperlink", executor=executor)
    graph, ids = LinkGraph.open(store.path, "hyperlink"), [document.id for document in store.documents()]
    assert ids == ["c", "from", "new"]
    assert [ids[at] for at in graph.targets] == ["new", "new"]
    assert not store.manifest["skipped"]


def test_a_document_is_found_by_a_redirect_to_a_redirect(tmp_path):
    lines = [{"id": "b", "text": "B."}, {"redirect": "x", "target": "y"}, {"redirect": "y", "target": "b"},
             {"redirect": "p", "target": "q"}, {"redirect": "q", "target": "p"}]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    store = build_documents([tmp_path / "in.jsonl"], tmp_path / "store")
    assert find_document(store, "x") == 0
    with pytest.raises(ValueError, match=r"no document 'p'; the nearest ids \(and titles\) are 'b'"):
        find_document(store, "p")


def test_a_folder_that_may_not_be_listed_is_counted(tmp_path, monkeypatch):
    read_tree(tmp_path / "in", {"open/oak.md": "Oak.", "shut/pine.md": "Pine."})
    listed = os.scandir

    def scan(place="."):
        if str(place).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", scan)
    store = build_documents([tmp_path / "in"], tmp_path / "store")
    assert store.manifest["skipped"] == {"source cut off or damaged": 1}
    assert store.manifest["examples"] == ["shut/: source cut off or damaged"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "reader", ["markdown", *(pytest.param(each, marks=pytest.mark.slow) for each in ("html", "rst", "wikitext"))]
)
def test_a_survey_is_handed_over_by_a_file_of_json(tmp_path, reader):
    page, suffix = {
        "markdown": ("[[note]] [[p{0}/note]]", "md"),
        "html": ("<title>{1} - Site</title><a href='/P{0}/note.html'>x</a>", "html"),
        "rst": (":doc:`/p{0}/note` \n\n.. setting:: S{1}\n", "rst"),
        "wikitext": ("[[p{0}/note]]", "mediawiki"),
    }[reader]
    pages = {f"p{i}/note.{suffix}": page.format(i // 2, i) + " word" * 1600 for i in range(600)}
    write_tree(tmp_path / "in", pages)
    sent, aside = [], set()

    class Far(Executor):
        def submit(self, function, *args):
            sent.append(pickle.dumps((function, args)))
            aside.update(path.read_bytes() for path in (tmp_path / "store").glob("survey-*"))
            function, args = pickle.loads(sent[-1])
            future = Future()
            future.set_result(function(*args))
            return future

    store = build_documents([tmp_path / "in"], tmp_path / "store", executor=Far(), format=reader)
    assert len(sent) == store.shards > 1
    assert [*store.documents()] == [r for r in read_source(reader, tmp_path / "in") if isinstance(r, Document)]
    assert len(aside) == 1
    assert "note" in json.dumps(json.loads(aside.pop()))
    assert max(map(len, sent)) < 100_000
    assert not [*store.path.glob("survey*")]


@dataclass
class Vague:
    names: Any


@pytest.mark.parametrize("known", [{"a": (1, 2)}, {1: "a"}, Vague({"a"})])
def test_a_survey_that_json_would_change_is_refused(tmp_path, monkeypatch, known):
    fake = Reader(read_file=lambda *_: iter([Document("a", "", "Text.")]), survey=lambda *_: known, suffixes=(".x",))
    monkeypatch.setattr(registry, "find", lambda *_: fake)
    write_tree(tmp_path / "in", {"a.x": "text"})
    with pytest.raises(ValueError, match="reader x: its survey must return what JSON holds"):
        build_documents([tmp_path / "in"], tmp_path / "store", format="x")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["names", "titles", "endings", "sites"])
def test_thousands_of_pages_of_one_name_cost_no_more_than_others(kind):
    """Of 5,000 pages each links to one that has the name of all: the time was the square of their number."""
    count = 5_000
    text = {
        "names": "[[README]]",
        "titles": "---\ntitle: One\n---\n[[One]]",
        "endings": "[x](/gone{0}/README)",
        "sites": "[x](/gone{0}/x/y) [z](https://x{0}.org/p1/README)",
    }[kind]
    name = "p{0}/n{0}" if kind == "titles" else "p{0}/README"
    started = time.process_time()
    pages = survey(((f"{name.format(i)}.md", text.format(i).encode()) for i in range(count)), Options(), {})
    for i in range(count):
        id_ = name.format(i)
        assert pages.find_name(id_.rpartition("/")[2] if kind != "titles" else "one", id_) == id_
        assert pages.find_address(f"/gone{i}/README", id_) == (f"gone{i}/README", "")
        assert f"[[{id_.lower()}]]" in [*pages.names_of(id_, ["One"])]
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "text",
    [
        "---\n" + "# " * 40 + "\n!\n---\nx",
        "---\naliases: " + "[[" * 30_000 + "\n---\nx",
        "---\ntitle: a" + " " * 60_000 + "b\n---\nx",
        "to=" * 30_000 + "{{ x }}",
        "{{" + " " * 30_000 + "x}}",
        "!!! " + " " * 30_000 + "!",
        "::: " + " " * 30_000 + "a:",
        "x\n\n!!! a\n" + "#" * 100_000,
    ],
    ids=range(8),
)
def test_long_lines_cost_no_more_than_their_size(text):
    started = time.process_time()
    survey([("a.md", text.encode())], Options(), {})
    to_commonmark(text)
    assert time.process_time() - started < 2


def test_names_in_any_encoding_and_none_from_code(tmp_path):
    (tmp_path / "mark.md").write_bytes(b"\xef\xbb\xbf---\ntitle: Owl\n---\nAn owl.")
    (tmp_path / "wide.md").write_bytes("---\ntitle: Été\n---\nWarm.".encode("utf-16"))
    files = {"code.md": "```sh\n# install\n```\n\n# Real\n\nx", "from.md": "[[Owl]] [[été]] [[install]] [[Real]]"}
    assert led_to(read_tree(tmp_path, files)["from"]) == ["mark", "wide", "[[install]]", "code"]


def test_one_dead_address_makes_no_site(tmp_path):
    assert led_to(read_tree(tmp_path, {"intro.md": "", "from.md": "[x](/old/intro)"})["from"]) == ["old/intro"]


def test_a_title_of_several_pages_is_said(tmp_path):
    skipped = Skipped()
    files = {"b/x.md": "# Same\n\nx", "c/y.md": "# Same\n\ny", "c/from.md": "[[Same]]", "from.md": "[[Same]]"}
    documents = read_tree(tmp_path, files, skipped)
    assert (led_to(documents["c/from"]), led_to(documents["from"])) == (["c/y"], ["b/x"])
    assert skipped.examples == [f"from.md: [[Same]] is b/x, not c/y: {SEVERAL}"]


def test_lost_links_are_said_by_what_they_lead_to(tmp_path, capsys):
    for name, text in {
        "a.md": "[b](b.md) [x](https://x.org/1) [y](https://x.org/2) [z](gone.md)",
        "c/same.md": "",
        "d/same.md": "",
        "b.md": "[z](gone.md) [[lost]] [[same]]\n\n| t |\n|---|\n| [a](a.md) |",
    }.items():
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "in" / name).write_text(text or "Words.")
    store = build_documents([tmp_path / "in"], tmp_path / "store")
    assert [(row["cause"], row["target"], row["links"], row["whole"]) for row in store.manifest["links_lost"]] == [
        ("elsewhere", "x.org", 2, 2),
        ("missing", "gone", 2, 3),
        ("missing", "[[lost]]", 1, 3),
        ("no place", "a", 1, 1),
        ("several", "[[same]] is c/same, not d/same", 1, 1),
    ]
    assert cli.main(["stats", str(store.path), "--links"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    table = [
        *("other sites 2", "x.org 2 a", "missing documents 3", "gone 2 a", "[[lost]] 1 b"),
        *("what several pages are meant by (one taken) 1", "[[same]] is c/same, not d/same 1 b.md"),
        *("all links, lost or not, from no place in the text (tables, --links) 1", "a 1 b"),
    ]
    start = lines.index("what links lead to links such as in") + 1
    assert lines[start : start + len(table)] == table
    assert not any(line.startswith("documents") for line in lines)
    assert cli.main(["stats", str(store.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["links_lost"] == store.manifest["links_lost"]


def test_links_to_pages_without_text_have_a_cause_of_their_own(tmp_path, capsys):
    trees = {
        "markdown": {"a.md": "[x](b.md) [y](gone.md)", "b.md": "<!-- x -->"},
        "html": {"a.html": "<p><a href=b>x</a> <a href=gone>y</a>", "b.html": "<p>"},
        "rst": {"a.rst": "A\n=\n\n`x <b.rst>`_ and `y <gone.rst>`_.", "b.rst": ".. comment"},
        "dokuwiki": {"a.txt": "====== A ======\n[[b]] [[gone]]", "b.txt": "~~NOTOC~~"},
    }
    for reader, files in trees.items():
        (tmp_path / reader).mkdir()
        for name, text in files.items():
            (tmp_path / reader / name).write_text(text)
        store = build_documents([tmp_path / reader], tmp_path / f"{reader} store", format=reader)
        found = {row["cause"]: (row["target"][:4], row["links"]) for row in store.manifest["links_lost"]}
        assert found == {"empty": ("b", 1), "missing": ("gone", 1)}, reader
    assert cli.main(["stats", str(store.path), "--links"]) == 0
    assert "pages without text (left out)" in capsys.readouterr().out


def test_lost_links_are_counted_by_folder_where_one_has_most(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    pages = [f"[x](api/module/p{i}.md) [y](guide{i}/a.md) [z](api/module/q{i}.md)" for i in range(3)]
    for i, page in enumerate(pages):
        (tmp_path / "in" / f"{i}.md").write_text(page)
    store = build_documents([tmp_path / "in"], tmp_path / "store")
    rows = [row for row in store.manifest["links_lost"] if row["cause"] == "folder"]
    assert [(row["target"], row["links"]) for row in rows] == [("api/module/...", 6)]
    assert cli.main(["stats", str(store.path), "--links"]) == 0
    out = capsys.readouterr().out
    assert "  api/module/... " in out
    assert max(map(len, out.splitlines())) <= 120


def test_an_xref_names_a_page_by_its_uid_or_a_member_in_its_folder(tmp_path):
    (tmp_path / "Mod.Core").mkdir()
    files = {
        "a.md": "[one](xref:my.page), [two](xref:Mod.Core.Get-It#notes), [three](xref:System.String?alt=x).",
        "b.md": "---\nuid: my.page\n---\nOne.",
        "Mod.Core/Get-It.md": "Two.",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    page = next(record for record in read_source("markdown", tmp_path) if getattr(record, "id", "") == "a")
    found = [(page.text[link.start : link.end], link.target, link.fragment) for link in page.links]
    assert found == [("one", "b", ""), ("two", "Mod.Core/Get-It", "notes"), ("three", "xref:System.String", "")]


LOGSEQ = """\
tags:: b, [[c]]

- TODO [#A] [[Friday, 2nd September 2022]]
  SCHEDULED: <2022-10-01 Sat>
- #+BEGIN_QUOTE
  Said.
  #+END_QUOTE
- #+BEGIN_QUERY
  {:a}
  #+END_QUERY
"""


def test_notes_have_links_in_front_matter_and_dialects_have_tags(tmp_path):
    front = '---\nup: "[[b|B]]"\nsee:\n  - "[[c#x]]"\n  - "[[gone]]"\n---\nOf [[c]].'
    trees = {
        "obsidian": {".obsidian/a.json": "", "a.md": front, "b.md": "", "c.md": ""},
        "dendron": {
            "dendron.yml": "",
            "v/a.md": "---\ntags: [sea.deep]\n---\nBy @ann on #boats.big, not #gone or me@boats. [x](dendron://w/n)",
            **dict.fromkeys(("v/user.ann.md", "v/tags.boats.big.md", "v/tags.sea.deep.md", "v/n.md", "w/n.md")),
        },
        "logseq": {
            "logseq/config.edn": '{;:journal/page-title-format "E"\n :journal/page-title-format "EEEE, do MMMM yyyy"}',
            "pages/a.md": LOGSEQ,
            **dict.fromkeys(("pages/b.md", "pages/c.md", "journals/2022_09_02.md", "pages/x___y.md")),
        },
    }
    pages = {kind: read_tree(tmp_path / kind, files) for kind, files in trees.items()}
    assert led_to(pages["obsidian"]["a"]) == ["c", "b"]
    a = pages["dendron"]["v/a"]
    assert a.text == "By ann on boats.big, not #gone or me@boats. x"
    assert led_to(a) == ["v/user.ann", "v/tags.boats.big", "w/n", "v/tags.sea.deep"]
    a = pages["logseq"]["pages/a"]
    assert a.text == "TODO Friday, 2nd September 2022\nSaid."
    assert led_to(a) == ["pages/c", "journals/2022_09_02", "pages/b"]
    assert pages["logseq"]["pages/x___y"].title == "x/y"


def test_a_page_of_a_language_leads_to_pages_of_it(tmp_path):
    files = {
        "a.fr.md": "[b](b.md), [e](b.en.md), [c](c.md), [h](/)",
        "hugo.toml": "",
        **dict.fromkeys(("a.en.md", "b.en.md", "b.fr.md", "c.en.md", "index.en.md", "index.fr.md")),
    }
    assert led_to(read_tree(tmp_path / "suffix", files)["a.fr"]) == ["b.fr", "b.en", "c.en", "index.fr"]
    files = {
        "content/en/a.md": '[x]({{< ref path="b" lang="fr" >}}), [y]({{< relref lang="fr" path="b.md#c" >}})',
        "hugo.toml": "",
        **dict.fromkeys(("content/en/b.md", "content/fr/b.md")),
    }
    assert led_to(read_tree(tmp_path / "folder", files)["content/en/a"]) == ["content/fr/b"] * 2


def test_docusaurus_has_folders_named_as_their_index_and_translations(tmp_path):
    source = (
        "[i](/docs/guides) [f](/fr/docs/a) [o](https://d.example/x/docs/guides/b)"
        " <a href={useBaseUrl('/docs/guides/b')}>u</a> <Link to={`/docs/guides/b`}>l</Link>"
    )
    files = {
        "docusaurus.config.js": "module.exports = {\n  url: 'https://d.example',\n  baseUrl: '/x/',\n}",
        "docs/a.md": source,
        **dict.fromkeys(("docs/02-guides/02-Guides.md", "docs/02-guides/b.md")),
        "i18n/fr/docusaurus-plugin-content-docs/current/a.md": "",
    }
    b = "docs/02-guides/b"
    found = ["docs/02-guides/02-Guides", "i18n/fr/docusaurus-plugin-content-docs/current/a", b, b, b]
    assert led_to(read_tree(tmp_path, files)["docs/a"]) == found


MYST = """\
% a remark

(top)=
# Home

See {doc}`guide/a`, {doc}`shown <guide/a>`, {ref}`part`, {ref}`p <part>`, {py:class}`~x.Y`, [](guide/a.md), [](#part)
and {ref}`top`, [l](part).

````{note}
:class: wide

Note [n](guide/a.md).

```{tip} Title {doc}`t <guide/a>`
Tip.
```
````

:::{toctree}
guide/a
:::

:::{own} x
:class: y
Body.
:::

```{code-block} py
x
```
"""


def test_myst_has_roles_labels_and_directives(tmp_path):
    files = {
        "conf.py": "extensions = ['myst_parser']",
        "index.md": MYST,
        "guide/a.md": "# A\n\n(part)=\n## Part\n\nOne.",
    }
    page = read_tree(tmp_path, files)["index"]
    assert page.text == (
        "See A, shown, Part, p, x.Y, A, Part and Home, l.\nNote n.\nTitle t\nTip.\nBody."  # shown as Sphinx does
    )
    shown = [page.text[link.start : link.end] for link in page.links]
    assert shown == ["A", "shown", "Part", "p", "A", "Part", "l", "n", "t"]
    assert {*led_to(page)} == {"guide/a"}


def test_marks_of_other_tools_go(tmp_path):
    source = """\
/// note | Title [n](b.md)
Body.
///

<<< @/x.js{1}

{::comment}
gone
{:/comment}

[b](b.md){ data-preview }, <% gone %>, <A HREF=b.md>c</A>, [w](sub\\b.md), [o](https://x.org/?q=%5C)

- [>] moved {{< card title="x" link="/b" >}}
"""
    page = read_tree(tmp_path, {"a.md": source, "b.md": "", "sub/b.md": ""})["a"]
    assert page.text == "Title n\nBody.\nb, , c, w, o\nmoved"
    assert led_to(page) == ["b", "b", "b", "sub/b", "https://x.org/?q=%5C", "b"]


def test_myst_has_labels_in_options_and_of_anything(tmp_path):
    own = "# Home\n[a](#fig), {ref}`b <tab>`, <project:o.md#sec>, [c](project:#eq), "
    own += "[d](xref:py#x), [e](#par), [f](<#two words>)"
    other = """\
# Other

(sec)=
(two words)=
## Part

```{figure} a.png
:name: fig

Caption.
```

:::{table} Title
:label: tab

Inside.
:::

```{math}
:label: eq
x
```

(par)=
Words.
"""
    documents = read_tree(tmp_path, {"conf.py": "extensions = ['myst_parser']", "index.md": own, "o.md": other})
    assert documents["index"].text == "a, b, Other, c, d, e, f"
    links = [(link.target, link.fragment) for link in documents["index"].links]
    own = [("o", name) for name in ("fig", "tab", "sec", "eq", "par")]
    assert links == [*own[:4], ("xref://py", "x"), *own[4:], ("o", "two words")]
    assert documents["o"].text == "Part\nInside.\nWords."
    assert documents["o"].sections == (("sec", 0), ("fig", 5), ("tab", 5), ("eq", 13), ("par", 13))


@pytest.mark.parametrize(
    ("config", "page"),
    [
        ("", "versioned_docs/version-2.0/b"),
        ("docs: {\n  lastVersion: '1.0',", "versioned_docs/version-1.0/b"),
        ("docs: {\n  lastVersion: 'current',", "docs/b"),
        ("docs: {\n  // lastVersion: 'current',", "versioned_docs/version-2.0/b"),
    ],
)
def test_docs_of_docusaurus_are_those_of_the_latest_version(tmp_path, config, page):
    files = {"docusaurus.config.js": config, "versions.json": '["2.0", "1.0"]', "docs/b.md": "", "docs/new.md": ""}
    files |= {f"versioned_docs/version-{version}/b.md": "" for version in ("1.0", "2.0")}
    files |= {"docs/a.md": "[b](/docs/b) [c](/docs/new) [d](/docs/next/b) [e](./b) [f](/docs/b.md)"}
    files |= {"blog/g.md": "[h](https://a.org/docs/b) [i](https://a.org/docs/new) [j](https://a.org/docs/next/b)"}
    documents = read_tree(tmp_path, files)
    assert led_to(documents["docs/a"]) == [page, "docs/new", "docs/b", "docs/b", "docs/b"]
    assert led_to(documents["blog/g"]) == [page, "docs/new", "docs/b"]


@pytest.mark.parametrize(
    ("files", "source", "pages"),
    [
        (
            {
                "_config.yml": "",
                "_posts/2020-01-01-x.md": "",
                "_posts/s/2020-01-02-y.md": "",
                "t/_posts/2020-01-03-z.md": "",
            },
            "[a]({% post_url 2020-01-01-x %}) [b]({% post_url s/2020-01-02-y %}) [c]({% post_url /t/2020-01-03-z %}) "
            "[d]({{ site.baseurl }}{% post_url 2020-01-02-y %}#part) [e]({% link _posts/2020-01-01-x.md %})",
            "_posts/2020-01-01-x _posts/s/2020-01-02-y t/_posts/2020-01-03-z _posts/s/2020-01-02-y _posts/2020-01-01-x",
        ),
        (
            {"Other-One.md": "", "Two.md": "[h](/own/tree/wiki/a)", "_Sidebar.md": ""},
            "[x](/own/tree/wiki/Other-One#part) [y](https://github.com/own/tree/wiki/Two) [z](/own/tree/issues/3)",
            "Other-One Two own/tree/issues/3",
        ),
        (  # a wiki in folders
            {"in/One.md": "", "in/deep/Two.md": "", "Three.md": "", "_Sidebar.md": ""},
            " ".join(f"[x](https://github.com/own/tree/wiki/{name})" for name in ("One", "Two", "Three")),
            "in/One in/deep/Two Three",
        ),
        (  # of Hexo, whose posts have their date in front matter; of Gatsby, Docsify and Joplin
            {
                "_config.yml": "permalink: :year/:month/:day/:title/",
                "source/_posts/p.md": "---\ndate: 2021-01-02 03:04\n---\nP.",
            },
            "[a](/2021/01/02/p/)",
            "source/_posts/p",
        ),
        (
            {"x/b.md": "---\npath: /one/two\n---\nB.", "0123456789abcdef.md": "", "20200102153059-slip.md": ""},
            "[a](/one/two/) [b](#/x/b) [c](:/0123456789abcdef) [[20200102153059]]",
            "x/b x/b 0123456789abcdef 20200102153059-slip",
        ),
        (
            {".vitepress/config.js": "", "guide/start.md": ""},
            "---\nlayout: home\nhero:\n  actions:\n    - text: Go\n      link: /guide/start\n    - link: https://x.org\n---\nHi.",
            "guide/start",
        ),
    ],
)
def test_addresses_of_posts_wikis_and_home_pages(tmp_path, files, source, pages):
    assert led_to(read_tree(tmp_path, files | {"a.md": source})["a"]) == pages.split()


def test_marks_of_org_mode_in_an_outline_underline_nothing(tmp_path):
    source = """\
- A
\t- #+BEGIN_NOTE
\t  Words [[b]].
\t  #+END_NOTE
\t\t- below
\t- #+BEGIN_QUERY
\t  x
\t  #+END_QUERY
\t\t- under
\t-
\t\t- last
"""
    page = read_tree(tmp_path, {"logseq/config.edn": "", "pages/a.md": source, "pages/b.md": ""})["pages/a"]
    assert page.text == "A\nWords b.\nbelow\nunder\nlast"
    assert led_to(page) == ["pages/b"]


def test_cards_of_myst_lead_somewhere(tmp_path):
    source = """\
::::{grid} 2
:::{grid-item-card} Title
:link: b
:link-type: doc
Body.
:::
::::

```{card} Two
:link: sub/c.md
```

:::{button-ref} b
Go.
:::
"""
    page = read_tree(tmp_path, {"conf.py": "# myst", "a.md": source, "b.md": "", "sub/c.md": ""})["a"]
    assert page.text == "Title\nBody.\nTwo\nGo."
    assert [(link.start, link.target) for link in page.links] == [(-1, "b"), (-1, "sub/c"), (-1, "b")]


def test_links_of_myst_without_a_text_show_what_they_lead_to(tmp_path):
    own = """# Home
See [](#fig), [](o.md#tab), [](#sec), [](#own), [own](own) and {ref}`own`.

(own)=
## Part

In [](#sec).
"""
    other = """# Other
```{figure} a.png
:alt: A
:name: fig

Caption.
```

:::{list-table} Title
:name: tab
:::

(sec)=
## The `end`
[](#fig), {ref}`tab`.
"""
    documents = read_tree(tmp_path, {"myst.yml": "", "a.md": own, "o.md": other})
    assert documents["a"].text == "See Figure, Table, The end, Part, own and Part.\nPart\nIn The end."
    assert led_to(documents["a"]) == ["o"] * 4
    assert documents["o"].text.endswith("Figure, Table.")


QUARTO = """---
title: One
---

# One {#sec-one .unnumbered}

::: {.callout-tip title="Mind"}
See @sec-two, [-@sec-part] (@fig-x) and [two](two.qmd#sec-part), me@sec-two.org, \\@ref(usage), [it](#usage).
:::

```{r}
#| label: fig-x
plot(1)
```

Here, in @sec-one, figure \\@ref(fig:y)\\index{a!\\texttt{b}}, is more. {{< fa gear >}}
"""


@pytest.mark.parametrize(("sign", "suffix"), [("_quarto.yml", "qmd"), ("_bookdown.yml", "Rmd")])
def test_books_of_quarto_and_bookdown(tmp_path, sign, suffix):
    two = "# Two `x` {#sec-two}\n\nText.\n\n## Its part {.c #sec-part}\n\nText.\n\n## Usage\n\nText.\n"
    files = {sign: "", f"one.{suffix}": QUARTO, f"two.{suffix}": two, f"08-usage.{suffix}": "# Software {-}\n\nText."}
    documents = read_tree(tmp_path, files)
    shown = "See Two x, Its part (Figure) and two, me@sec-two.org, Usage, it.\nHere, in One, figure, is more."
    assert documents["one"].text == f"Mind\n{shown}"
    links = [(link.target, link.fragment) for link in documents["one"].links]
    assert links == [("two", name) for name in ("sec-two", "sec-part", "sec-part", "usage", "usage")]
    assert (documents["two"].title, documents["08-usage"].title) == ("Two x", "Software")
    assert documents["two"].sections == (("sec-two", 0), ("sec-part", 6))


def test_addresses_of_a_word_are_pages_of_any_folder_where_most_are(tmp_path, caplog):
    pages = {f"{n}0-part/{n}1-{name}.md": "" for n, name in enumerate(("load", "hooks", "routes", "state", "$lib"), 1)}
    words = "[a](load) [b](hooks#x) [c](routes) [d](state) [e]($lib) [f](../10-part/load) [g](none)"
    documents = read_tree(tmp_path, pages | {"90-end/a.md": words})
    whole = [name.removesuffix(".md") for name in pages]
    assert led_to(documents["90-end/a"]) == [*whole, whole[0], "90-end/none"]
    assert "addresses of a word are the page of that name, in any folder" in caplog.text
    assert led_to(read_tree(tmp_path, {}, dialect="none")["90-end/a"])[0] == "90-end/load"
    web = "".join(f" [x](https://a.org/docs/b/{name})" for name in ("load", "hooks", "routes", "no", "none"))
    assert led_to(read_tree(tmp_path, {"README.md": web})["README"])[:3] == whole[:3]
    (tmp_path / "90-end/a.md").write_text(words.replace("(hooks#x)", "(url)"), encoding="utf-8")
    assert led_to(read_tree(tmp_path, {})["90-end/a"])[0] == "90-end/load"


def test_one_of_several_headings_below_a_text_names_no_page(tmp_path):
    files = {"a.md": "Words.\n\n# 1\n\nWords.\n\n# 2\n", "b.md": "Words.\n\n# Name\n", "c.md": "# First\n\n# 3\n"}
    assert led_to(read_tree(tmp_path, files | {"d.md": "[[1]] [[Name]] [[First]]"})["d"]) == ["[[1]]", "b", "c"]


def seen(documents) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Return of each page its text, and what its links show and lead to."""
    return {
        each.id: (each.text, [(each.text[link.start : link.end], link.target) for link in each.links])
        for each in documents
    }


MDN = {
    "web/api/event/target": "A {{Glossary('api', \"APIs\")}}{{optional_inline}}.",
    "web/css/_doublecolon_before": 'See {{domxref("Event.target")}}, {{CSSxRef("color")}}, {{RFC(9110, "x")}}.',
    "web/css/color": '{{HTMLElement("a")}}, {{cssxref("::before", "before")}}, {{SVGAttr("color")}}.',
    "web/html/element/a": '{{jsxref("Array.prototype.map()", "map()")}} {{ unknown("x") }}.',
    "web/svg/attribute/color": "Paint.",
    "web/javascript/array/map": "Of an array.",
    "glossary/api": "An interface.",
}


def test_macros_of_mdn_are_words_and_links(tmp_path):
    at = "files/en-us/{}/index".format
    documents = read_tree(tmp_path, {f"{at(name)}.md": text for name, text in MDN.items()})
    found = {id_.split("/", 2)[2].removesuffix("/index"): said for id_, said in seen(documents.values()).items()}
    assert found == {
        "web/api/event/target": ("A APIs.", [("APIs", at("glossary/api"))]),
        "web/css/_doublecolon_before": (
            "See Event.target, color, RFC 9110.",
            [
                ("Event.target", at("web/api/event/target")),
                ("color", at("web/css/color")),
                ("RFC 9110", "https://datatracker.ietf.org/doc/html/rfc9110"),
            ],
        ),
        "web/css/color": (
            "<a>, before, color.",
            [
                ("<a>", at("web/html/element/a")),
                ("before", at("web/css/_doublecolon_before")),
                ("color", at("web/svg/attribute/color")),
            ],
        ),
        "web/html/element/a": ("map() .", [("map()", at("web/javascript/array/map"))]),
        "web/svg/attribute/color": ("Paint.", []),
        "web/javascript/array/map": ("Of an array.", []),
        "glossary/api": ("An interface.", []),
    }


def test_shortcodes_show_their_text(tmp_path):
    terms = {
        "glossary/pod.md": '{{< glossary_tooltip term_id="node-set" >}}: {{< glossary_definition term_id="pod" >}}',
        "glossary/node-set.md": '{{< glossary_tooltip text="Pods" term_id="pod" >}}, {{< b text="Go" url="/a" >}}.',
    }
    assert seen(read_tree(tmp_path, terms).values()) == {
        "glossary/pod": ("node set:", [("node set", "glossary/node-set"), ("", "glossary/pod")]),
        "glossary/node-set": ("Pods, Go.", [("Pods", "glossary/pod"), ("Go", "a")]),
    }


@pytest.mark.parametrize(
    ("a", "b", "sign"),
    [
        ("See [AUTOTITLE](/sub/b#x).", "See [AUTOTITLE](a.md).", ""),
        ("See <doc:b>.", "See <doc:a>.", ""),
        ("See <xref:bee>.", "See <xref:a>.", ""),
        ("See [](sub/b.md).", "See [](../a.md).", "writerside.cfg"),
    ],
)
def test_links_show_titles_where_the_tool_puts_them(tmp_path, a, b, sign):
    files = {"a.md": f"---\ntitle: The first\n---\n{a}", "sub/b.md": f"---\ntitle: The second\nuid: bee\n---\n{b}"}
    files |= {sign: ""} if sign else {}
    assert seen(read_tree(tmp_path, files).values()) == {
        "a": ("See The second.", [("The second", "sub/b")]),
        "sub/b": ("See The first.", [("The first", "a")]),
    }


def test_directives_of_docc_go_and_what_they_enclose_stays(tmp_path):
    page = (
        '# A\n\n@Metadata {\n   @DisplayName("B")\n}\n\n@Row {\n   @Column(size: 2) {\n   Words.\n   }\n}\n\n@a stays.'
    )
    assert read_tree(tmp_path, {"x.docc/a.md": page})["x.docc/a"].text == "Words.\n@a stays."


def test_what_has_no_title_shows_its_name(tmp_path):
    found = read_tree(
        tmp_path, {"a.md": "See <doc:Sub/gone>, <xref:System.String>, [AUTOTITLE](/gone), <https://x.org/>."}
    )
    assert found["a"].text == "See gone, String, , https://x.org/."
    found = read_tree(tmp_path, {"a.md": "See <doc:Far-away>, <xref:api.read-only>."})
    assert found["a"].text == "See Far away, read-only."


def test_references_of_documenter_lead_to_headings_and_to_what_pages_are_about(tmp_path):
    files = {
        "man.md": "# Manual\n\n## [Types of things](@id types)\n\n[`foo`](@ref), [Other](@ref), [g](@ref guide-x), "
        "[`M.bar(x)`](@ref), [n](@ref none).",
        "other.md": "# Other\n\n### [Guide](@id guide-x)\n\n[t](@ref types), [Types of things](@ref).\n\n"
        "```@docs\nM.foo\nM.bar(x::Int)\n```\n",
    }
    found = seen(read_tree(tmp_path, files).values())
    assert found["man"] == (
        "Types of things\nfoo, Other, g, M.bar(x), n.",
        [("foo", "other"), ("Other", "other"), ("g", "other"), ("M.bar(x)", "other"), ("n", "none")],
    )
    assert found["other"] == ("Guide\nt, Types of things.", [("t", "man"), ("Types of things", "man")])
