#!/usr/bin/env bash
# Simple English Wikipedia: a whole wiki of some 250,000 articles that one machine reads in minutes.
# Fetch it yourself (about 300 MB):
#   https://dumps.wikimedia.org/simplewiki/latest/simplewiki-latest-pages-articles-multistream.xml.bz2
set -euo pipefail
dump=${1:-simplewiki-latest-pages-articles-multistream.xml.bz2}
workers=$(nproc)

# Dumps are read in parallel, block by block. We never ran this, as we had no such dump; by the rates we measured on two cores (19 MB of XML
# and 18 MB of text a second, docs/log/readers.md) about 1.3 GB of XML take two minutes, tokens and graph half a minute more.
linkbert build "$dump" --to simplewiki --vocab train:30522 --workers "$workers"
linkbert check simplewiki
linkbert stats simplewiki

# The paper's tiny from scratch, by our recipe for two cores (docs/log/learning.md, "what a tiny encoder needs"): 200 M tokens, so give it a
# night. With GPUs, the paper's batches: recipe=paper weight_init=positional (never measured).
linkbert pretrain simplewiki --preset tiny --to simplewiki-tiny

# The same without links, the baseline that the paper compares with.
linkbert pretrain simplewiki --preset tiny --to simplewiki-tiny-bert baseline=bert
