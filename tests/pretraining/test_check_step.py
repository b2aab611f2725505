"""When an update is left out; test_loop.py has runs to which it happens."""

import math

import pytest

from linkbert.config import Config
from linkbert.pretraining.checkpoint import State
from linkbert.pretraining.loop import ENOUGH, IN_A_ROW, check_step, describe_fault


def test_a_spike_is_told_by_the_median_of_what_came_before():
    state, config = State(), Config(spike=5.0, on_spike="skip")
    assert check_step(state, config, 1.0, 1e9) is None, "nothing to compare with yet"
    for norm in [1.0] * (ENOUGH - 1):
        assert check_step(state, config, 1.0, norm) is None
    assert check_step(state, config, 1.0, 5.0) is None
    fault = check_step(state, config, 1.0, 5.1)
    assert not fault.stops
    assert "5.1 times the median" in fault.what
    assert 5.1 not in state.norms
    assert (state.skipped, state.faults_in_a_row) == (1, 1)
    assert check_step(state, Config(spike=5.0), 1.0, 5.1).stops
    assert check_step(state, Config(), 1.0, 5.1) is None, "spike=0 knows none"
    assert state.faults_in_a_row == 0


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (1.0, math.inf), (1.0, math.nan)])
def test_what_is_no_number_stops_or_is_left_out_ten_times_in_a_row(loss, norm):
    assert check_step(State(), Config(), loss, norm).stops
    state, config = State(), Config(on_spike="skip")
    assert [check_step(state, config, loss, norm).stops for _ in range(IN_A_ROW + 1)] == [False] * IN_A_ROW + [True]


def test_an_overflow_of_fp16_stops_where_its_scale_cannot_fall():
    config = Config(precision="fp16")
    fault = check_step(State(scale=2.0), config, 1.0, math.inf)
    assert fault == ("fp16 overflowed: the loss scale is now 1", False)
    assert check_step(State(scale=1.0), config, 1.0, math.inf).stops
    assert check_step(State(), config, math.nan, 1.0).stops, "a loss that is no number has nothing to do with the scale"


def test_a_fault_names_the_run_s_own_code_again(tmp_path):
    text = describe_fault(tmp_path, Config(objective="mine:OBJ"), 3, "not a number", {"x_loss": math.nan})
    assert "step 3 is not a number (x loss nan)" in text
    assert "try --resume objective=mine:OBJ on_spike=skip, --resume objective=mine:OBJ precision=fp32" in text
