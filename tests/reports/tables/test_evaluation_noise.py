import math
from dataclasses import replace

import numpy as np
import pytest

from bench.record.infos import BLOCKS
from reports.build import build
from reports.overview.seeds import seed_lines
from reports.tables.evaluation_noise import evaluation_variance
from reports.tables.groups import groups
from reports.tables.primary import primary_panels
from reports.tables.tidy import read_runs

NOISE = {"random": [0.1, 0.0, -0.1, 0.0], "lapjv": [0.1, 0.02, -0.1, -0.02]}


def with_blocks(found, arm):
    """The rows, and with each distance to the test split its values without blocks of latents."""
    rows = list(found)
    for row in found:
        if row.metric == "fd_classifier" and row.split == "test":
            for block in range(BLOCKS):
                value = row.value * math.exp(NOISE[arm][block])
                rows.append(replace(row, metric=f"block_fd_{block + 1}_classifier", value=value))
    return rows


def comparison(folder, make, over_rho, spread, seeds=3, blocks=True):
    """Ratios to random with a sample standard deviation of ``spread`` on the log scale; the best
    rho of lapjv is 16, that of random 7.
    """
    steps = np.linspace(-1, 1, seeds)
    logs = -0.2 + spread * steps / np.std(steps, ddof=1)
    for seed in range(seeds):
        for arm, by_rho in (
            ("random", {7: 10.0, 16: 20.0}),
            ("lapjv", {7: 15.0, 16: 10.0 * math.exp(logs[seed])}),
        ):
            found = over_rho({13: by_rho})
            make(folder, arm, seed, found=with_blocks(found, arm) if blocks else found)
    (group,) = groups(read_runs(folder))
    return group


def test_what_both_runs_share_cancels_at_the_best_schedule_of_each(tmp_path, make, over_rho):
    group = comparison(tmp_path, make, over_rho, 0.1)
    panel = primary_panels(group.panels, group.question)[-1]
    assert panel.at_best
    # By hand: differences 0, 0.02, 0, -0.02, and (k - 1) / k times the sum of their squares.
    expected = 3 / 4 * (0.02**2 + 0.02**2)
    assert evaluation_variance(panel, 13, group.rows) == pytest.approx(expected)
    assert evaluation_variance(panel, 5, group.rows) is None


@pytest.mark.parametrize(
    ("spread", "words"),
    [
        (0.055, "about 20 %"),
        (0.2, "less than 5 %"),
        (0.03, "about 65 %"),
        (0.01, "nearly all"),
    ],
)
def test_the_share_of_evaluation_is_told_in_a_line(tmp_path, make, over_rho, spread, words):
    group = comparison(tmp_path, make, over_rho, spread)
    line = seed_lines(group)[1]
    assert f"accounts for {words} of the variance of that log ratio over seeds" in line
    assert ("would help less than more seeds" in line) == (spread > 0.05)
    html = build(tmp_path).html.read_text()
    assert line in html
    # The blocks are no metric to read, but they are in the table of results.
    assert "block_fd" not in html
    assert "block_fd_1_classifier" in (tmp_path / "results.csv").read_text()


def test_runs_without_blocks_say_nothing_of_it(tmp_path, make, over_rho):
    group = comparison(tmp_path, make, over_rho, 0.1, blocks=False)
    assert not any("evaluation" in line for line in seed_lines(group))
