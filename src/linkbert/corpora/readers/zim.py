"""A Kiwix file (.zim) in, one Document an article out, by libzim; its HTML is read as the `html` reader does.

Entries are packed into compressed clusters, in no order of their paths; the planner looks up which cluster each article
is in, and articles are read cluster by cluster: 35 times as fast on a shuffled file. An id is an entry's path.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linkbert.corpora.reader import CUT, Reader, Record, Shard, Skipped
from linkbert.corpora.readers import html
from linkbert.corpora.resolve import Place, resolve
from linkbert.records import Redirect

if TYPE_CHECKING:
    import numpy as np

CLUSTERS, ENTRIES = 4, 10_000  # of a shard, at most; a cluster is some 2 MB of text
REDIRECT = 0xFFFF  # instead of the number of a media type


def plan(path: Path, _: html.Options) -> Iterator[Shard]:
    """Cut a file into shards of articles by the clusters they are in; ValueError if it is no whole ZIM file."""
    import numpy as np

    if not isinstance(path, Path):
        raise ValueError(f"{path} is read from disk only: fetch it first")
    _open(path)
    numbers, clusters = _list_articles(path)
    if not len(numbers):
        raise ValueError(f"{path} holds no articles (text/html)")
    size, start = path.stat().st_size, 0
    while start < len(numbers):
        stop = min(int(np.searchsorted(clusters, clusters[start] + CLUSTERS)), start + ENTRIES)
        begin, end = (size * number // len(numbers) for number in (start, stop))
        yield Shard(str(path), begin, end, extra=tuple(numbers[start:stop].tolist()))
        start = stop


def read(shard: Shard, options: html.Options, skipped: Skipped) -> Iterator[Record]:
    """Read the articles and redirects of a shard; what is left out is counted in `skipped` by its cause."""
    archive = _open(Path(shard.path))
    for number in shard.extra:
        try:
            entry = archive._get_entry_by_id(number)
            path, title = entry.path, entry.title
            other = entry.get_redirect_entry().path if entry.is_redirect else None
            data = b"" if other is not None else bytes(entry.get_item().content)
        except (RuntimeError, ValueError, IndexError, KeyError) as error:  # a C++ library's, and text that is not UTF-8
            skipped.note(CUT, f"{shard.path}: entry {number} ({error})")
            continue
        if other is not None:
            yield Redirect(path, other)
        elif page := html.read_page(path, data, options, skipped):
            page = page._replace(title=title or page.title, canonical="")  # an address of the site that was copied
            yield from html.make_records(path, page, Place(folder=path[: path.rfind("/") + 1]), [], resolve, skipped)


def _open(path: Path) -> Any:
    try:
        from libzim.reader import Archive
    except ImportError:
        raise ValueError(f"{path} needs the package libzim: pip install 'linkbert[zim]'") from None
    try:
        return Archive(path)
    except RuntimeError as error:
        raise ValueError(f"{path} is not a whole ZIM file ({error}): fetch it again") from None


def _list_articles(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """List the numbers of articles (in the order of their clusters) and redirects (first), and the cluster of each.

    libzim knows the clusters but does not tell. The format: https://wiki.openzim.org/wiki/ZIM_file_format.
    """
    import numpy as np

    file = np.memmap(path, np.uint8, "r")
    # Minor version, number of entries, where their table and that of media types are.
    minor, count, table, types = struct.unpack_from("<6xH16xI4xQ16xQ", bytes(file[:64]))
    names = bytes(file[types : types + 65_536]).split(b"\0\0")[0].split(b"\0")
    pages = [number for number, name in enumerate(names) if name.split(b";")[0].strip() == b"text/html"]
    try:
        entries = np.frombuffer(file, "<u8", count, table)
        if (entries > len(file) - 16).any():
            raise ValueError
    except ValueError:
        raise ValueError(f"{path} is damaged: its table of entries leads out of the file; fetch it again") from None
    entries = entries.astype(np.int64)
    kinds = file[entries] | file[entries + 1].astype(np.uint16) << 8
    clusters = sum(file[entries + 8 + i].astype(np.int64) << 8 * i for i in range(4))
    clusters = np.where(kinds == REDIRECT, -CLUSTERS, clusters)  # what stands there is the entry it leads to
    content = file[entries + 3] == ord("C" if minor else "A")
    (numbers,) = np.nonzero(content & np.isin(kinds, [REDIRECT, *pages]))
    numbers = numbers[np.argsort(clusters[numbers], kind="stable")]
    return numbers, clusters[numbers]


READER = Reader(plan=plan, read=read, options=html.Options, suffixes=(".zim",), marks=(b"ZIM\x04",))
