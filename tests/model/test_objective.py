"""What an objective declares and gives is checked, in one line that names it."""

import sys
import types

import pytest
import torch

from linkbert.model.heads import JOURNAL, Objective, find_objective, flatten
from linkbert.pretraining.journal import TIMINGS


@pytest.fixture
def declare(monkeypatch):
    """Make an objective of a module `mine`, and return its name."""

    def make(**declared):
        monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(OBJ=type("Own", (Objective,), declared)()))
        return "mine:OBJ"

    return make


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"over": {"x_loss": "masked"}}, "`over` names x_loss; allowed: one or more of mlm_loss"),
        ({"over": {}}, "`over` names nothing"),
        ({"over": {"mlm_loss": "tokens"}}, "averages over tokens; allowed: contiguous, linked, masked, pairs, random"),
        ({"reports": {"mlm_loss": 2}}, "a width of 2; allowed: 1, or 3"),
        ({"reports": {"mlm_loss": 1, "tokens": 1}}, "`reports` names tokens; allowed: names that the journal"),
    ],
)
def test_a_declaration_is_checked_when_it_is_found(declare, declared, message):
    with pytest.raises(ValueError, match=f"objective mine:OBJ: .*{message}"):
        find_objective(declare(**declared))


def test_the_names_of_the_journal_are_known():
    assert set(TIMINGS) < JOURNAL


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x_loss": 1.0}, "`loss` gave x_loss, `reports` mlm_loss"),
        ({"mlm_loss": 1.0}, r"mlm_loss must be \(sum, count\), two tensors of size 1; got 1.0"),
        ({"mlm_loss": (torch.ones(()), 3)}, r"got Tensor \[\], 3"),
        ({"mlm_loss": (torch.ones(2), torch.ones(()))}, r"got Tensor \[2\]"),
        ({"mlm_loss": (torch.ones(()), torch.ones(()))}, "mlm_loss is minimised .* no gradient"),
    ],
)
def test_what_a_loss_gives_is_checked(given, message):
    with pytest.raises(ValueError, match=f"objective mine:OBJ: .*{message}"):
        flatten(given, Objective(), "mine:OBJ")


def test_a_batch_without_what_counts_needs_no_gradient():
    assert flatten({"mlm_loss": (torch.zeros(()), torch.zeros(()))}, Objective(), "none").tolist() == [0, 0]
