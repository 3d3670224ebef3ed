"""The examples, with tiny budgets."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_optimal_pairs_sample_better_with_one_evaluation():
    """Straight paths need few steps: the effect is large even after a short training."""
    compare = runpy.run_path(str(EXAMPLES / "flow_matching.py"))["compare"]
    found = compare(steps=60, count=300, evaluations=(1, 8))
    assert list(found) == ["random", "lapjv"]
    # With one evaluation random pairs can only give the mean of the data.
    assert found["lapjv"][0] < 0.7 * found["random"][0]
    assert found["random"][0] > 1
