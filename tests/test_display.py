"""What is shown while a command works: a bar on a terminal, plain lines elsewhere."""

import io
import math

from rich.console import Console

from linkbert.pretraining.loop import Progress
from linkbert.progress import report_stages, reporting, training_text

MEANS = {"mlm_loss": 10.314, "relation_accuracy": 0.75, "contrastive_loss": 1.0986}
LARGE = Progress("training", 61_234, 62_500, 3e-4, MEANS, {"relation_accuracy": (0.8, 0.7, math.nan)}, 12.34, 221_500,
                 0.974, 1.69, 0.02, 31_000_000_000, 1.0, 86_340.0)  # fmt: skip


def shown(*updates, terminal=False, every=0.0):
    stream = io.StringIO()
    with reporting(Console(file=stream, force_terminal=terminal, width=90), every=every) as show:
        for update in updates:
            show(*update)
    return stream.getvalue()


def test_a_row_of_training_names_what_it_counts():
    assert training_text(LARGE, {}) == (
        "step 61,234 of 62,500, 23h59m left, mlm loss 10.31, relation accuracy 75 %, contrastive loss 1.10, "
        "221.5k tokens/s"
    )


def test_a_step_without_a_linked_pair_leaves_the_mean_as_it_was():
    smooth: dict[str, float] = {}
    first, after = (Progress("training", 1, 9, 1e-3, {"relation_accuracy": mean}) for mean in (0.8, math.nan))
    training_text(first, smooth)
    assert "relation accuracy 80 %" in training_text(after, smooth)


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
    text = shown(("documents", "1 of 2", 1, 2), ("tokens [bold]", "5 of 5", 5, 5), terminal=True)
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
