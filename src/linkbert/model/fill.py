"""Ask a saved model: what stands behind a mask, and how two texts relate.

In: the folder of a checkpoint (ours or any BERT's) and text. Out: plain words and probabilities. A folder without the
head that a question needs is a ValueError: an untrained head would answer, but noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from linkbert.model.checkpoint import check_head, make_model, objective_of, open_tokenizer, read_encoder
from linkbert.model.heads import Inputs, PretrainingModel
from linkbert.model.hf_encoder import longest
from linkbert.records import RELATIONS


def fill_mask(model_folder: str | Path, text: str, *, top: int = 5) -> list[list[tuple[str, float]]]:
    """Fill the masks of a text: for each, the likeliest tokens with their probabilities, likeliest first.

    'The capital of France is [MASK].' -> [[('paris', 0.41), ('lyon', 0.07), ...]]; '##s' continues the word before it.
    """
    model, tokenizer = open_for(model_folder, relations=False)
    text = text.encode(errors="replace").decode()  # of a word that is not UTF-8
    text = text.replace("[MASK]", tokenizer.mask_token).replace("<mask>", tokenizer.mask_token)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    if ids.shape[1] > longest(model.config):
        raise ValueError(f"the text is longer than the model's {longest(model.config)} tokens; shorten it")
    masks = (ids[0] == tokenizer.mask_token_id).nonzero().flatten()
    if not len(masks):
        raise ValueError("there is no [MASK] in the text; write [MASK] where a word is to be guessed")
    with torch.no_grad():
        states, _ = model.encode(Inputs.padded(ids)._replace(masked_positions=masks))
        best = model.token_logits(states)[:, : len(tokenizer)].softmax(-1).topk(min(top, len(tokenizer)))
    return [
        [(read_token(tokenizer, token), probability) for token, probability in zip(tokens, values, strict=True)]
        for tokens, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def guess_masked(model: PretrainingModel, made: Any) -> tuple[np.ndarray, np.ndarray]:
    """Guess the masked tokens of Instances, (M,): the likeliest ones, and the probability of the true ones."""
    ids, types, lengths = map(torch.from_numpy, (made.input_ids, made.token_type_ids, made.lengths))
    inputs = Inputs.padded(ids, types, torch.arange(ids.shape[1]) < lengths[:, None])
    masked, labels = map(torch.from_numpy, (made.masked_positions, made.masked_labels))
    found = model.predict(inputs._replace(masked_positions=masked), labels)
    return found.tokens.numpy(), found.mlm_losses.neg().exp().numpy()


def read_token(tokenizer: PreTrainedTokenizerBase, number: int) -> str:
    """Write a token for reading: '##s' as it is, 'Ġparis' of a byte-level BPE as 'paris'."""
    token = str(tokenizer.convert_ids_to_tokens(number))
    return token if token.startswith("##") else str(tokenizer.decode([number])).strip() or token


def relate(model_folder: str | Path, text_a: str, text_b: str) -> dict[str, float]:
    """Return how likely each relation is: B continues A, B is from a random document, B is linked from A.

    -> {'contiguous': 0.08, 'random': 0.61, 'linked': 0.31}; a BERT, whose head has two rows, answers the first two.
    Texts that are too long together lose their ends, the longer one first.
    """
    model, tokenizer = open_for(model_folder, relations=True)
    most = longest(model.config)
    # Each text is cut alone: the library's own truncation of pairs keeps what it cuts off, in every combination.
    a, b = (
        tokenizer(text[: 32 * most], add_special_tokens=False, truncation=True, max_length=most)["input_ids"]
        for text in (text_a, text_b)
    )
    while len(a) + len(b) > most - 3:
        (a if len(a) > len(b) else b).pop()
    ids = torch.tensor([[tokenizer.cls_token_id, *a, tokenizer.sep_token_id, *b, tokenizer.sep_token_id]])
    types = (torch.arange(ids.shape[1]) >= len(a) + 2).long()[None]
    found = model.predict(Inputs.padded(ids, types))
    return dict(zip(RELATIONS, found.relations[0].tolist(), strict=False))


def open_for(folder: str | Path, *, relations: bool) -> tuple[PretrainingModel, PreTrainedTokenizerBase]:
    """Open a model and its tokenizer for a question about relations, or masks; a ValueError without that head."""
    config, weights = read_encoder(folder := Path(folder))
    objective = objective_of(config, weights)
    check_head(folder, config, weights, relations=relations)
    tokenizer = open_tokenizer(folder)
    return make_model(config, weights, objective=objective).eval(), tokenizer
