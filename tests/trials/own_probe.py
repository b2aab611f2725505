"""Probes of a user's own: of 40 examples of 10 documents, by the model's weights, and one that fails."""

import numpy as np
from safetensors.numpy import load_file


def lengths(model, store, settings):
    table = load_file(model / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    values = np.linalg.norm(table[:40], axis=1) * settings.get("scale", 1)
    groups = np.arange(40) // 4
    return {"measures": {"length": values.mean()}, "rows": {"length": values}, "groups": {"length": groups}}


def broken(model, store, settings):
    raise ValueError("there is nothing to ask")
