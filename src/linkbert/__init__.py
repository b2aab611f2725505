"""Pretrain BERT-like encoders on documents and the links between them."""

import os

# Libraries below send usage figures home unless told not to; nothing here ever does.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

__version__ = "0.1.0"
