"""Whether a step's update is made: of losses and gradients that are no numbers, of spikes, and of fp16's overflow.

In: the loss and the gradient norm of a step, and what the State keeps of the steps before it; all of it the same in
every process, and kept in checkpoints, so that a resumed run decides as the unbroken one. Out: None, or a Fault.

fp16 has no numbers below 6e-8, so losses are multiplied by a scale before the backward pass and gradients divided by it
after. The scale is as large as it can be: where gradients overflow it is halved and the step left out, and after GROWTH
steps without that it is doubled. The numbers are those of torch.amp.GradScaler; its few lines are written out because
it looks for the overflow in each process by itself, and because what it keeps belongs into the State.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from linkbert.config import Config
from linkbert.pretraining.checkpoint import State

GROWTH = 2_000  # steps without overflow after which the scale is doubled
REMEMBERED = 128  # gradient norms, whose median tells a spike
ENOUGH = 16  # fewer have no median to speak of
IN_A_ROW = 10  # faults in a row that on_spike=skip bears


class Fault(NamedTuple):
    """Why an update is not made, and whether the run stops there."""

    what: str
    stops: bool


def judge(state: State, config: Config, loss: float, norm: float) -> Fault | None:
    """Judge a step by its loss and by the norm of its gradients, already divided by the scale; None: nothing is wrong.

    The State's scale, norms and counts follow. An overflow never stops a run, as the scale is halved down to 1 at most.
    """
    finite = math.isfinite(loss + norm)
    usual = statistics.median(state.norms) if len(state.norms) >= ENOUGH else math.inf
    overflow = config.precision == "fp16" and math.isfinite(loss) and not finite and state.scale > 1
    if finite and not (config.spike and norm > config.spike * usual):
        state.norms = [*state.norms, norm][-REMEMBERED:]
        state.faults_in_a_row = 0
        state.since_overflow += 1
        if config.precision == "fp16" and state.since_overflow % GROWTH == 0:
            state.scale *= 2
        return None
    state.skipped += 1
    if overflow:
        state.scale, state.since_overflow = state.scale / 2, 0
        return Fault(f"fp16 overflowed: the loss scale is now {state.scale:g}", stops=False)
    state.faults_in_a_row += 1
    what = f"a spike, of {norm / usual:.3g} times the median gradient norm" if finite else "not a number"
    return Fault(what, stops=config.on_spike == "stop" or state.faults_in_a_row > IN_A_ROW)
