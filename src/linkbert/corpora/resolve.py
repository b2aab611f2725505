"""What links of pages and notes say comes in, what the documents they mean are called goes out.

Of a page's link that is a path in the tree ("guide/a b.html") or, elsewhere, a whole address. A note has no suffix
("trees/Oak"), and a wiki link that names none of the tree is a target as it is, "[[oak]]". Nothing is looked up: a page
says by names() what else it is called, and the graph resolves those as redirects; of notes, see readers/pages.py.
"""

import re
from functools import lru_cache
from posixpath import join, normpath
from typing import NamedTuple
from unicodedata import normalize
from urllib import parse

SUFFIXES = (".html", ".htm", ".xhtml", ".shtml")
_INDEX = re.compile(r"(?:^|(?<=/))(?:index|default)\.(?:x|s)?html?$", re.IGNORECASE)
_PACKINGS = (".gz", ".xz", "bz2", "zst")
_PACKED = re.compile(r"(?<=html|.htm)\.(?:gz|bz2|xz|zst)$", re.IGNORECASE)
_MADE_FROM = re.compile(r"\.(?:md|mdx|markdown|ipynb|rst|a(?:scii)?doc)$", re.IGNORECASE)  # which links may still name
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_HOST = re.compile(r"(?:[a-z0-9_-]+\.)+(?!html?$)[a-z]{2,}(?::\d+)?", re.IGNORECASE)  # such as "www.example.org"
_NO_HOST = re.compile(r"[\s<>\[\]^|%\x00-\x1f]")
_CUT = re.compile(r"[\t\n\r]")


def unquote(address: str) -> str:
    """Decode what stands as "%C3%A9", or as in the days of Latin-1 as "%E9"."""
    found = parse.unquote(address)
    return parse.unquote(address, "cp1252") if "\ufffd" in found and "%" in address else found


def as_latin1(name: str) -> str:
    r"""Read what stands for bytes of a file's name that are not UTF-8 as Latin-1: "caf\xe9" -> "café"."""
    return re.sub(r"\\x([89a-f][0-9a-f])", lambda found: chr(int(found[1], 16)), name)


class Place(NamedTuple):
    """Where a page's links start from: its folder, on a host, or ("") in a tree of which no more is known."""

    host: str = ""
    folder: str = ""
    root: str = ""  # what lies under this address, "example.org/docs/", is in the tree,
    top: str = ""  # under this folder, "html/"


def names(page: str) -> list[str]:
    """List what else a page is called: without its suffix, as a folder, and an index page as its folder.

    >>> names("guide/index.html"), names("index.htm"), names("guide/a.html")
    (['guide/index', 'guide/', 'guide'], ['index', '/'], ['guide/a', 'guide/a/'])
    """
    found = [page.rpartition(".")[0]] if page.lower().endswith(SUFFIXES) else []
    if index := _INDEX.search(page):
        folder = page[: index.start()]
        found += [folder, folder[:-1]] if folder else ["/"]
    else:
        found += [f"{name}/" for name in found]
    return [name for name in found if name and name != page]


def find_place(page: str, canonical: str = "", base: str = "") -> Place:
    """Return where the links of a page start from, given its path in the tree, its canonical address and its <base>.

    A top folder with a host's name mirrors it; else a canonical address that ends with the page's path shows its tree.

    >>> find_place("html/library/os.html", "https://docs.python.org/3/library/os.html")
    Place(host='docs.python.org', folder='3/library/', root='docs.python.org/3/', top='html/')
    """
    top, slash, rest = page.partition("/")
    place = Place(folder=_folder(page))
    if slash and _HOST.fullmatch(top):
        place = Place(host := _normal_host(top), _folder(rest), f"{host}/", f"{top}/")
    elif (known := _locate(canonical, Place())) and known[0]:
        host, path, *_ = known
        for own, inside in ((page, ""), (rest, f"{top}/")) if rest else ((page, ""),):
            forms = [form.lstrip("/") for form in (own, *names(own))]
            if (form := next((form for form in forms if f"/{path}".endswith(f"/{form}")), None)) is not None:
                root = path.removesuffix(form)
                place = Place(host, root + _folder(own), f"{host}/{root}", inside)
                break
    if base and (start := _locate(base, place)):
        place = place._replace(host=start[0], folder=_folder(start[1]))
    return place


@lru_cache(1 << 14)
def resolve(href: str, place: Place) -> tuple[str, str] | None:
    """Return what a link means, a path in the tree or an https address, and its fragment.

    None for what names no page ("mailto:x") and for a place in the page itself ("#notes"). `..` beyond the top of the
    tree stays in front. Of an address elsewhere "http", "www.", the usual port, "index.html" and the last slash go.

    >>> resolve("../a%20b.html?print=1#top", Place(folder="guide/deep/"))
    ('guide/a b.html', 'top')
    >>> resolve("HTTP://www.Example.org:80/docs/index.html", Place())
    ('https://example.org/docs', '')
    """
    found = _locate(href, place)
    if found is None:
        other, _, fragment = href.strip().partition("#")  # an address of another kind, such as "zotero://select/x"
        scheme = _SCHEME.match(other)
        leads = scheme and scheme[1].lower() not in ("http", "https", *NOWHERE) and other.startswith("//", scheme.end())
        return (other, unquote(fragment)) if leads else None
    host, path, query, fragment = found
    address = f"{host}/{path}"
    inside = not host or (bool(place.root) and address.startswith(place.root))
    if inside:
        path = _PACKED.sub("", path) if path[-3:] in _PACKINGS else _MADE_FROM.sub("", path)
        target = place.top + f"{host}/{path}"[len(place.root) :] if host else path
    else:
        path = _INDEX.sub("", path)
        target = f"https://{host}/{path}".rstrip("/") if path else f"https://{host}/"
    if query and not path.lower().endswith(SUFFIXES):  # of a file the query changes nothing
        target += f"?{query}"
    return target or "/", fragment


def _locate(href: str, place: Place) -> tuple[str, str, str, str] | None:
    """Split an address into host, path, query and fragment, decoded and without dots; None where it names no page."""
    href = _CUT.sub("", href.strip())
    address, _, fragment = href.partition("#")
    address, _, query = address.partition("?")
    host, path = place.host, place.folder
    if (colon := address.find(":")) >= 0 and (scheme := _SCHEME.match(address[: colon + 1])):
        address = address[colon + 1 :]
        if scheme[1].lower() not in ("http", "https") or not address.startswith("//"):
            return None
    address = address.replace("\\", "/")
    if address.startswith("//"):
        written, _, path = address[2:].partition("/")
        host = _normal_host(written)
        if not host or _NO_HOST.search(host):
            return None
    elif address.startswith("/"):
        path = address[1:]
    elif address:
        path += address
    elif not query:
        return None
    path = _without_dots(unquote(path))
    if host:
        while path.startswith("../"):  # as browsers do: nothing is above a host
            path = path[3:]
    return host, path, unquote(query), unquote(fragment.partition(":~:")[0])


def _normal_host(written: str) -> str:
    host = written.rpartition("@")[2].lower()
    name, colon, port = host.rpartition(":")
    host = name if colon and port in ("", "80", "443") else host
    short = host.removeprefix("www.")
    return short if "." in short else host


def _folder(path: str) -> str:
    return path[: path.rfind("/") + 1]


def _without_dots(path: str) -> str:
    if "./" not in path and "//" not in path and path[:1] != "/" and path[-1:] != ".":
        return path
    plain = normpath(path.lstrip("/"))
    is_folder = path[path.rfind("/") + 1 :] in ("", ".", "..")
    return "" if plain == "." else plain + "/" * is_folder


# ---- notes

NOTE_SUFFIX = re.compile(r"\.(?:[qr]?md|mdx|mdwn|mkdn?|mdown|markdown|ipynb|html?)\Z", re.IGNORECASE)
SOURCE_SUFFIX = re.compile(rf"{NOTE_SUFFIX.pattern}|\.(?:rst|org|a(?:scii)?doc|docx)\Z", re.IGNORECASE)  # or made from
MEDIA = re.compile(
    r"\.(?:png|jpe?g|gif|svg|webp|bmp|avif|tiff?|ico|mp3|mp4|m4a|ogg|wav|flac|webm|mov|mkv|canvas)\Z", re.IGNORECASE
)
OF_PELICAN = re.compile(r"^(?:\{|\||%7B)(?:filename|static|attach|index)(?:\}|\||%7D)", re.IGNORECASE)
NOWHERE = {  # schemes whose addresses are no documents
    *("about", "blob", "callto", "cid", "data", "geo", "irc", "ircs", "javascript", "magnet", "mailto", "mid", "sip"),
    *("sms", "tel", "xmpp"),
}
_SCHEME_OR_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|//")


def note_name(name: str) -> str:
    """Write a name as wiki links lead to it: "Oak" -> "[[oak]]"."""
    return f"[[{normalize('NFC', name).casefold()}]]"


def note_path(path: str, folder: str) -> str:
    """Write a path, seen from a folder, as notes are called.

    >>> note_path("../Oak.md", "trees/old"), note_path("/trees/", "trees"), note_path("..", "trees")
    ('trees/Oak', 'trees', '.')
    """
    whole = path.lstrip("/") if path.startswith("/") else join(folder, path)
    return normalize("NFC", SOURCE_SUFFIX.sub("", normpath(whole or ".")))


def resolve_in_note(address: str, folder: str) -> tuple[str, str] | None:
    """Return what an address in a note means, and its fragment; None where it leads to no document."""
    path, _, fragment = address.partition("#")
    if scheme := _SCHEME_OR_HOST.match(path):
        leads = scheme[0][:-1].lower() not in NOWHERE and not MEDIA.search(path)
        return (path, unquote(fragment)) if leads else None
    path = unquote(path.partition("?")[0])
    if not path or MEDIA.search(path):
        return None
    return note_path(path, folder), unquote(fragment)
