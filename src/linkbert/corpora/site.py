"""What a wiki says about itself, and what follows from it: which links lead to articles, and to which title.

The head of a dump (`<siteinfo>`) comes in as namespaces, case rule and language; titles in their normal form come out,
the form in which a link, a page and a redirect of one name are equal. A dump does not declare aliases of namespaces,
interwiki prefixes, the letters of link trails or the words for "redirect": those are compact tables here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html.entities import html5
from typing import NamedTuple
from urllib.parse import unquote

MEDIA, FILE, CATEGORY = -2, 6, 14

# Understood by every MediaWiki, whatever its language; then names that big wikis keep as aliases.
_CANONICAL = {
    "media": -2, "special": -1, "talk": 1, "user": 2, "user talk": 3, "project": 4, "project talk": 5, "file": 6,
    "file talk": 7, "mediawiki": 8, "mediawiki talk": 9, "template": 10, "template talk": 11, "help": 12,
    "help talk": 13, "category": 14, "category talk": 15, "module": 828, "module talk": 829, "timedtext": 710,
    "image": 6, "image talk": 7, "wikipedia": 4, "wikipedia talk": 5, "wp": 4, "wt": 5, "portal": 100,
}  # fmt: skip
_ALIASES = {
    FILE: "archivo attēls afbeelding bild bilde billede berkas bestand datei dosiero dosya datoteka delwedd elŝutaĵo "
    "fail failas fails ficheiro fichier fichièr fil fitxer fitxategi fájl grafika imagem imagen immagine imatge "
    "imaxe imaxen izobraženje kép mynd obrazek obraz obrázek pilt plik skrá slika soubor súbor tiedosto "
    "vaizdas vikiö файл файла выява зображення изображение слика датотека податотека αρχείο εικόνα "
    "קובץ תמונה ملف صورة پرونده تصویر चित्र 파일 그림 ファイル 画像 文件 档案 檔案 图像 圖像 ไฟล์ ภาพ",
    CATEGORY: "categoria categorie categoría catégorie catègoria kategori kategoria kategorie kategorija kategorio "
    "kategorija kategoreja kategória kategoriija luokka kategooria kategorija thể_loại категория категорія катэгорыя "
    "категорија κατηγορία קטגוריה تصنيف رده श्रेणी 분류 カテゴリ 分类 分類 หมวดหมู่",
}

# Wikipedias by language code, then projects: "[[fr:Chat]]" is a language link, "[[wikt:cat]]" leads out.
LANGUAGES = frozenset(
    ["aa", "ab", "ace", "ady", "af", "ak", "als", "alt", "am", "ami", "an", "ang", "ar", "arc", "ary", "arz", "as", "ast", "atj", "av", "avk", "awa", "ay", "az", "azb", "ba", "ban", "bar", "bat-smg", "bcl", "be", "be-tarask", "be-x-old", "bg", "bh", "bi", "bjn", "blk", "bm", "bn", "bo", "bpy", "br", "bs", "bug", "bxr", "ca", "cbk-zam", "cdo", "ce", "ceb", "ch", "cho", "chr", "chy", "ckb", "co", "cr", "crh", "cs", "csb", "cu", "cv", "cy", "da", "dag", "de", "din", "diq", "dsb", "dty", "dv", "dz", "ee", "el", "eml", "en", "eo", "es", "et", "eu", "ext", "fa", "ff", "fi", "fiu-vro", "fj", "fo", "fr", "frp", "frr", "fur", "fy", "ga", "gag", "gan", "gcr", "gd", "gl", "glk", "gn", "gom", "gor", "got", "gu", "guw", "gv", "ha", "hak", "haw", "he", "hi", "hif", "ho", "hr", "hsb", "ht", "hu", "hy", "hyw", "hz", "ia", "id", "ie", "ig", "ii", "ik", "ilo", "inh", "io", "is", "it", "iu", "ja", "jam", "jbo", "jv", "ka", "kaa", "kab", "kbd", "kbp", "kcg", "kg", "ki", "kj", "kk", "kl", "km", "kn", "ko", "koi", "kr", "krc", "ks", "ksh", "ku", "kv", "kw", "ky", "la", "lad", "lb", "lbe", "lez", "lfn", "lg", "li", "lij", "lld", "lmo", "ln", "lo", "lrc", "lt", "ltg", "lv", "mad", "mai", "map-bms", "mdf", "mg", "mh", "mhr", "mi", "min", "mk", "ml", "mn", "mni", "mnw", "mr", "mrj", "ms", "mt", "mus", "mwl", "my", "myv", "mzn", "na", "nah", "nap", "nds", "nds-nl", "ne", "new", "ng", "nia", "nl", "nn", "no", "nb", "nov", "nqo", "nrm", "nso", "nv", "ny", "oc", "olo", "om", "or", "os", "pa", "pag", "pam", "pap", "pcd", "pcm", "pdc", "pfl", "pi", "pih", "pl", "pms", "pnb", "pnt", "ps", "pt", "pwn", "qu", "rm", "rmy", "rn", "ro", "roa-rup", "roa-tara", "ru", "rue", "rw", "sa", "sah", "sat", "sc", "scn", "sco", "sd", "se", "sg", "sh", "shi", "shn", "si", "simple", "sk", "skr", "sl", "sm", "smn", "sn", "so", "sq", "sr", "srn", "ss", "st", "stq", "su", "sv", "sw", "szl", "szy", "ta", "tay", "tcy", "te", "tet", "tg", "th", "ti", "tk", "tl", "tn", "to", "tpi", "tr", "trv", "ts", "tt", "tum", "tw", "ty", "tyv", "udm", "ug", "uk", "ur", "uz", "ve", "vec", "vep", "vi", "vls", "vo", "wa", "war", "wo", "wuu", "xal", "xh", "xmf", "yi", "yo", "za", "zea", "zh", "zh-classical", "zh-cn", "zh-min-nan", "zh-tw", "zh-yue", "zu"]
)
PROJECTS = frozenset(
    ["w", "wikipedia", "wikt", "wiktionary", "s", "wikisource", "b", "wikibooks", "n", "wikinews", "q", "wikiquote", "v", "wikiversity", "voy", "wikivoyage", "species", "wikispecies", "c", "commons", "d", "wikidata", "m", "meta", "metawikimedia", "metawikipedia", "mw", "mediawikiwiki", "foundation", "wmf", "wikimedia", "incubator", "outreach", "oldwikisource", "phab", "phabricator", "bugzilla", "mediazilla", "gerrit", "toollabs", "tools", "toolforge", "doi", "hdl", "arxiv", "imdbname", "imdbtitle", "google", "rfc", "wikia", "fandom", "uncyclopedia", "otrs", "ticket", "usability", "strategy", "testwiki", "translatewiki", "betawiki", "wikitech", "f", "wikifunctions"]
)

# Letters that, right behind "]]", belong to the link. Elsewhere: all letters of the writing system.
_TRAILS = {
    "en": "[a-z]", "simple": "[a-z]", "it": "[a-zàéèíîìóòúù]", "pt": "[áâãàéêẽçíòóôõq̃úüűũa-z]", "de": "[äöüßa-z]",
    "fr": "[a-zàâçéèêîôûäëïöüùÇÉÂÊÎÔÛÄËÏÖÜÀÈÙ]", "es": "[a-záéíóúñ]", "nl": "[a-zäöüïëéèà]", "ca": "(?:[a-zàèéíòóúç·ïü]|'(?!'))",
    "zh": "(?!)[a-z]",
}  # fmt: skip
_UNSPACED = frozenset(
    ["ja", "ko", "zh", "zh-classical", "zh-yue", "yue", "wuu", "gan", "cdo", "hak", "nan", "zh-min-nan", "lzh", "th", "lo", "km", "my", "bo", "dz", "ii"]
)

REDIRECT_WORDS = ["REDIRECT", "WEITERLEITUNG", "REDIRECTION", "REDIRECCIÓN", "REDIRECCION", "RINVIA", "RINVIO", "REDIRECIONAMENTO", "DOORVERWIJZING", "PATRZ", "PRZEKIERUJ", "TAM", "ПЕРЕНАПРАВЛЕНИЕ", "ПЕРЕНАПР", "ПЕРЕНАПРАВЛЕННЯ", "OMDIRIGERING", "OHJAUS", "UUDELLEENOHJAUS", "PŘESMĚRUJ", "PRESMERUJ", "ÁTIRÁNYÍTÁS", "REDIRECTEAZA", "YÖNLENDİRME", "YÖNLENDİR", "ΑΝΑΚΑΤΕΥΘΥΝΣΗ", "ПРЕНАСОЧВАНЕ", "ВИЖ", "ПРЕУСМЕРИ", "PREUSMERI", "PREUSMJERI", "PREUSMERITEV", "ПРЕНАСОЧУВАЊЕ", "ВИДИ", "SUUNA", "PERADRESAVIMAS", "הפניה", "تحويل", "تغییر_مسیر", "تغییرمسیر", "अनुप्रेषित", "पुनर्प्रेषित", "転送", "リダイレクト", "転送", "重定向", "重新導向", "重新导向", "넘겨주기", "ĐỔI", "ALIH", "LENCONG", "เปลี่ยนทาง", "REDIRECCIÓ", "BIRZUZENDU", "გადამისამართება", "ՎԵՐԱՀՂՈՒՄ", "İSTİQAMƏTLƏNDİRMƏ", "ПЕРАНАКІРАВАННЕ", "ПЕРАНАКІРАВАНЬНЕ", "ALIDIREKTI", "AIL-CYFEIRIO", "ATHSHEOLADH", "TILVÍSUN", "পুনর্নির্দেশ", "வழிமாற்று", "దారిమార్పు", "पुनर्निर्देशन", "തിരിച്ചുവിടുക", "ADKAS", "REDIREKTE", "VIDARESEND", "VIDERESTIL"]

# Templates that mark a page as a list of meanings, on the larger Wikipedias (lower case).
_DISAMBIGUATIONS = frozenset(
    ["dab", "dis", "disamb", "disambig", "disambigua", "disambiguation", "disambiguasi", "disambigs", "disambiga", "geodis", "hndis", "hn dis", "roaddis", "schooldis", "mil-unit-dis", "numberdis", "letterdis", "callsigndis", "hospitaldis", "mathdab", "begriffsklärung", "bks", "homonymie", "homonyme", "paronymie", "patronymie", "toponymie", "internationalisation", "desambiguación", "desambiguacion", "desambig", "des", "desambiguação", "desambiguació", "homonimia", "dp", "doorverwijspagina", "dubbelsinnig", "ujednoznacznienie", "strona ujednoznaczniająca", "неоднозначность", "многозначность", "однофамильцы", "список однофамильцев", "неоднозначність", "багатозначність", "неадназначнасць", "пояснение", "вишезначна одредница", "појаснување", "razločitev", "razvrstavanje", "višeznačna odrednica", "čvor", "rozcestník", "rozlišovacia stránka", "egyért", "egyértelműsítő lap", "dezambiguizare", "anlam ayrımı", "anlamayrımı", "αποσαφήνιση", "täsmennyssivu", "förgrening", "gren", "gaffel", "peker", "pekerside", "flertydig", "flertydig titel", "aðgreining", "täpsustuslehekülg", "täpsustus", "nozīmju atdalīšana", "nuorodinis straipsnis", "nuodugniau", "apartigilo", "aimai", "曖昧さ回避", "人名の曖昧さ回避", "地名の曖昧さ回避", "消歧义", "消歧義", "消歧义页", "동음이의", "동음이의어", "định hướng", "trang định hướng", "توضيح", "ابهام\u200cزدایی", "ابهام زدایی", "פירושונים", "แก้กำกวม", "बहुविकल्पी शब्द", "দ্ব্যর্থতা নিরসন", "բազմիմաստություն", "მრავალმნიშვნელოვანი", "argipen", "homonimoj", "gwahaniaethu"]
)  # fmt: skip
_CONTENT_MARKED = re.compile(r"__disambig__", re.IGNORECASE)
_TEMPLATE_NAME = re.compile(r"\{\{[ \n]*+([^{}|<>\[\]\n]{2,60})(?=[|}\n])")
_DISAMBIGUATION_TITLE = re.compile(
    r"\((?:disambiguation|Begriffsklärung|homonymie|desambiguación|desambiguação|disambigua|doorverwijspagina|"
    r"ujednoznacznienie|значения|значення|曖昧さ回避|消歧义|消歧義|동음이의|anlam ayrımı|förgrening|rozcestník)\)$"
)


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
    """

    language: str = "en"
    first_letter: bool = True
    namespaces: Mapping[str, int] = field(default_factory=dict)

    def namespace(self, prefix: str) -> int | None:
        """Return the number of the namespace called `prefix`, or None: "File" -> 6, "2001" -> None."""
        name = prefix.replace("_", " ").strip().lower()
        key = self.namespaces.get(name)
        return _known_namespaces().get(name) if key is None else key

    @property
    def trail(self) -> str:
        """Return the pattern of letters that continue a link behind its "]]": "[[bus]]es" shows "buses"."""
        letter = _TRAILS.get(self.language) or ("[a-z]" if self.language in _UNSPACED else r"[^\W\d_]")
        return f"{letter}*+"


@lru_cache(1)
def _known_namespaces() -> dict[str, int]:
    aliases = {name.replace("_", " "): key for key, names in _ALIASES.items() for name in names.split()}
    return aliases | _CANONICAL


_ENTITY = re.compile(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z][a-zA-Z0-9]{1,31}));")


def decode_entities(text: str) -> str:
    """Replace HTML's character references: "a&nbsp;b &lt; &#948;" -> "a\xa0b < δ"; unknown ones stay as they are."""
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
_INVALID = re.compile(r"[\[\]{}|<>\x00-\x1f\x7f\ufffd]|~~~|%[0-9A-Fa-f]{2}")


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
        return f"{_local_name(site, key) or prefix}:{_first_letter(rest.strip(' '), site)}"
    return _first_letter(title, site)


@lru_cache(256)
def _local_name(site: Site, key: int) -> str:
    names = [name for name, number in site.namespaces.items() if number == key]
    names += [name for name, number in _CANONICAL.items() if number == key]
    return names[0][:1].upper() + names[0][1:] if names else ""


def _first_letter(title: str, site: Site) -> str:
    if not site.first_letter or not title:
        return title
    first = title[0]
    if first == "i" and site.language in ("tr", "az", "kaa"):
        return "İ" + title[1:]
    upper = first.upper()
    if len(upper) > 1 or "ა" <= first <= "ჿ":  # ß, ŉ and Georgian letters have no capital of their own in titles
        return title
    return upper + title[1:]


@lru_cache(1 << 16)
def resolve(target: str, site: Site) -> Title:
    """Say where the target of a link leads: "cat#Diet" -> ("article", "Cat", "Diet"); "fr:Chat" -> ("gone", "", "").

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
        if key is not None:
            return Title("gone" if key in (FILE, CATEGORY) and not colon else "text", "", "")
        if code in LANGUAGES:
            return Title("text" if colon else "gone", "", "")
        if code in PROJECTS or not code:
            return Title("text", "", "")
    title = normal_title(name, site)
    if not title or len(title) > 255 or _INVALID.search(title) or title in (".", "..") or title[:2] in ("./", "//"):
        return Title("text", "", "")
    if title.startswith("../") or "://" in title[:12]:
        return Title("text", "", "")
    return Title("article", title, fragment.replace("_", " ").strip())


def is_disambiguation(title: str, wikitext: str) -> bool:
    """Tell whether a page only lists meanings: by a template, by __DISAMBIG__, or by its title."""
    if _DISAMBIGUATION_TITLE.search(title) or ("__" in wikitext and _CONTENT_MARKED.search(wikitext)):
        return True
    return any(map(_names_disambiguation, _TEMPLATE_NAME.findall(wikitext)))


@lru_cache(1 << 14)
def _names_disambiguation(template: str) -> bool:
    name = template.replace("_", " ").strip().lower().rpartition(":")[2].strip()
    if "needed" in name or "inline" in name or "link" in name:
        return False
    return (
        name in _DISAMBIGUATIONS or name.startswith(("disambig", "begriffsklärung")) or name.endswith(" disambiguation")
    )
