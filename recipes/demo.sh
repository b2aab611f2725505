#!/usr/bin/env bash
# The demo, step by step with the plain commands: what `linkbert demo` does, taken apart.
# On two cores: 3 s to build, 10 s to check, 675 ms a step. Needs: a dump and an encoder's folder. Here both are the demo's own, which `linkbert demo` leaves in the user's cache.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/linkbert
dump=${1:-$cache/wikipedia-excerpt/enwiki-excerpt-pages-articles.xml.bz2}
encoder=${2:-$cache/minilm-l6}

# 106 articles: seconds. The vocabulary must be the encoder's.
linkbert build "$dump" --to demo-store --vocab "$encoder"
linkbert check demo-store
linkbert show demo-store --instances 3

# `max_steps` sets how long; any setting of `linkbert pretrain --help` may follow.
linkbert pretrain demo-store --preset demo --to demo-run init="$encoder" max_steps=300

linkbert fill "The [MASK] of the country is elected every four years." --model demo-run
