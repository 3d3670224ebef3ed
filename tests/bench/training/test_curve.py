"""The file of the training curve."""

import csv

import pytest

from bench.training.curve import LEVELS, MOST_ROWS, means, new_sums, write_curve


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_entry_is_a_row_with_empty_cells_for_levels_without_images(tmp_path):
    sums = new_sums()
    sums[0, 1], sums[1, 1] = 3.0, 2.0
    assert means(sums) == {LEVELS[1]: 1.5}
    write_curve(tmp_path / "t.csv", [{"images": 128, "loss": 2.0, **means(sums)}])
    (row,) = rows(tmp_path / "t.csv")
    assert row == {**dict.fromkeys(LEVELS, ""), "images": "128", "loss": "2", LEVELS[1]: "1.5"}


@pytest.mark.parametrize("count", [MOST_ROWS, 10 * MOST_ROWS, 10 * MOST_ROWS + 7])
def test_a_long_training_has_a_short_file_with_the_same_mean(tmp_path, count):
    history = [{"images": 64 * (n + 1), "loss": float(n % 10)} for n in range(count)]
    write_curve(tmp_path / "t.csv", history)
    found = rows(tmp_path / "t.csv")
    assert len(found) <= MOST_ROWS
    assert int(found[-1]["images"]) == 64 * count
    mean = sum(float(row["loss"]) for row in found) / len(found)
    assert mean == pytest.approx(4.5, rel=0.05)


def test_without_a_check_the_file_has_no_rows(tmp_path):
    write_curve(tmp_path / "t.csv", [])
    assert rows(tmp_path / "t.csv") == []
