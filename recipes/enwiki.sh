#!/usr/bin/env bash
# English Wikipedia with the paper's base setting: 7 million articles, 24 GB of bz2, 6.5 to 7 billion WordPieces, some 200 million links.
# Fetch it yourself:
#   https://dumps.wikimedia.org/enwiki/latest/enwiki-latest-pages-articles-multistream.xml.bz2
# and an encoder to continue, as the paper does (config.json, model.safetensors, vocab.txt of bert-base-cased).
# We ran nothing of this recipe at this size. By the rates we measured on two cores (19 MB of XML and 18 MB of text a
# second, docs/log/readers.md; the graph as in docs/scale.md) the build takes some 1.5 hours for the documents, 20 minutes for the tokens and 20 for the graph; more cores share the
# first two. Training: the paper took 4 days on 4 x A100; our code has never run on a GPU.
set -euo pipefail
dump=${1:-enwiki-latest-pages-articles-multistream.xml.bz2}
encoder=${2:-bert-base-cased}

# About 100 GB of XML. The build may be stopped and run again at any time. Disk: some 40 GB for the
# documents, 14 GB for the tokens, 5 GB for links and graph, and as much again for the graph's join while it runs.
linkbert build "$dump" --to enwiki --vocab "$encoder" --workers "$(nproc)"
linkbert check enwiki

# What the model will see, before a GPU is spent on it.
linkbert show enwiki --preset base --instances 3
linkbert stats enwiki --preset base

# The paper: 40,000 steps of 2,048 pairs at 512 tokens, 4 days on 4 x A100. One process a GPU:
torchrun --nproc-per-node "${GPUS:-4}" --no-python \
    linkbert pretrain enwiki --preset base --to enwiki-base init="$encoder" compile=on

# And without links, for as many steps: the comparison of the paper's table.
torchrun --nproc-per-node "${GPUS:-4}" --no-python \
    linkbert pretrain enwiki --preset base --to enwiki-base-bert init="$encoder" compile=on baseline=bert
