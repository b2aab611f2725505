"""Ask a saved model: what stands behind a mask, and how two texts relate.

In: the folder of a checkpoint (ours or any BERT's) and text. Out: plain words and probabilities. A folder without the
head that a question needs is a ValueError: an untrained head would answer, but noise.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from linkbert.model.checkpoint import RELATION_HEADS, VOCABULARY_FILES, make_model, objective_of, read_encoder
from linkbert.model.heads import Inputs, PretrainingModel
from linkbert.model.hf_encoder import longest, spec_of
from linkbert.records import RELATIONS


def fill_mask(model_folder: Path, text: str, *, top: int = 5) -> list[list[tuple[str, float]]]:
    """Fill the masks of a text: for each, the likeliest tokens with their probabilities, likeliest first.

    'The capital of France is [MASK].' -> [[('paris', 0.41), ('lyon', 0.07), ...]]; '##s' continues the word before it.
    """
    model, tokenizer = open_for(model_folder, relations=False)
    mask = tokenizer.mask_token
    inputs = tokenizer(text.replace("[MASK]", mask), return_tensors="pt")
    if inputs["input_ids"].shape[1] > longest(model.config):
        raise ValueError(f"the text is longer than the model's {longest(model.config)} tokens; shorten it")
    masks = (inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten()
    if not len(masks):
        raise ValueError(f"there is no {mask} in the text; write {mask} where a word is to be guessed")
    with torch.no_grad():
        states, _ = model.encode(alone(inputs["input_ids"], torch.zeros_like(inputs["input_ids"]), masks))
        best = model.token_logits(states)[:, : len(tokenizer)].softmax(-1).topk(min(top, len(tokenizer)))
    return [
        list(zip(read_tokens(tokenizer, tokens), probabilities, strict=True))
        for tokens, probabilities in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def read_tokens(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Write tokens for reading: '##s' as it is, 'Ġparis' of a byte-level BPE as 'paris'."""
    tokens = tokenizer.convert_ids_to_tokens(ids)
    return [
        token if token.startswith("##") else str(tokenizer.decode([number])).strip() or token
        for number, token in zip(ids, tokens, strict=True)
    ]


def relate(model_folder: Path, text_a: str, text_b: str) -> dict[str, float]:
    """Say how likely each relation is: B goes on from A, B is from a random document, B is linked from A.

    -> {'contiguous': 0.08, 'random': 0.61, 'linked': 0.31}; a BERT, whose head has two rows, answers the first two.
    Texts that are too long together lose their ends, the longer one first.
    """
    model, tokenizer = open_for(model_folder, relations=True)
    room = longest(model.config)
    # Each text is cut alone: the library's own truncation of pairs keeps what it cuts off, in every combination.
    a, b = (
        tokenizer(text[: 32 * room], add_special_tokens=False, truncation=True, max_length=room)["input_ids"]
        for text in (text_a, text_b)
    )
    while len(a) + len(b) > room - 3:
        (a if len(a) > len(b) else b).pop()
    ids = [tokenizer.cls_token_id, *a, tokenizer.sep_token_id, *b, tokenizer.sep_token_id]
    types = [0] * (len(a) + 2) + [1] * (len(b) + 1)
    found = model.predict(alone(torch.tensor([ids]), torch.tensor([types]), torch.zeros(0, dtype=torch.int64)))
    return dict(zip(RELATIONS, found.relations[0].tolist(), strict=False))


def alone(input_ids: Tensor, token_type_ids: Tensor, masked: Tensor) -> Inputs:
    """Give what the model takes of one text or pair alone in a row: (1, T), and masked places (M,)."""
    places, first = torch.arange(input_ids.shape[1])[None], torch.zeros(1, dtype=torch.int64)
    return Inputs(input_ids, token_type_ids, places, torch.zeros_like(input_ids), first, masked)


def open_for(folder: Path, *, relations: bool) -> tuple[PretrainingModel, PreTrainedTokenizerBase]:
    """Open a model and its tokenizer for a question about relations, or masks; a ValueError without that head."""
    config, weights = read_encoder(Path(folder))
    objective = objective_of(config, weights)
    there = objective != "none" and not weights.keys().isdisjoint(RELATION_HEADS)
    if not (there if relations else spec_of(config).dense in weights):
        what = "relation head" if relations else "masked-token head"
        raise ValueError(f"{folder} has no trained {what}; pretrain it first: linkbert pretrain STORE init={folder}")
    if not any((Path(folder) / name).is_file() for name in VOCABULARY_FILES[:2]):  # transformers would make one up
        raise ValueError(f"{folder} holds no vocabulary: a tokenizer.json or a vocab.txt is needed")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return make_model(config, weights, objective=objective).eval(), tokenizer
