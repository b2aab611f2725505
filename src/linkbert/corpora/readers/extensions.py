"""What tools add to Markdown comes in, CommonMark goes out: admonitions and tabs as text, links of templates as links.

A source is changed by lines and by marks before it is parsed, code too (which is dropped anyway). What can only be told
from code spans, such as "{{ x }}", the rules of the parser take out: see markdown.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINK = re.compile(  # a place for an address, and one that has marks of templates in it
    r"""(\]\(\s*|^\[[^\]\n]+\]:[ ]*|(?:href|src|to)=["']?)"""
    r"""<?([^\s<>(){}"']{0,500}(?:(?:\{\{.{0,300}?\}\}|\{%.{0,300}?%\})[^\s<>(){}"']*)+)>?""",
    re.MULTILINE,
)
_PIECE = re.compile(r"\{[{%].*?[%}]\}+")
_CALL = re.compile(
    r"""\{[{%][<%-]?\s*(\w[\w.]*)?\s*(?:path=)?(?:"([^"]*)"|'([^']*)'|`([^`]*)`|["'`]?((?:[^\s"'`|%>}]|%[0-9A-Fa-f]{2})*))"""
)
_BASE = re.compile(r"base_?url|site\.url|root|base\b|relative")
_CODE = re.compile(
    r"\{[{%][<%-]?\s*+(/|end)?\s*+(highlight|code-toggle|code|mermaid|comment)\b[^}\n]{0,300}\}{1,2}", re.IGNORECASE
)
_ADMONITION = re.compile(r'( *)(?:(?:!!!|\?\?\?\+?)[ ]++[\w -]*+(?:"(.*)")?|===[!+]*+[ ]++"(.*)")\s*+$')
_INDENTED = ("!!! ", "???", '=== "', "===!", "===+")
_OUTLINE = re.compile(r"#(?:(?<=^#)|(?<=^- #)).*\n[ \t]+[-*+] ", re.MULTILINE)  # fast: it starts with a letter
_ITEM = re.compile(r"[ \t]+[-*+] ")
_LINES = re.compile(  # whole lines: colons of a directive and its title, or marks that are no text
    r"^[ \t]*:{3,}+[ \t]*+(?:\{?[\w.-]++\}?)?+(?:\[(?P<label>[^\]\n]*)\]|(?P<title>[^\n{:]++))?(?:\{.*)?$"
    r"|^[ \t]*(?:\*\[[^\]\n]+\]:.*|;?-{1,2}8<-{1,2}.*|/{3,}.*|\[?\[_?TOC_?\]\]?)$",
    re.MULTILINE | re.IGNORECASE,
)
_NOTE_ADDRESS = re.compile(r"\]\((\[\[[^\[\]\n]+\]\])\)")
_BLOCK = re.compile(r"(?<!\]\()\(\(([0-9a-f]{8}-[0-9a-f-]{27})\)\)")
_ROW, _CELL_LINK = (
    re.compile(r"^[ ]{0,3}\|.*\[\[.*", re.MULTILINE),
    re.compile(r"(\[\[[^\[\]|\n\\]+)\|(?=[^\[\]|\n]*\]\])"),
)
_FENCE = re.compile(r"(?<=>)\n(?=[ ]{4,}(?:```|~~~))")
_EMBED = re.compile(r"\{\{(?:embed|\[\[embed\]\]):? *!?(\[\[[^\[\]\n]*\]\]) *\}\}")


def to_commonmark(source: str) -> str:
    r"""Write the text of a page without what tools add.

    >>> to_commonmark('!!! note "Mind"\n    the [gap]({{< relref "gap" >}})')
    'Mind\n\nthe [gap](gap.md)'
    """
    if "{{" in source or "{%" in source:
        source = _EMBED.sub(r"!\1", _LINK.sub(_put_address, _without_code(source)))
    if ">\n    " in source:  # a tag is no paragraph that a fence continues
        source = _FENCE.sub("\n\n", source)
    if "((" in source:
        source = _BLOCK.sub(r"![[\1]]", source)
    if "[[" in source and "\n|" in source:  # the bar of a link parts no cells
        source = _ROW.sub(lambda row: _CELL_LINK.sub(r"\1\|", row[0]), source)
    if "]([[" in source:
        source = _NOTE_ADDRESS.sub(r"](<\1>)", source)
    if any(mark in source for mark in (":::", "*[", "8<", "///", "[TOC", "[toc", "[_")):
        source = _LINES.sub(lambda line: f"\n{line['label'] or line['title'] or ''}\n", source)
    if any(mark in source for mark in _INDENTED) or _OUTLINE.search(source):
        source = "\n".join(_dedent(source.split("\n")))
    return source


def _put_address(found: re.Match[str]) -> str:
    address = _PIECE.sub(lambda piece: _evaluate(piece[0]), found[2])
    if (
        address[:1] in ("/", ".") and "\0" in address
    ):  # such as "/docs/{{< version >}}/setup": the nearest page that ends so
        address = "/" + address.rpartition("\0")[2].lstrip("/")
    address = address.replace("\0", "https://template.invalid" if address[:1] == "\0" else "template")
    return f"{found[1]}<{address}>" if found[1][0] == "]" else found[1] + address


def _evaluate(piece: str) -> str:
    r"""Return the path that a template's mark stands for, "\0" for what only the tool knows."""
    call = _CALL.match(piece)
    name, *paths = call.groups("") if call else ("", "")
    path = "".join(paths)
    if name in ("ref", "relref"):
        page, mark, fragment = path.partition("#")
        return page + ".md" * bool(page and not re.search(r"\.\w+$|/$", page)) + mark + fragment
    if name in ("link", "post_url"):
        return f"/{path}" if name == "link" else f"/_posts/{path}.md"
    if quoted := re.search(r"""["'](/[^"']*)["']""", piece):
        return quoted[1]
    return "" if _BASE.search(piece) else "\0"


def _without_code(source: str) -> str:
    """Take out what stands between the marks of templates that show code."""
    parts, at, opened = [], 0, None
    for mark in _CODE.finditer(source):
        if opened is None and not mark[1] and not re.search(r"/\s*[>%]", mark[0]):
            opened = mark
        elif opened is not None and mark[1] and mark[2].lower() == opened[2].lower():
            parts.append(source[at : opened.start()])
            at, opened = mark.end(), None
    return "".join(parts) + source[at:]


def _dedent(lines: list[str]) -> Iterator[str]:
    """Yield lines, the bodies of admonitions, tabs and outlines as far to the left as what opens them."""
    around: list[int] = []  # indentation of each that is open
    outline = heading = ""  # what the items below a heading are indented by
    for line in lines:
        words = line.lstrip(" ")
        indent = len(line) - len(words)
        if words:
            while around and indent < around[-1] + 4:
                around.pop()
        line = line[4 * len(around) :]
        if found := _ADMONITION.match(line):
            around.append(indent)
            yield found[1] + (found[2] or found[3] or "")
            yield ""
            continue
        if heading and (item := _ITEM.match(line)):
            outline = item[0][:-2]
        elif not line.startswith(outline) or not words:
            outline = ""
        heading = line if line[:1] == "#" or (line.startswith("- #")) else ""
        yield line.removeprefix(outline)
