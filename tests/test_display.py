import io
import math

from linkbert.pretraining.loop import Progress
from linkbert.progress import HEADER_EVERY, TRAINING, LiveLine, training_progress


def rows(*told, every=0.0):
    stream = io.StringIO()
    progress = training_progress(LiveLine(stream, every=every))
    for each in told:
        progress(each)
    return stream.getvalue().splitlines()


LARGE = Progress("training", 61_234, 62_500, 3e-4, 10.314, 1.0986, (0.8, 0.7, math.nan), 12.34, 221_500, 0.974, 0.456,
                 0.02, 31_000_000_000, 1.0, 86_340.0)  # fmt: skip


def test_a_row_of_a_large_run_stays_under_its_columns_and_within_100():
    header, row = rows(LARGE)
    assert header == TRAINING
    assert len(row) == len(header) < 100
    assert row.split() == ["61,234/62,500", "23h59m", "10.31", "1.10", "80", "70", "-", "12.34", "3.0e-04", "221.5k",
                           "97", "46", "2", "31.0GB"]  # fmt: skip
    ends = [header.index(name) + len(name) for name in header.split()]
    assert all(row[end - 1] != " " and row[end : end + 1] in ("", " ") for end in ends)


def test_what_is_not_known_yet_is_a_dash_and_the_header_comes_again():
    told = [Progress("training", step, 90) for step in range(HEADER_EVERY + 1)]
    shown = rows(*told)
    assert [i for i, line in enumerate(shown) if line == TRAINING] == [0, HEADER_EVERY + 1]
    assert shown[1].split()[4:7] == ["-", "-", "-"]


def test_a_step_without_a_linked_pair_leaves_the_share_as_it_was():
    before = Progress("training", 1, 9, relation_accuracies=(1.0, 1.0, 0.5))
    after = Progress("training", 2, 9, relation_accuracies=(1.0, 1.0, math.nan))
    assert rows(before, after)[-1].split()[6] == "50"
