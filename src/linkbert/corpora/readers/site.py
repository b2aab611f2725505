"""What a wiki says about itself, and what follows from it: which links lead to articles, and to which title.

The head of a dump (`<siteinfo>`) comes in as namespaces, case rule and language; titles in their normal form come out,
the form in which a link, a page and a redirect of one name are equal. What a dump does not declare is in wikis.toml.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html.entities import html5
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import unquote

FILE, CATEGORY, SPECIAL = 6, 14, -1


def read_table(name: str) -> dict[str, Any]:
    """Read a table of data of the readers: "wikis.toml"."""
    return tomllib.loads(files("linkbert.corpora.readers").joinpath(name).read_text(encoding="utf-8"))


def words(text: str) -> frozenset[str]:
    """Split a table of words; "_" in one stands for a space: "file file_talk" -> {"file", "file talk"}."""
    return frozenset(word.replace("_", " ") for word in text.split())


_WIKIS = read_table("wikis.toml")
LANGUAGES = words(_WIKIS["languages"])
PROJECTS = words(_WIKIS["projects"])
REDIRECT_WORDS = words(_WIKIS["redirect"])
CHARACTERS: dict[str, str] = _WIKIS["characters"]
NAMESPACES: dict[str, int] = _WIKIS["namespaces"]
_ALIASES = {name: int(key) for key, names in _WIKIS["aliases"].items() for name in words(names)}
_UNSPACED = words(_WIKIS["unspaced"])
_DISAMBIGUATIONS = words(_WIKIS["disambiguation_templates"])
_DISAMBIGUATION_TITLE = re.compile(rf"\((?:{'|'.join(map(re.escape, words(_WIKIS['disambiguation_titles'])))})\)$")
_DISAMBIGUATION_SWITCH = re.compile(r"__disambig__", re.IGNORECASE)
_TEMPLATE_NAME = re.compile(r"\{\{[ \n]*+([^{}|<>\[\]\n]{2,60})(?=[|}\n])")


class Title(NamedTuple):
    """Where the target of a link leads: kind ("article", "text" or "gone"), normal title, fragment.

    "article": a link to a page of the article namespace. "text": leads elsewhere, its text stands. "gone": a file, a
    category or a link to another language, of which nothing is shown in the text.
    """

    kind: str
    title: str
    fragment: str


@dataclass(frozen=True, eq=False)
class Site:
    """A wiki: `namespaces` maps a name in lower case (aliases too) to its number; English names are always known.

    `first_letter`: "cat" and "Cat" are one title (the default of MediaWiki); else titles are taken as they are.
    `subpages`: "[[/B]]" of A is A/B; articles of Wikipedia have none, and one is called "/dev/null".
    """

    language: str = "en"
    first_letter: bool = True
    namespaces: Mapping[str, int | None] = field(default_factory=dict)
    subpages: bool = True

    def namespace(self, prefix: str) -> int | None:
        """Return the number of the namespace called `prefix`, or None: "File" -> 6, "2001" -> None."""
        name = prefix.replace("_", " ").strip().lower()
        aliases = _ALIASES if self.language not in ("en", "simple") else {}
        return self.namespaces.get(name, NAMESPACES.get(name, aliases.get(name)))

    @property
    def trail(self) -> str:
        """Return the pattern of letters that continue a link behind its "]]": "[[bus]]es" shows "buses"."""
        letter = _WIKIS["trails"].get(self.language) or ("[a-z]" if self.language in _UNSPACED else r"[^\W\d_]")
        return f"{letter}*+"


_ENDS = {"object": r"\}\}\}[ ]*$", "macro": r"^\\end\b[^\n]*", "comment": r"\{:/(?:comment)?\}"}


def cut_out(text: str, gone: re.Pattern[str], by: str) -> str:
    """Replace what is no text: what `gone` finds, up to the end of what it opens (50,000 characters).

    An end that was looked for once is known to all that is open before it: a million marks without an end take no time.
    """
    parts, at, place, ends = list[str](), 0, 0, dict[str, re.Match[str] | None]()
    while found := gone.search(text, place):
        place, kind = found.end(), found.lastgroup or ""
        if kind:
            mark = re.escape(found[kind].lower())
            if mark not in ends or ((end := ends[mark]) and end.start() < place):
                form = _ENDS.get(kind, f"^{mark}[ ]*$" if kind == "fence" else f"</{mark}>")
                ends[mark] = re.compile(form, gone.flags).search(text, place)
            end = ends[mark]
            if end and end.start() - place <= 50_000:
                place = end.end()
            elif kind == "macro":
                place -= 1  # its line is gone alone
            else:
                place = found.start() + 1
                continue
        parts += [text[at : found.start()], by]
        at = place
    return "".join(parts) + text[at:]


_SUPERSCRIPT = re.compile(r"<sup(?<=([\w)])<sup)(?=[^<>]*+>\s*+((?:&minus;|[^\s<&])++))")


def is_exponent(before: str, raised: str) -> bool:
    """Return whether a superscript would join a number to what is before it: 6 of "10", -2 of "m", not 2 of "m"."""
    signed = before.isalnum() and re.match(r"(?:&minus;|[-+−–±])\w", raised)
    return bool(signed) or (raised[:1].isdigit() and (before.isdigit() or before == ")"))


def mark_exponents(source: str) -> str:
    """Write "^" before superscripts that would join a number: "10<sup>6</sup> m" -> "10^<sup>6</sup> m"."""
    return _SUPERSCRIPT.sub(lambda found: "^" * is_exponent(found[1], found[2]) + "<sup", source)


_SUBPAGE = re.compile(r"\[\[ *(?:((?:\.\./)+)|/(?!/))([^\[\]|#\n]*+)(#[^\[\]|\n]*+)?+(?=(\|?))")


def name_subpages(wikitext: str, page: str, known: Callable[[str], object] = bool) -> str:
    """Write links to subpages of a page, or from one upwards, whole where they are known, as MediaWiki shows them.

    >>> name_subpages("[[/C]], [[/C/]], [[../D|d]], [[../D/#e]], [[../]]", "A/B")
    '[[A/B/C|/C]], [[A/B/C|C]], [[A/D|d]], [[A/D#e|D#e]], [[A]]'
    """

    def name(link: re.Match[str]) -> str:
        up, path, place = link.groups("")[:3]
        above, bare = page.split("/")[: -up.count("/") or None], path.strip().rstrip("/")
        whole = "/".join([*above, *[bare] * bool(bare)])
        if not above or not (up or bare) or not known(whole):
            return link[0]
        shown = f"/{path}" if not up and bare == path.strip() else bare if path.rstrip()[-1:] == "/" else ""
        return f"[[{whole}{place}" + f"|{shown}{place}" * bool(shown and not link[4])

    return _SUBPAGE.sub(name, wikitext) if "[[/" in wikitext or "[[../" in wikitext else wikitext


_ENTITY = re.compile(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z][a-zA-Z0-9]{1,31}));")


def decode_entities(text: str) -> str:
    r"""Replace HTML's character references: "a&nbsp;b &lt; &#948;" -> "a\xa0b < δ"; unknown ones stay as they are."""
    return _ENTITY.sub(_entity, text)


def _entity(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name:
        return html5.get(name + ";", match[0])
    code = int(decimal) if decimal else int(hexadecimal, 16)
    if code < 32 or 127 <= code < 160:
        return " "  # no such character may stand in a page; some are our own marks
    return "\ufffd" if code > 0x10FFFF or 0xD800 <= code < 0xE000 else chr(code)


_SPACES = re.compile(r"[ _\t\n\r\u00a0\u1680\u180e\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_MARKS = re.compile("[\u200e\u200f\u202a-\u202e]")  # direction marks are ignored in titles
_IN_LANGUAGE = re.compile(r"[^:]*:\s*My[ _]?Language/", re.IGNORECASE)
_INVALID = re.compile(r"[\[\]{}|<>\x00-\x1f\x7f\ufffd]|~~~|%[0-9A-Fa-f]{2}|^.{0,9}://|^(?:\.{1,2}|/)/|^\.{1,2}$")


def normal_title(title: str, site: Site) -> str:
    """Bring a title to the one form in which a link and its page agree.

    "fall_of  Rome" -> "Fall of Rome"; "caf&eacute;" -> "Café"; "image:x.png" -> "File:x.png"'s form "File:X.png".
    """
    if "&" in title:
        title = decode_entities(title)
    if "%" in title:
        title = unquote(title, errors="replace")
    if not title.isascii():
        title = _MARKS.sub("", title)
    title = _SPACES.sub(" ", title).strip(" ")
    prefix, colon, rest = title.partition(":")
    if colon and (key := site.namespace(prefix)) is not None:
        return f"{_local_name(site, key) or prefix}:{first_letter(rest.strip(' '), site)}"
    return first_letter(title, site)


@lru_cache(256)
def _local_name(site: Site, key: int) -> str:
    names = (name for known in (site.namespaces, NAMESPACES) for name, number in known.items() if number == key)
    name = next(names, "")
    return name[:1].upper() + name[1:]


def first_letter(title: str, site: Site) -> str:
    """Make the first letter of a title a capital, if the wiki does: "éa" -> "Éa"."""
    if not site.first_letter or not title:
        return title
    first = title[0]
    if first == "i" and site.language in ("tr", "az", "kaa"):
        return "İ" + title[1:]
    upper = first.upper()
    if len(upper) > 1 or "ა" <= first <= "ჿ":  # ß, ŉ and Georgian letters have no capital of their own in titles
        return title
    return upper + title[1:]


_HARMLESS = r"[^ _&%:#~<>\[\]{}|\x00-\x1f\x7f-\xa0\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufffd]"
PLAIN = rf"[A-Za-z0-9]{_HARMLESS}*+(?: {_HARMLESS}++)*+"  # in normal form by its looks, if not too long
_is_plain = re.compile(PLAIN).fullmatch


def find_targets(targets: Iterable[str], site: Site) -> list[tuple[str, str] | None]:
    """Return where links lead, None where not to an article: ["cat#Diet", "fr:Chat"] -> [("Cat", "Diet"), None].

    The short way for titles that need no thought, nearly all; `resolve` for the others.
    """
    found: list[tuple[str, str] | None] = []
    for target in targets:
        if _is_plain(target) and len(target) < 256:
            if target[0] > "Z" and site.first_letter:
                target = first_letter(target, site)
            found.append((target, ""))
        else:
            kind, title, fragment = resolve(target, site)
            found.append((title, fragment) if kind == "article" else None)
    return found


@lru_cache(1 << 16)
def resolve(target: str, site: Site) -> Title:
    """Return where the target of a link leads: "cat#Diet" -> ("article", "Cat", "Diet"); "fr:Chat" -> ("gone", "", "").

    "2001: A Space Odyssey" is an article: "2001" is no namespace and no other wiki.
    """
    target = target.strip()
    if "&" in target:
        target = decode_entities(target)
    colon = target.startswith(":")
    if colon:
        target = target[1:].lstrip()
    name, _, fragment = target.partition("#")
    prefix, separator, _ = name.partition(":")
    if separator:
        key = site.namespace(prefix)
        code = prefix.strip().lower()
        if key == SPECIAL and (found := _IN_LANGUAGE.match(name)):  # the page, in the language of who reads it
            rest = target[found.end() :]
            there = resolve(rest, site) if not _IN_LANGUAGE.match(rest) else Title("text", "", "")
            return there if there.kind == "article" else Title("text", "", "")
        if key is not None:
            return Title("gone" if key in (FILE, CATEGORY) and not colon else "text", "", "")
        if code in LANGUAGES:
            return Title("text" if colon else "gone", "", "")
        if code in PROJECTS or not code:
            return Title("text", "", "")
    title = normal_title(name, site)
    if not title or len(title) > 255 or _INVALID.search(title):
        return Title("text", "", "")
    return Title("article", title, fragment.replace("_", " ").strip())


def is_disambiguation(title: str, wikitext: str, site: Site) -> bool:
    """Return whether a page only lists meanings: by a template, by __DISAMBIG__, or by its title."""
    if _DISAMBIGUATION_TITLE.search(title) or ("__" in wikitext and _DISAMBIGUATION_SWITCH.search(wikitext)):
        return True
    return any(_means_disambiguation(template, site.language) for template in set(_TEMPLATE_NAME.findall(wikitext)))


@lru_cache(1 << 14)
def _means_disambiguation(template: str, language: str) -> bool:
    name = template.replace("_", " ").strip().lower().rpartition(":")[2].strip()
    if any(word in name for word in ("needed", "inline", "link", "#")):  # they mark a link, not the page
        return False
    if name in _DISAMBIGUATIONS or f"{language}:{name}" in _DISAMBIGUATIONS:
        return True
    return name.startswith(("disambig", "begriffsklärung")) or name.endswith(" disambiguation")
