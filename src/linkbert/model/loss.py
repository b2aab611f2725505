"""The masked-token loss, without the matrix of all logits: cross-entropy over the vocabulary, some places at a time.

The gradients are computed with the loss, while the logits of CHUNK places are there. The exponentials are taken once,
in base 2, and never divided: the products' small operands are scaled instead. It equals `cross_entropy` to rounding, in
five sixths of the time. It is opaque to the compiler, which would compute all chunks side by side.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from linkbert.model.attention import LOG2_E
from linkbert.records import IGNORED

CHUNK = 512  # places whose logits are there at once: 31 MB of bf16 for BERT's vocabulary
CARD_CHUNK = 4_096  # on a GPU, where each chunk is some thirty kernels that the host has to start
EXTRA = 16  # columns next to the weight's gradient: the first is the bias's, the others keep the rows aligned


def powers_of(logits: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn logits (m, V) into powers 2^(score - top), score = logit log2(e) + bias; also return top and sum (m, 1)."""
    scores = logits.float() * LOG2_E + bias
    top = scores.amax(-1, keepdim=True)
    powers = (scores - top).exp2()
    return powers.to(logits.dtype), top, powers.sum(-1, keepdim=True)


compiled_powers_of = cache(lambda: torch.compile(powers_of, fullgraph=True))  # for any number of places


@torch.library.custom_op("linkbert::masked_token_loss", mutates_args=())
def masked_token_loss(
    states: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, compiled: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum -log softmax(states @ weight.T + bias)[label] over the places: (M, H), (V, H), (V,), (M,) int64 -> () fp32.

    Also returns the gradients of states (M, H) and, side by side, of weight and bias: (V, H + EXTRA). The products are
    computed in the arithmetic of `states`, all else in fp32. A label IGNORED counts for nothing.
    """
    narrow, scaled_bias = weight.to(states.dtype), bias.float() * LOG2_E
    counts = (labels != IGNORED).float()[:, None]
    asked = labels.clamp(min=0)
    given = functional.pad(functional.pad(states.float(), (0, 1), value=1.0) * counts, (0, EXTRA - 1))
    loss = torch.zeros((), dtype=torch.float32, device=states.device)
    size = CHUNK if states.device.type == "cpu" else CARD_CHUNK
    of_states, of_both = torch.empty_like(states), given.new_zeros(len(weight), given.shape[1])
    for start in range(0, len(states), size):
        part = slice(start, start + size)
        label, count = asked[part], counts[part]
        logits = states[part] @ narrow.t()
        if compiled:
            torch._dynamo.mark_dynamic(logits, 0)
        powers, top, total = (compiled_powers_of() if compiled else powers_of)(logits, scaled_bias)
        target = logits.gather(1, label[:, None]).float() * LOG2_E + scaled_bias[label][:, None]
        loss += (count * (total.log2() + top - target)).sum() / LOG2_E
        of_states[part] = (powers @ narrow).float() * (count / total) - weight[label] * count
        of_both += powers.t() @ (given[part] / total).to(states.dtype)
    return loss, of_states, of_both.index_add_(0, asked, given, alpha=-1)


@masked_token_loss.register_fake
def _(states: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, compiled: bool) -> tuple[Tensor, ...]:  # noqa: ARG001
    loss = states.new_empty((), dtype=torch.float32)
    return loss, torch.empty_like(states), loss.new_empty(len(weight), weight.shape[1] + EXTRA)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG001
    ctx.save_for_backward(*output[1:])


def _gradient(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None, None]:
    of_states, of_both = ctx.saved_tensors
    of_weight, of_bias = of_both[:, :-EXTRA] * gradient, of_both[:, -EXTRA] * gradient
    return (of_states * gradient).to(of_states.dtype), of_weight, of_bias, None, None


masked_token_loss.register_autograd(_gradient, setup_context=_keep)
