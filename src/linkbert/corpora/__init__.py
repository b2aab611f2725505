"""Sources come in, a store of Documents goes out; a new source format is a new row of READERS."""

from __future__ import annotations

from pathlib import Path

from linkbert.corpora import jsonl, mediawiki, pubmed, text
from linkbert.corpora.reader import Reader
from linkbert.files import COMPRESSIONS, CutFileError, decompressed_blocks

READERS: dict[str, Reader] = {
    "jsonl": jsonl.READER,
    "mediawiki": mediawiki.READER,
    "pubmed": pubmed.READER,
    "text": text.READER,
}


def find_reader(path: Path) -> str:
    """Say which reader a source is for, by its name and, where that leaves it open, by its first bytes.

    >>> find_reader(Path("notes.jsonl.xz"))
    'jsonl'
    """
    if path.is_dir() or ".tar" in path.suffixes or path.suffix == ".tgz":
        return "text"
    suffix = Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix
    match suffix.lower():
        case ".jsonl" | ".ndjson":
            return "jsonl"
        case ".txt" | ".md" | ".markdown":
            return "text"
    try:
        head = next(decompressed_blocks(path), (b"", 0))[0].removeprefix(b"\xef\xbb\xbf").lstrip()
    except CutFileError as error:
        raise ValueError(f"{error}: nothing can be read of it, fetch it again") from None
    if not head:
        raise ValueError(f"{path} is empty: there is no document in it")
    if b"<mediawiki" in head[:4096]:
        return "mediawiki"
    if b"<PubmedArticleSet" in head[:4096]:
        return "pubmed"
    if head.startswith(b"{"):
        return "jsonl"
    raise ValueError(f"{path} is in no format that is known here: name one with --format ({', '.join(READERS)})")
