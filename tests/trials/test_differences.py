"""Intervals cover what they should, whatever varies: seeds, examples, or how each seed answers each example."""

import doctest

import numpy as np
import pytest

from linkbert.tasks.results import Column, Score
from linkbert.trials import differences
from linkbert.trials.differences import Measure, draw_rows, interval


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


def study_of(rng, effect, seeds=3, documents=40):
    """Two arms of one encoder that differ by chance, and by an effect; examples come in documents."""
    measure = Measure("probe", "gain", "gain", "")
    groups = np.repeat(np.arange(documents), 5)
    of_documents = rng.normal(0, 1, documents)
    for arm, gain in (("linkbert", effect), ("bert", 0.0)):
        for seed in range(seeds):
            own = rng.normal(0, 0.05) + (of_documents + rng.normal(0, 0.3, documents))[groups]
            rows = gain + own + rng.normal(0, 1, len(groups))
            measure.values.setdefault(arm, {})[seed] = float(rows.mean())
            measure.answers[arm, seed] = {"rows": rows, "groups": groups}
    return measure.difference("linkbert", "bert")


def test_a_null_study_says_null_and_one_with_an_effect_does_not():
    rng = np.random.default_rng(0)
    told = {
        effect: np.mean(
            [found["low"] > 0 or found["high"] < 0 for found in (study_of(rng, effect) for _ in range(100))]
        )
        for effect in (0.0, 1.0)
    }
    assert told[0.0] <= 0.08
    assert told[1.0] >= 0.95


def test_with_one_pretraining_seed_fine_tuning_seeds_widen_the_interval(tmp_path):
    measure = Measure("squad", "", "SQuAD", "F1", Column("squad"))
    scores = {"linkbert": (0.60, 0.62, 0.58), "bert": (0.55, 0.54, 0.53)}
    for arm, of_seeds in scores.items():
        runs = [
            {"scores": {"dev": {"answer_f1": each, "exact": each}}, "folder": tmp_path, "key": "0"} for each in of_seeds
        ]
        measure.answers[arm, 0] = Score("", measure.column, runs, 0)
        measure.values[arm] = {0: 100 * float(np.mean(of_seeds))}
    found = measure.difference("linkbert", "bert")
    by_hand = interval([5.0, 8.0, 5.0])
    assert [found[key] for key in ("value", "low", "high", "p")] == pytest.approx([*by_hand])
    assert (found["seeds"], found["runs"], found["fine_tuning_seeds"]) == ([0], 2, 3)
    for groups, said in ((0, "over fine-tuning seeds alone"), (9, "over examples and fine-tuning seeds")):
        titles, known = ["LinkBERT", "BERT"], found | {"groups_of_examples": groups}
        assert f"one of each: the interval is {said}" in differences.sentence(titles, measure, known)
