"""What is shown while a command works: a bar on a terminal, plain lines elsewhere."""

import dataclasses
import io
import math
import os
import re
import signal
import time

import pytest
from rich.console import Console

from linkbert.pretraining.distributed import DistributedContext, stop_on_signals
from linkbert.pretraining.loop import Progress
from linkbert.progress import report_stages, report_training, reporting, training_text

MEANS = {"mlm_loss": 10.314, "relation_accuracy": 0.75, "contrastive_loss": 1.0986}
LARGE = Progress("training", 61_234, 62_500, 3e-4, MEANS, {"relation_accuracy": (0.8, 0.7, math.nan)}, 12.34, 221_500,
                 0.974, 1.69, 0.02, 31_000_000_000, 1.0, 86_340.0)  # fmt: skip


def shown(*updates, terminal=False, every=0.0, width=90):
    stream = io.StringIO()
    with reporting(Console(file=stream, force_terminal=terminal, width=width), every=every) as show:
        for update in updates:
            show(*update)
    return stream.getvalue()


def test_a_row_of_training_fits_a_terminal_and_has_everything_where_that_is_asked(caplog):
    row = "61,234/62,500, loss 11.41, accuracy 75%, 221.5k tokens/s, 23h59m left"
    assert training_text(LARGE, {}) == row
    assert len(f"  train: {row}") <= 80
    caplog.set_level("DEBUG")
    assert training_text(LARGE, {}) == (
        "61,234/62,500, mlm loss 10.31, relation accuracy 75%, contrastive loss 1.10, 221.5k tokens/s, 23h59m left"
    )


def test_no_time_is_estimated_before_the_first_steps_are_done_and_a_long_run_names_shorter_ones(caplog):
    early = dataclasses.replace(LARGE, seconds_left=math.nan)
    assert "left" not in training_text(early, {})
    with report_training() as progress:
        for _ in range(9):
            progress(early)
        for _ in range(9):
            progress(dataclasses.replace(LARGE, seconds_left=200 * 3600.0))
    (line,) = caplog.messages
    assert line.startswith("this run takes 200h00m")
    assert [choice in line for choice in ("budget=1h", "max_steps=7500 ", "sequence_length=128")] == [True] * 3


@pytest.mark.slow
def test_what_takes_long_without_a_word_shows_how_long(caplog):
    stream = io.StringIO()
    with reporting(Console(file=stream), every=0.5) as show:
        show("train", "0/9: compiling ...")
        time.sleep(1.3)
        show("train", "1/9, loss 7")
    first, *ticks, last = stream.getvalue().splitlines()
    assert (first, last) == ("  train: 0/9: compiling ...", "  train: 1/9, loss 7")
    assert ticks
    assert all(re.fullmatch(r"  train: 0/9: compiling \.\.\. \d+s", line) for line in ticks)
    with report_training() as progress:
        progress(dataclasses.replace(LARGE, stage="compiling"))
    assert "a budget starts after it; compile=off starts at once" in caplog.text


def test_a_second_ctrl_c_ends_the_process_at_once(monkeypatch, capfd):
    before, codes = signal.getsignal(signal.SIGINT), []
    monkeypatch.setattr("os._exit", codes.append)
    with report_training(), stop_on_signals(DistributedContext()) as stop:
        stop.at_once = False  # as after the first step
        os.kill(os.getpid(), signal.SIGINT)
        assert (stop.should_stop, codes) == (True, [])
        os.kill(os.getpid(), signal.SIGINT)
        assert codes == [130]
    assert "ended at once" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_terminal_of_any_width_shows_the_whole_row(width):
    text = training_text(dataclasses.replace(LARGE, step=1_234, steps=50_000), {})
    assert text in shown(("train", text, 1, 9), terminal=True, width=width)


def test_a_step_without_a_linked_pair_leaves_the_mean_as_it_was():
    smooth: dict[str, float] = {}
    first, after = (Progress("training", 1, 9, 1e-3, {"relation_accuracy": mean}) for mean in (0.8, math.nan))
    training_text(first, smooth)
    assert "accuracy 80%" in training_text(after, smooth)


def test_elsewhere_than_on_a_terminal_a_line_is_printed_now_and_then_and_the_last_of_each_stage():
    updates = [("documents", "1 of 2", 1, 2), ("documents", "2 of 2", 2, 2), ("tokens [bold]", "5", 5, None)]
    assert shown(*updates).splitlines() == ["  documents: 1 of 2", "  documents: 2 of 2", "  tokens [bold]: 5"]
    assert shown(*updates, every=99).splitlines() == [
        "  documents: 1 of 2",
        "  documents: 2 of 2",
        "  tokens [bold]: 5",
    ]
    many = [("documents", f"{i}", i, 9) for i in range(9)]
    assert shown(*many, every=99).splitlines() == ["  documents: 0", "  documents: 8"]


def test_on_a_terminal_every_stage_has_a_bar():
    text = shown(("documents", "1 of 2", 1, 2), ("tokens [bold]", "5 of 5", 5, 5), terminal=True, width=120)
    last = text[text.rindex("documents") :]
    assert "━" in last
    assert "tokens [bold]" in last
    assert "5 of 5" in last


def test_nothing_is_shown_of_nothing():
    assert shown() == ""


def test_documents_are_counted_as_documents(capsys):
    with report_stages() as progress:
        progress("documents written", 173, 173)
        progress("tokens", 2, 2)
    assert capsys.readouterr().err.splitlines() == ["  documents written: 173 of 173", "  tokens: 2 of 2 parts"]
