"""The scanner: each construct in a table, laws for any text whatever, golden pages, time linear in the length."""

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkbert.corpora.readers.site import Site, find_targets, is_disambiguation, normal_title, resolve, words
from linkbert.corpora.readers.wikitext import parse
from linkbert.records import Link

GOLDEN = Path(__file__).parent / "golden"
EN = Site()
DE = Site("de", namespaces={"datei": 6, "kategorie": 14, "spezial": -1})


def text_of(wikitext, site=EN):
    return parse(wikitext, site)[0]


def links_of(wikitext, site=EN):
    """[(anchor or None, target)] or, with a fragment, [(anchor or None, target, fragment)]."""
    text, links = parse(wikitext, site)
    return [
        (
            text[link.start : link.end] if link.start >= 0 else None,
            link.target,
            *([link.fragment] * bool(link.fragment)),
        )
        for link in links
    ]


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        # emphasis, as MediaWiki decides it
        ("''a'' '''b''' '''''c'''''", "a b c"),
        ("l'''amour''", "l'amour"),
        ("l'''[[amour]]'' x", "l'amour x"),
        ("''''four''''", "'four'"),
        ("it's the dog's", "it's the dog's"),
        ("'''unclosed\nnext ''line", "unclosed next line"),
        # lines
        ("one\ntwo\n\nthree", "one two\nthree"),
        ("* a\n** b\n# c\n: d\n; e", "a\nb\nc\nd\ne"),
        ("== H ==\ntext", "H\ntext"),
        ("=== ''H'' === <!-- c -->\ntext", "H\ntext"),
        ("== Kept ==\n=== Sub ===\ntext\n== Dropped ==\n{{reflist}}\n== Gone too ==", "Kept\nSub\ntext"),
        ("a\n----\nb", "a\nb"),
        ("a\n\n\n\n\nb", "a\nb"),
        (" preformatted\n lines", "preformatted\nlines"),
        ("a = b\n5 - 3", "a = b 5 - 3"),
        # dropped parts and the holes they leave
        ("a{{b|c={{d}}|e}}f", "af"),
        ("Rome ({{IPA|la|x}}) is", "Rome is"),
        ("Rome ({{x}}; born 1950)", "Rome (born 1950)"),
        ("Rome (born 1950; {{x}})", "Rome (born 1950)"),
        ("Rome ({{x}}, {{y}})", "Rome"),
        ("Rome, {{x}}, is", "Rome, is"),
        ("Rome is {{x}}.", "Rome is."),
        ("call main() {{x}}", "call main()"),
        ("a {{ndash}} b", "a – b"),
        ("{{{1|default}}} x", "x"),
        ("a<ref>note</ref>b<ref name=x/>c<ref name='y'>{{cite}}</REF >d", "abcd"),
        ("a<!-- hidden -->b", "ab"),
        ("a\n<!-- hidden -->\nb", "a b"),
        ("a <math>x^2</math> b", "a b"),
        ("a<syntaxhighlight lang=c>int [[x]];</syntaxhighlight>b", "ab"),
        ("<gallery>\nFile:a.jpg|[[b]]\n</gallery>after", "after"),
        ("{|\n! h\n|-\n| a || b\n|}\nafter", "after"),
        ("{|\n|\n{|\n| inner\n|}\n|}\nafter", "after"),
        ("<table><tr><td>a</td></tr></table>after", "after"),
        ("[[File:a.jpg|thumb|A [[b|c]] {{d}} [http://e f]]]after", "after"),
        ("[[Image:a.jpg]]\n[[Category:B]]\n[[fr:C]]\nafter", "after"),
        ("__NOTOC__ a __init__ b", "a __init__ b"),
        # tags and entities
        ("<b>a</b> <span style='x'>b</span><br/>c<br>d", "a b\nc\nd"),
        ("x<sup>2</sup> < 3 and <unknown>", "x2 < 3 and <unknown>"),
        ("a&nbsp;b &lt; &#948; &#x3b4; &amp;amp; &bogus;", "a b < δ δ &amp; &bogus;"),
        ("<nowiki>[[a]] ''b'' {{c}} &amp; <b></nowiki>", "[[a]] ''b'' {{c}} & <b>"),
        ("<nowiki>* no item</nowiki>", "* no item"),
        ("<poem>a\nb</poem>", "a\nb"),
        # addresses
        ("[http://a.org the label] b", "the label b"),
        ("a [http://a.org] b", "a b"),
        ("see http://a.org/x_(y), and", "see, and"),
        ("[//a.org x] [mailto:a@b.c mail]", "x mail"),
        ("[[http://a.org label]]", "label"),
        # links whose target is no article
        ("[[:Category:X]] [[Help:Y|z]] [[wikt:w]] [[:fr:Chat]]", "Category:X z wikt:w fr:Chat"),
        ("see [[#History]] and [[#History|above]]", "see History and above"),
        ("[[<bad>|label]] [[a\nb]] [[|x]] [[]]", "label a b x"),
        # language variants
        ("-{zh-hans:软件; zh-hant:軟體}- -{plain}- -{T|title}-", "软件 plain"),
        # unclosed and wrongly nested: the rest of the page stays
        ("a {{b c", "a b c"),
        ("a [[b c", "a b c"),
        ("a }} b ]] c |} d", "a b c |} d"),
        ("a <ref>b [[c]]", "a b c"),
        ("a <!-- b", "a b"),
        ("a <nowiki>b", "a b"),
        ("a\n{|\n| b\nc", "a\nb c"),
        ("{{a|[[b}} c", "c"),
        ("[[a|{{b]]}} c", "a| c"),
        ("\r\na\r\nb\0c", "a bc"),
    ],
)
def test_text(wikitext, expected):
    assert text_of(wikitext) == expected


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("[[cat]]s and [[Dog|dogs]]", [("cats", "Cat"), ("dogs", "Dog")]),
        ("[[2001: A Space Odyssey]]", [("2001: A Space Odyssey", "2001: A Space Odyssey")]),
        ("[[fall_of  Rome]]", [("fall_of Rome", "Fall of Rome")]),
        ("[[Caf&eacute;]] [[Caf%C3%A9|x]]", [("Café", "Café"), ("x", "Café")]),
        ("[[Rome#Early_days|early]]", [("early", "Rome", "Early days")]),
        (
            "[[Boston (band)|]] [[Boston, Massachusetts|]]",
            [("Boston", "Boston (band)"), ("Boston", "Boston, Massachusetts")],
        ),
        ("[[a|''b'' c]]", [("b c", "A")]),
        ("[[Lista d''e paise]]", [("Lista d''e paise", "Lista d''e paise")]),
        ("[[ a | b ]]c", [("b c", "A")]),
        ("x[[a| b]]", [("b", "A")]),
        ("[[a|b|c]]", [("b|c", "A")]),
        ("[[a|[b]]]", [("[b]", "A")]),
        ("[[[a]]]", [("a", "A")]),
        ("[[a|b [[c]] d]]", [("c", "C")]),
        ("[[a|b\nc]]", [("b c", "A")]),
        ("[[a|{{b}}]]", [("a", "A")]),
        ("[[a|b {{c}}]]d", [("b d", "A")]),
        ("[[a]]<nowiki/>b [[c]]'s", [("a", "A"), ("c", "C")]),
        ("[[:a]] [[/sub]]", [("a", "A"), ("/sub", "/sub")]),
        ("[[fr:Chat]] [[Category:X]] [[User:Y|z]] [[#a]]", []),
        # without a place
        ("{{x|[[a]]}} <ref>[[b|c]]</ref> [[File:d|[[e]]]]", [(None, "B"), (None, "A"), (None, "E")]),
        ("{|\n| [[a]]\n|}\n<gallery>\nFile:x|[[b]]\n</gallery>", [(None, "B"), (None, "A")]),
        ("== [[a]] ==\n== b ==\n[[c]]", [("c", "C"), (None, "A")]),
        ("<ref><!-- [[a]] --></ref>", []),
    ],
)
def test_links(wikitext, expected):
    assert links_of(wikitext) == expected


def test_a_table_without_an_end_stays_as_text():
    table = 'a\n{| class="x"\n|+ caption\n! A !! B\n|-\n| style="y" | [[c]] || d\n|-\n|\n* e\n'
    assert text_of(table) == "a\ncaption\nA | B\nc | d\ne"
    assert links_of(table) == [("c", "C")]
    assert text_of(f"{table}|}}\nafter") == "a\nafter"
    assert links_of("{|\n| [[x]]=1 | [[y]]\n") == [("y", "Y"), (None, "X")]


@pytest.mark.parametrize(
    ("wikitext", "text", "targets"),
    [
        ('<pages index="A.djvu" from=9 to=12 />', "", []),
        ("<youtube width=300>abc123</youtube>Moss<infobox><title source=n /> [[B]]</infobox>", "Moss", ["B"]),
        ("<tabber>\n|-|C=\nSee [[B]].\n|-|D=\nd\n</tabber>", "See B.\nd", ["B"]),
        ("See [[<tvar|x>Special:MyLanguage/B</>|the B]], <tvar|y>[[C]]</>.", "See the B, C.", ["B", "C"]),
        ("[[Special:MyLanguage/b#x|b]] [[Special:Search|s]] <my-tag>", "b s <my-tag>", ["B"]),
        ("[[Special:MyLanguage/Category:X|the list]] [[" + "Special:MyLanguage/" * 2000 + "B|b]]", "the list b", []),
        ("Type <Tab> to go on, then <csv>.", "Type <Tab> to go on, then <csv>.", []),
    ],
)
def test_tags_of_extensions(wikitext, text, targets):
    found, links = parse(wikitext, Site())
    assert (found, [link.target for link in links]) == (text, targets)


def test_tags_that_wikipedia_does_not_have_are_its_text():
    assert parse("An <rss> has a <tab>.</rss>", Site(subpages=False))[0] == "An <rss> has a <tab>.</rss>"


def test_trails_and_namespaces_follow_the_site():
    assert links_of("[[Haus]]tür [[Datei:a.jpg]] [[Kategorie:B]] [[File:c.jpg]]", DE) == [("Haustür", "Haus")]
    assert links_of("[[дом]]а", Site("ru")) == [("дома", "Дом")]
    assert links_of("[[漢字]]です", Site("ja")) == [("漢字", "漢字")]
    assert links_of("[[bus]]é") == [("bus", "Bus")]
    assert links_of("[[cat]]", Site("en", first_letter=False)) == [("cat", "cat")]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("image:x y.png", "File:X y.png"),
        (" fall_of  Rome ", "Fall of Rome"),
        ("ßx", "ßx"),
        ("éa", "Éa"),
        ("a%20b", "A b"),
        ("100%", "100%"),
    ],
)
def test_normal_title(title, expected):
    assert normal_title(title, EN) == expected
    assert normal_title(expected, EN) == expected


def test_first_letters_of_languages():
    assert normal_title("istanbul", Site("tr")) == "İstanbul"
    assert normal_title("თბილისი", Site("ka")) == "თბილისი"


def test_disambiguation_pages():
    assert is_disambiguation("Mercury", "x {{Disambiguation|geo}}", EN)
    assert is_disambiguation("Mercury (disambiguation)", "", EN)
    assert is_disambiguation("x", "__DISAMBIG__", EN)
    assert is_disambiguation("x", "{{Begriffsklärung}}", DE)
    assert is_disambiguation("x", "{{dp}}", Site("nl"))
    assert not is_disambiguation("x", "a {{disambiguation needed}} {{about|x}} {{dp}}", EN)


@pytest.mark.parametrize(
    ("language", "wikitext", "expected"),
    [
        ("en", "an area of {{convert|468|km2|sqmi|abbr=on}} and lies in", "an area of 468 km² and lies in"),
        ("en", "{{Cvt|3|to|5|km}}, {{convert|6|ft|2|in|cm}}, {{convert|3|-|5|C}}, {{convert|2|x|1.5|m}}",
         "3 to 5 km, 6 ft 2 in, 3–5 °C, 2 × 1.5 m"),
        ("en", "{{convert|1,200|mi|km|0}} by {{convert|3|e6carat}} of {{convert}}.", "1,200 mi by 3 million carat of."),
        ("en", "in {{nowrap|the [[Old Valley|valley]] {{lang|fr|Vieux}}}}, {{nobr|a b}}", "in the valley Vieux, a b"),
        ("en", "{{lang|fr|Vieux Val}} ({{lang-fr|Val}}), {{transl|ar|ALA|Allāh}}", "Vieux Val (Val), Allāh"),
        ("en", "{{nihongo|Tower|塔|tō}}, {{Nihongo|''T''|塔}}; {{nihongo||塔}}", "Tower (塔, tō), T (塔); (塔)"),
        ("en", "{{abbr|WHO|World Health Organization}} {{As of|2014|lc=y}}", "WHO as of 2014"),
        ("en", "{{frac|3|2}} {{frac|1|1|2}} {{sfrac|2}} {{chem|C|2|H|6}} {{val|5|u=km}}", "3/2 1 1/2 1/2 C2H6 5 km"),
        ("en", "{{formatnum:3003}} m, {{US$|2 billion}} {{circa|1500}} ({{circa}})", "3003 m, US$2 billion c. 1500"),
        ("en", "a {{nowrap|b{{efn|note [[x]]}} {{unknown|y}} c}} d", "a b c d"),
        ("en", "{{Nowrap|1=E = mc}} {{convert|[[x]]|km}} {{langue|fr}} {{nowraps|x}} e", "E = mc e"),
        ("de", "{{nowrap|5 km}}, {{enS|lake}}, {{Höhe|12|DE-NHN|link=1}} hoch", "5 km, lake, 12 m hoch"),
        ("fr", "{{unité|468|km|2}} et {{nombre|1200|habitants}} au {{s|XIX|e}}, {{citation|oui}}",
         "468 km^2 et 1200 habitants au XIXe siècle, « oui »"),
        ("fr", "{{date|1|janvier|1900}}, {{lang|en|lake}}, {{abréviation|HCR|Haut}}", "1 janvier 1900, lake, HCR"),
        ("es", "{{unidad|468|km²}} en el {{siglo|XIX}}, {{convertir|5|km|mi}}", "468 km² en el siglo XIX, 5 km"),
        ("ja", "{{ruby|漢字|かんじ}}と{{読み仮名|語|ご}}と{{lang|en|lake}}。", "漢字と語とlake。"),
        ("zh", "在{{lang|en|lake}}和{{nowrap|5 公里}}。", "在lake和5 公里。"),
        ("ru", "{{s|468 км²}}, {{lang-en|lake}}, {{число|5}}, {{comment|ВОЗ|организация}}", "468 км², lake, 5, ВОЗ"),
        ("en", "{{s|XIX|e}} {{число|5}} {{Höhe|5}} a", "a"),  # the names of other languages
    ],
)  # fmt: skip
def test_templates_that_are_words_of_the_sentence(language, wikitext, expected):
    assert parse(wikitext, Site(language))[0] == expected


@pytest.mark.parametrize(
    ("language", "wikitext", "text", "target"),
    [
        ("en", "{{ill|Old Valley|de|Altes Tal}}", "Old Valley", "Old Valley"),
        ("en", "{{ill|Old Valley (Ruhr)|de|Altes Tal|lt=valley}}", "valley", "Old Valley (Ruhr)"),
        ("en", "{{ill|de|Old Valley|Altes Tal}}", "Old Valley", "Old Valley"),
        ("en", "{{HMS|Ajax|22|6}}", "HMS Ajax", "HMS Ajax (22)"),
        ("en", "{{USS|Monitor}}", "USS Monitor", "USS Monitor"),
        ("fr", "{{lien|langue=en|trad=Old|fr=Vieux Val|texte=val}}", "val", "Vieux Val"),
        ("fr", "{{Lien|Vieux Val|lang=en}}", "Vieux Val", "Vieux Val"),
        ("ja", "{{仮リンク|古い谷|en|Old Valley}}", "古い谷", "古い谷"),
        ("zh", "{{link-en|舊谷|Old Valley}}", "舊谷", "舊谷"),
        ("zh", "{{tsl|en|Old Hill|舊山|山}}", "山", "舊山"),
        ("ru", "{{нп5|Старая долина|Старой долине|en|Old}}", "Старой долине", "Старая долина"),
    ],
)
def test_templates_that_are_links(language, wikitext, text, target):
    assert parse(f"a {wikitext} b", Site(language)) == (f"a {text} b", (Link(2, 2 + len(text), target),))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.wiki")), ids=lambda path: path.stem)
def test_golden_pages(path):
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    text, links = parse(path.read_text(encoding="utf-8"), Site(expected.get("language", "en")))
    assert text == expected["text"]
    assert [[link.start, link.end, link.target, link.fragment] for link in links] == expected["links"]


PIECES = words(
    "[[ ]] {{ }} {| |} {{{ }}} | || |- |+ ! !! ''' '' ''''' * # : ; = == === <ref> </ref> <ref/> <!-- --> <nowiki> "
    "</nowiki> <br> <div> </div> <table> </table> <poem> </poem> <math> </math> <gallery> </gallery> -{ }- [ ] http:// "
    "[http://a &lt; &amp; &nbsp; &#91; &#10; &#2; __TOC__ File:x Category:y fr: # a B é 漢 ( ) , ; . \" {{!}} {{'}}"
)
WIKITEXT = st.lists(
    st.sampled_from([*sorted(PIECES), *"\n\n\n   ab\t\r\0\x02\x03\x04\x05\x06\x0e\x0f\ud800\xa0"])
    | st.text(max_size=3),
    max_size=40,
).map("".join)


@given(WIKITEXT, st.sampled_from([EN, DE, Site("zh")]))
def test_any_text_gives_whole_links(wikitext, site):
    text, links = parse(wikitext, site)
    placed = [link for link in links if link.start >= 0]
    assert all(link.start == link.end == -1 for link in links[len(placed) :])
    assert all(0 <= link.start < link.end <= len(text) for link in placed)
    assert all(a.end <= b.start for a, b in pairwise(placed))
    assert all("\n" not in text[link.start : link.end] for link in placed)
    assert all(link.target for link in links)
    assert not set(text) & set("\r\0\x02\x03\x04\x05\x06\x0e\x0f\t\xa0")
    assert "\n\n" not in text
    assert text == text.strip("\n")


@given(
    st.lists(
        st.sampled_from(["[[Cat]]", "[[Dog|dogs]]", "word", "({{x}})", "<ref>[[R]]</ref>", "''", "\n", "\n* ", " "])
    )
)
def test_links_keep_their_order_and_anchors(pieces):
    text, links = parse("".join(pieces), EN)
    shown = [(text[link.start : link.end], link.target) for link in links if link.start >= 0]
    anchors = {"[[Cat]]": ("Cat", "Cat"), "[[Dog|dogs]]": ("dogs", "Dog")}
    wanted = [anchors[piece] for piece in pieces if piece in anchors]
    assert [target for _, target in shown] == [target for _, target in wanted]
    assert all(anchor.startswith(start) for (anchor, _), (start, _) in zip(shown, wanted, strict=True))  # and its trail


@given(st.text())
def test_titles_are_normal_once(title):
    once = resolve(title, EN)
    if once.kind == "article":
        assert normal_title(once.title, EN) == once.title or "%" in once.title or "&" in once.title


NESTED = [
    *(
        "[[",
        "{{",
        "{|\n",
        "<!--",
        "<ref>",
        "<nowiki>",
        "<table>",
        "[http://a ",
        "-{",
        "(",
        "''",
        "__",
        "== a\n",
        "&",
        "<a ",
    ),
    *("[[a|", "[[File:a|", "[[a|b [[c]] ", "{{a|[[b]]", "({{a}}", "}}", "]]", "|}", "\n|}", "http://", "= ", "[[<a "),
]


@pytest.mark.parametrize("piece", NESTED, ids=repr)
def test_time_is_linear(piece):
    closing = {"[": "]]", "{": "}}"}.get(piece[0], ")")
    for wikitext in (piece * 16_000, piece * 8_000 + closing * 8_000):
        start = time.process_time()
        parse(wikitext, EN)
        assert time.process_time() - start < 3  # measured: below 0.2 s


@given(st.lists(st.text(alphabet="aZé09 ,.'()–!?-_:#&%ßi\u200e\xa0", min_size=1)))
def test_the_short_way_to_a_title_is_the_long_one(targets):
    for site in (EN, Site("tr"), Site("en", first_letter=False)):
        resolved = [resolve(target, site) for target in targets]
        assert find_targets(targets, site) == [title[1:] if title.kind == "article" else None for title in resolved]
