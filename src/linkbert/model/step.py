"""The forward pass of a training step, in the run's arithmetic, compiled where that pays back.

In: a PretrainingModel and the run's Config. Out: a function from a batch to its summed losses. The loop needs to know
nothing of arithmetic, dropout, compilers or the shapes they like. Weights, their gradients and the losses stay fp32.
"""

import logging
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from linkbert.compiled import checked_torch_cache, torch_cache_folder
from linkbert.config import Config, in_seconds
from linkbert.model.attention import dropout_keys
from linkbert.model.device import DTYPES, choose_precision, has_varlen, keep_memory, send, send_batch
from linkbert.model.heads import ForwardOptions, Inputs, PretrainingModel, Sums
from linkbert.records import IGNORED

log = logging.getLogger(__name__)

# Compiling costs 10 to 60 s (minutes on a busy machine) and saves a third of a step: it is not for runs that take less
# than four times as long, nor where it was measured to be slower, or no faster (docs/log/training.md).
WORTHWHILE_SECONDS = 600  # of a run with a budget, of which nobody knows how much it will compute
NO_FASTER = {("cpu", "fp32"): 128}  # hidden size up to which it is not
AT_ONCE = 5e11  # operations of a micro-batch on a CPU: 5 to 10 s of two cores
NO_NUMBERS = "the compiled code gives no numbers with this torch on this processor; it is left, and nothing is lost"
WORTHWHILE = {"cpu": 2e14, "cuda": 1e17}  # operations; the first as on two cores, the second never measured by us
STARTING = {"cpu": 0.0, "cuda": 3e12}  # those that a GPU could do while the host starts a micro-batch uncompiled: 10 ms


def step_function(
    model: PretrainingModel, config: Config, *, before_compiling: Callable[[], None] = lambda: None
) -> Callable[[Any], Sums]:
    """Return the function that maps a Batch to its losses; compiled, its batches have one shape.

    It copies the Batch to the model's device. Dropout follows from torch's generator (`torch.manual_seed` decides it),
    in eval mode there is none; the same seed gives the same losses and gradients bit for bit, on as many threads.
    `before_compiling` is called before the first step compiles. Where that fails, the run continues uncompiled.
    """
    device = next(model.parameters()).device
    if device.type == "cpu":
        keep_memory()
    if rate := config.attention_probs_dropout_prob:
        log.warning("attention_probs_dropout_prob=%g leaves the fast kernel: about a third slower, on a CPU", rate)
    dtype = DTYPES[choose_precision(config.precision, device)]
    head = model.config.hidden_size // model.config.num_attention_heads
    sequences = has_varlen(device, dtype, head) and not rate
    parts = compiled_parts(model, config)
    starting = [checked_torch_cache()] if parts else []  # until the first step has compiled

    def compute(batch: Any, seed: torch.Tensor, slots: int) -> Sums:
        mode = ForwardOptions(
            dtype,
            keys=dropout_keys(seed, 3 * len(model.layers) + 1) if model.training else (),
            written_out=bool(parts),
            sequences=sequences,
            slots=slots,
            recompute=config.gradient_checkpointing and model.training,
        )
        return model(Inputs.of(batch), batch.masked_labels, batch.relations, mode)  # type: ignore[no-any-return]

    def step(batch: Any) -> Sums:
        # Where the batch was made, so that nothing waits for a GPU.
        slots = 0 if sequences else query_slots(batch, config, fixed=bool(parts))
        seed = send(torch.randint(-(2**31), 2**31, (), dtype=torch.int32), device)
        batch = send_batch(batch, device)
        if first := bool(starting):
            before_compiling()
        try:
            with starting.pop() if first else nullcontext():
                sums = compute(batch, seed, slots)
            if first and not all(summed.isfinite().all() for summed, _ in sums.values()):
                raise FloatingPointError(NO_NUMBERS)  # bf16 by torch 2.13 on a CPU with AVX-512 and AMX
            return sums
        except Exception as error:  # the compiler's own errors are of a dozen kinds
            if not parts:
                raise
            why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            why = why.removeprefix("FloatingPointError: ")
            log.warning("compiling failed (%s): training continues uncompiled, about a third slower", why)
            while parts:
                parts.pop()._compiled_call_impl = None
            return compute(batch, seed, query_slots(batch, config, fixed=False))

    return step


def compiled_parts(model: PretrainingModel, config: Config) -> list[nn.Module]:
    """Have torch compile the parts of a model at their first call, and return them; none where it is not worthwhile."""
    if not compiles(model, config):
        return []
    torch_cache_folder()
    # A backward pass that does not compile must be known before it is called: the loop calls it.
    if hasattr(torch._functorch.config, "force_non_lazy_backward_lowering"):  # since torch 2.10
        torch._functorch.config.force_non_lazy_backward_lowering = True
    torch._inductor.config.shape_padding = False  # a clock would decide it on a GPU, and with it the last bits
    if torch.cpu._is_amx_tile_supported():
        torch._inductor.config.cpp.simdlen = 256  # with 512, torch 2.13's bf16 has gradients and losses of NaN there
    torch._dynamo.config.optimize_ddp = False  # it would split the graph, where only the last of many passes sums
    # The compiler looks at the gradients of all that goes into a part.
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
    parts = model.parts_to_compile()
    for part in parts:
        part.compile(dynamic=False, fullgraph=True)
    return parts


def query_slots(batch: Any, config: Config, *, fixed: bool) -> int:
    """Count the places of a row whose states are read, at most; 0 where too many are to make a difference.

    `fixed` is one number for the run, by `Config.read_share`; the rare batch that has more gets 0.
    """
    width = batch.input_ids.shape[1]
    read = torch.cat([batch.first[batch.relations != IGNORED], batch.masked_positions[batch.masked_labels != IGNORED]])
    most = int(torch.bincount(read // width, minlength=1).max())
    slots = -(-(round(width * config.read_share) if fixed else most) // 16) * 16
    return slots if most <= slots < width else 0


def compiles(model: PretrainingModel, config: Config) -> bool:
    """Return whether a run is compiled: as `config.compile` says, and auto by how much the whole run computes.

    The answer follows from the settings (of which a run has decided the precision before), never from a clock, so that
    a resumed run computes as it did before.
    """
    # Weights that come and go do not fit into one graph.
    if config.compile == "off" or config.sharding != "none" or not model.parts_to_compile():
        return False
    if config.compile == "on":
        return True
    device = next(model.parameters()).device.type
    if model.config.hidden_size <= NO_FASTER.get((device, config.precision), 0):
        return False
    if in_seconds(config.budget):
        return in_seconds(config.budget) >= WORTHWHILE_SECONDS
    tokens = config.max_steps * config.batch_size * config.sequence_length
    started = config.max_steps * -(-config.batch_size // config.micro_batch_size) * STARTING[device]
    return max(tokens * operations_a_token(model, config), started) >= WORTHWHILE[device]


def rows_at_once(model: PretrainingModel, config: Config) -> int:
    """Return the rows of a micro-batch: as set, but on a CPU so few that a stop waits for seconds."""
    if next(model.parameters()).device.type != "cpu":
        return config.micro_batch_size
    most = AT_ONCE / (config.sequence_length * operations_a_token(model, config))
    return max(1, min(config.micro_batch_size, int(most)))


def operations_a_token(model: PretrainingModel, config: Config) -> float:
    """Count the floating-point operations of training on one token: forward and, twice that, backward."""
    alone, seen = operations_forward(model, config)
    return 3 * (alone + config.sequence_length * seen)


def operations_forward(model: PretrainingModel, config: Config) -> tuple[float, float]:
    """Count the floating-point operations of one place's forward pass: by itself, and for each place of its row.

    By itself 2 for each weight of a matrix product; for each place of the row 4 H a layer (attention's scores, sums).
    The masked tokens' head, H * (H + V) weights, and what follows the last layer's attention count at the share of
    tokens that are masked. Norms, activations, the pooler and the optimizer are left out.
    """
    hidden, layers = model.config.hidden_size, model.config.num_hidden_layers
    before = 2 * 3 * hidden * hidden
    after = 2 * (hidden * hidden + 2 * hidden * model.config.intermediate_size)
    head = 2 * hidden * (hidden + model.config.vocab_size)
    masked = (config.mlm_probability + (config.mlm_probability_end or config.mlm_probability)) / 2
    return layers * before + (layers - 1) * after + masked * (after + head), layers * 4 * hidden


def row_cost(model: PretrainingModel, config: Config) -> float:
    """Return what a place costs for each place of its row, as a share of what it costs alone, for `choose_shape`."""
    alone, seen = operations_forward(model, config)
    return seen / alone
