"""Intervals cover what they should, whatever varies: seeds, examples, or how each seed answers each example."""

import doctest

import numpy as np
import pytest

from linkbert.trials import differences
from linkbert.trials.differences import draw_rows, interval


def test_the_examples_of_the_docstrings():
    assert doctest.testmod(differences).failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize(
    ("of_seeds", "of_examples", "of_both"),
    [
        (1, 0.1, 0.5),
        (0.2, 2, 6),
        (0, 2, 0.1),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(0.2, 2, 2), (0, 0.01, 3), (0.05, 1, 3)]),
        *(pytest.param((n * 2 / 200) ** 0.5, 1, 1, marks=pytest.mark.slow) for n in (2, 8, 50)),
    ],
    ids=["seeds", "mixed", "examples", "both alike", "their interaction", "few seeds' worth", "2", "8", "50"],
)
def test_intervals_cover_the_truth(seeds, of_seeds, of_examples, of_both):
    rng, size, studies, covered, wrong = np.random.default_rng(seeds), 200, 400, 0, 0
    for _ in range(studies):
        true = (
            rng.normal(0, of_seeds, (seeds, 1))
            + rng.normal(0, of_examples, size)
            + rng.normal(0, of_both, (seeds, size))
        )
        draws = rng.multivariate_normal(np.zeros(seeds), np.cov(true) / size, 400)  # as a bootstrap's of a mean
        found = interval(true.mean(axis=1), draws, size)
        covered += found.low <= 0 <= found.high
        wrong += found.p < 0.01
    assert covered / studies >= 0.92
    assert wrong / studies <= 0.025


def test_the_bootstrap_draws_documents_and_the_same_examples_for_all_seeds():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 4)
    of_group = np.repeat(rng.normal(0, 1, 50), 4)
    zeros = {"rows": np.zeros(200), "groups": groups}
    models = [{"rows": of_group + shift, "groups": groups} for shift in (0, 1)]
    draws, count = draw_rows([(model, zeros) for model in models])
    assert count == 50
    assert draws.shape == (differences.SAMPLES, 2)
    assert np.allclose(draws[:, 1] - draws[:, 0], 1)
    assert draws[:, 0].std() == pytest.approx(of_group[::4].std() / 50**0.5, rel=0.15)


def test_what_is_no_number_for_one_model_counts_for_none():
    rows, other = np.array([1.0, np.nan, 3.0, 5.0]), np.array([0.0, 0.0, np.nan, 1.0])
    groups = np.arange(4)
    draws, count = draw_rows([({"rows": rows, "groups": groups}, {"rows": other, "groups": groups})])
    assert count == 2
    assert {*np.round(draws[:, 0], 6).tolist()} <= {1.0, 2.5, 4.0}


def test_models_that_were_asked_other_examples_are_not_paired():
    ours, theirs = ({"rows": np.zeros(4), "groups": np.array(groups)} for groups in ([0, 1, 2, 3], [0, 1, 2, 4]))
    with pytest.raises(ValueError, match="other examples"):
        draw_rows([(ours, theirs)])
