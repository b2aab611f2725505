#!/usr/bin/env bash
# Simple English Wikipedia: a whole wiki of some 250,000 articles that one machine reads in minutes.
# Fetch it yourself (about 300 MB):
#   https://dumps.wikimedia.org/simplewiki/latest/simplewiki-latest-pages-articles-multistream.xml.bz2
set -euo pipefail
dump=${1:-simplewiki-latest-pages-articles-multistream.xml.bz2}
workers=$(nproc)

# Dumps are read in parallel, block by block. Never run by us, the dump is out of our reach; by the rates we measured on two cores (19 MB of XML
# and 18 MB of text a second, docs/log.md) about 1.3 GB of XML take two minutes, tokens and graph half a minute more.
linkbert build "$dump" --to simplewiki --vocab train:30522 --workers "$workers"
linkbert check simplewiki
linkbert stats simplewiki

# The paper's tiny from scratch, with a batch that two cores can turn over: an encoder from nothing stays at the level of word
# frequencies for its first tens of millions of tokens, so give it a night.
linkbert pretrain simplewiki --preset tiny --to simplewiki-tiny \
    batch_size=64 micro_batch=64 sequence_length=128 learning_rate=2e-3 warmup=0.05 initializer_range=0.08 steps=40000

# The same without links, the baseline that the paper compares with.
linkbert pretrain simplewiki --preset tiny --to simplewiki-tiny-bert baseline=bert \
    batch_size=64 micro_batch=64 sequence_length=128 learning_rate=2e-3 warmup=0.05 initializer_range=0.08 steps=40000
