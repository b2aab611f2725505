"""The nouns of the project: a reader gives Documents and Redirects; a pair of segments has one of three relations.

The first two are BERT's next-sentence labels (0: B follows A, 1: B is random): its head can start two rows of ours.
"""

from dataclasses import dataclass

CONTIGUOUS, RANDOM, LINKED = 0, 1, 2
RELATIONS = ("contiguous", "random", "linked")
IGNORED = -100  # a label or relation that counts for nothing: what fills a batch up to its shape


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a document: `text[start:end]` is its anchor, and `start = end = -1` a link of the whole document.

    `target` is in the source's own normal form (a title, a PMID, a path); `fragment` is the section it names, or "".
    """

    start: int
    end: int
    target: str
    fragment: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A text and its links; `id` is unique in a store and is what links resolve to.

    `disambiguation` marks a page that only lists meanings: links to it are dropped. `sections` are places that a link's
    fragment may name, each a name and a character (ids of a web page, say); a line of the text may be named without.
    """

    id: str
    title: str
    text: str
    links: tuple[Link, ...] = ()
    disambiguation: bool = False
    sections: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another name of a document: a link to `source` means `target`."""

    source: str
    target: str
    fragment: str = ""
