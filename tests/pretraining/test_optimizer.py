import math

import pytest
import torch
from torch import nn

from linkbert.model.optimizer import clip_gradients, learning_rate, make_optimizer, update_unless, warmup_steps


@pytest.fixture
def rates(config):
    """List the rates of a run of `steps` updates with a warm-up of `warmup`."""

    def make(warmup, steps, peak=1.0, **settings):
        settings = config.replace(learning_rate=peak, warmup_steps=float(warmup), **settings)
        return [learning_rate(settings, step, steps) for step in range(steps)]

    return make


def test_the_schedule_by_hand(rates):
    assert rates(2, 6) == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_the_schedule_of_the_paper_for_tiny(rates):
    rate = rates(5000, 10_000, 5e-3)
    assert rate[0] == pytest.approx(1e-6)
    assert max(rate) == rate[4999] == 5e-3
    assert rate[7500] == pytest.approx(2.5e-3)
    assert rate[-1] == pytest.approx(1e-6)


def test_no_warmup_and_a_longer_one_than_the_run(rates):
    assert rates(0, 2) == [1.0, 0.5]
    assert rates(4, 4) == [0.5, 1.0, 1.0, 0.5]


def test_other_schedules_by_hand(rates):
    """warmup_stable_decay over 12 steps of which the last third decays: 1 - sqrt of 0, 1/4, 2/4 and 3/4."""
    assert rates(2, 4, 2.0, lr_scheduler_type="constant_with_warmup") == [1.0, 2.0, 2.0, 2.0]
    decayed = rates(2, 12, lr_scheduler_type="warmup_stable_decay", decay_ratio=1 / 3)
    assert decayed == pytest.approx([0.5, *[1.0] * 8, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75)])


@pytest.mark.parametrize(
    ("warmup", "steps", "count"), [(0.1, 200, 20), (50, 200, 50), (5000, 200, 100), (3, 1, 1), (0, 9, 0)]
)
def test_warmup_is_a_count_or_a_share(warmup, steps, count):
    assert warmup_steps(warmup, steps) == count


def test_an_update_by_hand(config):
    """Decoupled decay, then the bias-corrected step: 1 - 0.1 * 0.5 * 1 - 0.1 * g / (|g| + eps) on the first update."""
    model = nn.Linear(1, 1)
    nn.init.ones_(model.weight)
    nn.init.ones_(model.bias)
    optimizer = make_optimizer(model, config.replace(learning_rate=0.1, weight_decay=0.5))
    model(torch.full((1, 1), 2.0)).sum().backward()  # gradients: 2 and 1
    optimizer.step()
    assert model.weight.item() == pytest.approx(1 - 0.1 * 0.5 - 0.1 * 2 / (2 + 1e-6))
    assert model.bias.item() == pytest.approx(1 - 0.1 * 1 / (1 + 1e-6))  # no decay


def test_decay_spares_biases_and_norms(make_toy, config):
    model = make_toy()
    optimizer = make_optimizer(model, config)
    spared = {id(p) for group in optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in spared) == (name.endswith("bias") or "LayerNorm" in name), name


def test_clipping_is_by_the_global_norm():
    model = nn.Linear(2, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    assert clip_gradients(model, 0).item() == 5.0
    assert model.bias.grad.item() == 4.0
    assert clip_gradients(model, 1.0).item() == 5.0
    assert math.hypot(*model.weight.grad.flatten().tolist(), model.bias.grad.item()) == pytest.approx(1.0, abs=1e-5)
    assert clip_gradients(model, 10.0).item() == pytest.approx(1.0, abs=1e-5)


def test_an_update_that_is_wrong_leaves_weights_and_moments_and_is_not_counted(config):
    model = nn.Linear(2, 1)
    optimizer, told = make_optimizer(model, config), []
    for wrong in (True, False, True):
        model(torch.ones(1, 2)).sum().backward()
        update_unless(optimizer, torch.tensor(wrong))
        state = optimizer.state[model.weight]
        told.append([state["step"].item(), *model.weight.flatten().tolist(), *state["exp_avg"].flatten().tolist()])
        assert model.weight.grad is None
    assert [each[0] for each in told] == [0.0, 1.0, 1.0]
    assert told[0][3:] == [0.0, 0.0]
    assert told[1] == told[2] != told[0]
