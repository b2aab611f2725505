r"""A folder or an archive of plain files in, one Document a file out, without links: books, for example.

The id is the path inside the source without its suffix, the title the file's name. Lines that were wrapped at a column
are joined again (a line break ends a sentence in this project); a blank line always starts a new line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from linkbert.corpora.reader import NO_TEXT, Reader, Skipped, option
from linkbert.corpora.readers.streams import LARGEST_HELP, check_largest
from linkbert.corpora.sources import decode_text
from linkbert.records import Document

WRAPPED = range(45, 101)  # characters of a line that was broken because it was full


@dataclass(frozen=True, slots=True)
class Options:
    """The options of plain text."""

    largest: int = option(0, LARGEST_HELP)

    def __post_init__(self) -> None:
        check_largest(self)


def read_file(name: str, data: bytes, _: Options, skipped: Skipped) -> Iterator[Document]:
    """Read the Document of a file; `skipped` counts files that are not UTF-8 or hold no text."""
    path = PurePosixPath(name)
    if text := join_lines(decode_text(data, name, skipped)):
        yield Document(str(path.with_suffix("")), path.stem, text)
    else:
        skipped.note(NO_TEXT, name)


def join_lines(text: str) -> str:
    r"""Return a text with a line for each paragraph.

    >>> join_lines("A line that is as long as a wrapped one is, or\nnearly.\n\nAnother.\nA verse.")
    'A line that is as long as a wrapped one is, or nearly.\nAnother.\nA verse.'
    """
    paragraphs: list[list[str]] = []
    full = False  # whether the line before was broken because it was full
    for raw in text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").split("\n"):
        line = raw.strip()
        if line and full:
            paragraphs[-1].append(line)
        elif line:
            paragraphs.append([line])
        full = len(raw) in WRAPPED and bool(line)
    return "\n".join(map(" ".join, paragraphs))


READER = Reader(read_file=read_file, options=Options, suffixes=(".txt",))
