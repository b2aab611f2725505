"""How fast a reader reads a source, on one core: `python benchmarks/readers.py SOURCE`; seconds of CPU."""

import argparse
import time
from pathlib import Path

from linkbert.corpora.reader import Skipped, load_reader, make_options
from linkbert.corpora.sources import find_reader, read_source
from linkbert.records import Document


def main() -> None:
    """Read a source some times over and print what came out and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--format")
    parser.add_argument("--columns")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    source = arguments.source
    name = arguments.format or find_reader(source)
    reader = load_reader(name)
    options = make_options([name], {"columns": arguments.columns} if arguments.columns else {})[name]
    files = [path for path in source.rglob("*") if path.suffix in reader.suffixes] if source.is_dir() else [source]
    size = sum(file.stat().st_size for file in files)
    for _ in range(arguments.rounds):
        documents = characters = links = 0
        skipped = Skipped()
        started = time.process_time()
        for record in read_source(name, source, options, skipped):
            if isinstance(record, Document):
                documents += 1
                characters += len(record.text)
                links += len(record.links)
        seconds = time.process_time() - started
        print(
            f"{name}: {documents:,} documents, {links:,} links, {characters / 1e6:.1f} M characters; "
            f"skipped {dict(skipped)}; {size / 1e6:.1f} MB in {seconds:.2f} s: {size / seconds / 1e6:.1f} MB/s"
        )


if __name__ == "__main__":
    main()
