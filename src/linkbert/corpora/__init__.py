"""Sources come in, a store of Documents goes out; a new source format is a new row of READERS."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from linkbert.corpora.reader import Reader
from linkbert.corpora.readers import html, jats, jsonl, markdown, mediawiki, parquet, pubmed, text, zim
from linkbert.corpora.readers.tree import is_tree, list_names
from linkbert.files import COMPRESSIONS, CutFileError, decompressed_blocks

READERS: dict[str, Reader] = {
    "jsonl": jsonl.READER,
    "markdown": markdown.READER,
    "mediawiki": mediawiki.READER,
    "parquet": parquet.READER,
    "pubmed": pubmed.READER,
    "html": html.READER,
    "jats": jats.READER,
    "text": text.READER,
    "zim": zim.READER,
}
log = logging.getLogger(__name__)
LOOKED_AT = 1_000  # files of a tree that decide what it holds


def find_reader(path: Path) -> str:
    """Say which reader a source is for: by its name, else by its first bytes; a tree by the names of its files.

    >>> find_reader(Path("notes.jsonl.xz"))
    'jsonl'
    """
    if is_tree(path):
        found = Counter(_by_suffix(name, trees=True) for name in list_names(path, LOOKED_AT))
        del found[""]
        if found:
            (reader, _), *others = found.most_common()
            if others:
                kinds = ", ".join(f"{count} for {other}" for other, count in others)
                log.warning(
                    "%s is read as %s; of its first files are also %s: name it again with --format for those",
                    path,
                    reader,
                    kinds,
                )
            return reader
        known = ", ".join(
            suffix for reader in READERS.values() if reader.trees for suffix in reader.suffixes + reader.inside
        )
        raise ValueError(f"{path} holds nothing that is known here: no file in it ends in one of {known}")
    name = path.name.lower()
    if found_by_name := _by_suffix(name.removesuffix(path.suffix.lower()) if path.suffix in COMPRESSIONS else name):
        return found_by_name
    try:
        head = next(decompressed_blocks(path), (b"", 0))[0].removeprefix(b"\xef\xbb\xbf").lstrip()[:4096]
    except CutFileError as error:
        raise ValueError(f"{error}: nothing can be read of it, fetch it again") from None
    if not head:
        raise ValueError(f"{path} is empty: there is no document in it")
    for reader, row in READERS.items():
        if any(head.startswith(mark) if len(mark) == 1 else mark in head for mark in row.marks):
            return reader
    raise ValueError(f"{path} is in no format that is known here: name one with --format ({', '.join(READERS)})")


def _by_suffix(name: str, *, trees: bool = False) -> str:
    """Name the reader of files with such a name, "" for none; inside of trees there are other names."""
    rows = ((key, row.suffixes + row.inside * trees) for key, row in READERS.items() if row.trees >= trees)
    return next((key for key, suffixes in rows if suffixes and name.lower().endswith(suffixes)), "")
