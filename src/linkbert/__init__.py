"""Pretrain BERT-like encoders on documents and the links between them.

The names below are the public interface; each is imported when it is first used, so that `import linkbert` is instant.
"""

import importlib
import os
from typing import Any

# Libraries below send usage figures home unless told not to; nothing here ever does.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

__version__ = "0.1.0"
_PUBLIC = {
    "Document": "linkbert.records",
    "Link": "linkbert.records",
    "build_store": "linkbert.api",
    "Store": "linkbert.api",
    "PairDataset": "linkbert.instances.dataset",
    "PairCollator": "linkbert.instances.dataset",
    "Sampler": "linkbert.instances.sampler",
    "pretrain": "linkbert.pretraining.run",
    "load_model": "linkbert.api",
    "score": "linkbert.pretraining.scores",
    "finetune": "linkbert.tasks.suite",
    "predict": "linkbert.tasks.own",
    "score_answers": "linkbert.tasks.own",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"linkbert has no {name!r}; it has {', '.join(_PUBLIC)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*_PUBLIC, "__version__"]
