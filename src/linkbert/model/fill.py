"""Ask a model: what stands behind masks, how two texts relate, and what its states are.

In: the folder of a checkpoint (ours or any BERT's) and text, or an open model and tokens. Out: plain words and
numbers. A folder without the head that a question needs is a ValueError: an untrained head would answer, but noise.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from linkbert.instances.vocabulary import CLS, SEP, ask, load_vocabulary
from linkbert.model.checkpoint import check_room, load_model, open_tokenizer
from linkbert.model.heads import Inputs, PretrainingModel, refuse_nan
from linkbert.model.hf_encoder import longest
from linkbert.records import RELATIONS

TOKENS_AT_ONCE = 1 << 13  # with padding, of a forward pass


class Line(NamedTuple):
    """A row of tokens to ask a model about."""

    ids: Sequence[int]
    b: int  # the place where segment B starts; their number where there is none
    masked: Sequence[int] = ()  # places, each a [MASK] in `ids`
    labels: Sequence[int] = ()  # what stands behind them


def fill_mask(model_folder: str | Path, text: str, *, top: int = 5) -> list[list[tuple[str, float]]]:
    """Fill the masks of a text: for each, the likeliest tokens with their probabilities, likeliest first.

    'The capital of France is [MASK].' -> [[('paris', 0.41), ('lyon', 0.07), ...]]; '##s' continues the word before it.
    """
    model, tokenizer = open_for(model_folder, relations=False)
    text = text.encode(errors="replace").decode()  # of a word that is not UTF-8
    text = text.replace("[MASK]", tokenizer.mask_token).replace("<mask>", tokenizer.mask_token)
    ids = ask(f"the tokenizer of {model_folder}", tokenizer, text, return_tensors="pt")["input_ids"]
    if ids.shape[1] > longest(model.config):
        raise ValueError(f"the text is longer than the model's {longest(model.config)} tokens; shorten it")
    masks = (ids[0] == tokenizer.mask_token_id).nonzero().flatten()
    if not len(masks):
        raise ValueError("there is no [MASK] in the text; write [MASK] where a word is to be guessed")
    with torch.no_grad():
        states, _ = model.encode(Inputs.padded(ids)._replace(masked_positions=masks))
        best = model.token_logits(states)[:, : len(tokenizer)].softmax(-1).topk(min(top, len(tokenizer)))
    refuse_nan(best.values)
    words = [[read_token(tokenizer, token) for token in row] for row in best.indices.tolist()]
    return [[*zip(*row, strict=True)] for row in zip(words, best.values.tolist(), strict=True)]


def guess_masked(model: PretrainingModel, made: Any) -> tuple[np.ndarray, np.ndarray]:
    """Guess the masked tokens of Instances, (M,): the likeliest ones, and the probability of the true ones."""
    ids, types, lengths = map(torch.from_numpy, (made.input_ids, made.token_type_ids, made.lengths))
    inputs = Inputs.padded(ids, types, torch.arange(ids.shape[1]) < lengths[:, None])
    masked, labels = map(torch.from_numpy, (made.masked_positions, made.masked_labels))
    found = model.predict(inputs._replace(masked_positions=masked), labels)
    return found.tokens.numpy(), found.mlm_losses.neg().exp().numpy()


def in_batches(lines: Sequence[Line], device: torch.device) -> Iterator[tuple[np.ndarray, Inputs]]:
    """Yield lines in batches, the longest first: their numbers, and the Inputs."""
    order = np.argsort([-len(line.ids) for line in lines], kind="stable")
    while len(order):
        width = len(lines[order[0]].ids)
        mine, order = np.split(order, [max(1, TOKENS_AT_ONCE // width)])
        ids, types, real = np.zeros((3, len(mine), width), np.int64)  # what pads is not looked at
        for row, line in enumerate(lines[i] for i in mine):
            size = len(line.ids)
            ids[row, :size], types[row, line.b : size], real[row, :size] = line.ids, 1, 1
        masked = [row * width + place for row, i in enumerate(mine) for place in lines[i].masked]
        inputs = Inputs.padded(*(torch.from_numpy(each).to(device) for each in (ids, types, real)))
        yield mine, inputs._replace(masked_positions=torch.tensor(masked, dtype=torch.int64, device=device))


@torch.no_grad()
def embed(model: PretrainingModel, lines: Sequence[Line]) -> np.ndarray:
    """Embed lines: the mean of the last layer's states, and the state of [CLS]: float32 (2, lines, H)."""
    found = np.zeros((2, len(lines), model.config.hidden_size), np.float32)
    for mine, inputs in in_batches(lines, next(model.parameters()).device):
        _, first, every = map(refuse_nan, model.encode(inputs, every=True))
        real = (inputs.pairs >= 0)[..., None]
        states = every.float().view(*real.shape[:2], -1) * real
        found[0, mine], found[1, mine] = (states.sum(1) / real.sum(1)).cpu(), first.float().cpu()
    return found


def guess_lines(model: PretrainingModel, lines: Sequence[Line]) -> tuple[np.ndarray, np.ndarray]:
    """Guess what is masked in lines: the log-probability of each line's labels, and whether all come first."""
    logp, right = np.zeros(len(lines)), np.zeros(len(lines), bool)
    for mine, inputs in in_batches(lines, next(model.parameters()).device):
        labels = torch.tensor([label for i in mine for label in lines[i].labels], device=inputs.input_ids.device)
        found = model.predict(inputs, labels)
        owners = np.repeat(np.arange(len(mine)), [len(lines[i].labels) for i in mine])
        logp[mine] = np.bincount(owners, -found.mlm_losses.double().cpu().numpy(), len(mine))
        right[mine] = np.bincount(owners, (found.tokens != labels).cpu().numpy(), len(mine)) == 0
    return logp, right


def read_token(tokenizer: PreTrainedTokenizerBase, number: int) -> str:
    """Write a token for reading: '##s' as it is, 'Ġparis' of a byte-level BPE as 'paris'."""
    token = str(tokenizer.convert_ids_to_tokens(number))
    return token if token.startswith("##") else str(tokenizer.decode([number])).strip() or token


def relate(model_folder: str | Path, text_a: str, text_b: str) -> dict[str, float]:
    """Return how likely each relation is: B continues A, B is from a random document, B is linked from A.

    -> {'contiguous': 0.08, 'random': 0.61, 'linked': 0.31}; a BERT, whose head has two rows, answers the first two.
    Texts that are too long together lose their ends, the longer one first.
    """
    model, _ = open_for(model_folder, relations=True)
    most, vocabulary = longest(model.config), load_vocabulary(model_folder)  # as in training: "[SEP]" in a text is text
    whose, tokenizer = f"the tokenizer of {model_folder}", vocabulary.tokenizer
    a, b = (ask(whose, tokenizer.encode, text[: 32 * most]).ids[:most] for text in (text_a, text_b))
    while len(a) + len(b) > most - 3:
        (a if len(a) > len(b) else b).pop()
    cls, sep = (vocabulary.special_ids[name] for name in (CLS, SEP))
    ids = torch.tensor([[cls, *a, sep, *b, sep]])
    types = (torch.arange(ids.shape[1]) >= len(a) + 2).long()[None]
    found = model.predict(Inputs.padded(ids, types))
    return dict(zip(RELATIONS, found.relations[0].tolist(), strict=False))


def open_for(folder: str | Path, *, relations: bool) -> tuple[PretrainingModel, PreTrainedTokenizerBase]:
    """Open a model, whose head for relations or for masked tokens must be trained, and its tokenizer."""
    head = "relation" if relations else "masked-token"
    model, tokenizer = load_model(Path(folder), head=head), open_tokenizer(Path(folder))
    check_room(model, len(tokenizer), folder)
    return model.eval(), tokenizer
