"""What a run with a budget plans; test_loop.py has such runs."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linkbert.model.optimizer import learning_rate
from linkbert.pretraining.pace import FIRST, Pace, Plan


def walk(budget, seconds, *, length=1_000, spent=0.0):
    """Run a schedule whose step n takes seconds(n): the plans, the place of every step, and the time in all."""
    plan, pace, plans, places = Plan(0, 0.0, FIRST), Pace(budget, spent, {}), {}, []
    step = 0
    while step < plan.steps:
        end = pace.end(step, plan.steps)
        if end != plan.steps:
            plans[step] = end
        plan = plan.end_at(end, step=step, length=length)
        places.append(plan.place_of(step, length))
        pace.took(seconds(step))
        step += 1
    return plans, [*places, plan.place_of(step, length)], pace.spent


def test_even_steps_fill_the_budget_by_hand():
    """Twice 0.9 s for compiling, then 0.1 s: after three steps 98.1 s are left, for 981 steps; and so it comes."""
    plans, places, spent = walk(100.0, lambda step: 0.9 if step < 2 else 0.1)
    assert plans == {3: 3 + 981}
    assert spent == pytest.approx(100.0)
    assert places[3] == 3.0
    assert places[-1] == 1_000.0


@given(st.integers(0, 2**32), st.floats(5, 500), st.floats(0.5, 3.0))
@settings(max_examples=60, deadline=None)
def test_a_schedule_ends_with_its_time_whatever_steps_take(seed, budget, change):
    """Times vary by a third, and halfway the machine changes its speed: the end is near."""
    draw = torch.Generator().manual_seed(seed)
    noise = (0.7 + 0.6 * torch.rand(4096, generator=draw)).tolist()
    clock = itertools.accumulate(noise)
    halfway = next(i for i, total in enumerate(clock) if 0.05 * total > budget / 2 or i == 4095)
    _, places, spent = walk(budget, lambda step: 0.05 * noise[step % 4096] * (change if step > halfway else 1.0))
    assert abs(spent - budget) < 0.01 * budget + 5 * 0.05 * change
    assert all(a < b for a, b in itertools.pairwise(places))
    assert places[-1] == pytest.approx(1_000)


def test_a_budget_that_is_over_ends_after_the_next_step():
    plans, _, _ = walk(1.0, lambda step: 5.0)
    assert plans == {3: 4}


def test_the_rate_of_a_stretched_schedule_is_the_schedule_stretched():
    """Ten places in five steps: as long a warm-up and decay, every other rate."""
    plan = Plan(0, 0.0, 5)
    at = [(plan.place_of(step, 10), plan.stride(10)) for step in range(5)]
    rates = [learning_rate(place, peak=1.0, warmup=4, steps=10, stride=stride) for place, stride in at]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 4 / 6, 2 / 6])
