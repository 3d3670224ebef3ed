import subprocess
import sys
from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.randomness import derive, generator


def test_every_axis_gives_a_stream_of_its_own():
    axes = list(product((0, 1, 2), ("images", "noise", "sigma"), (0, 1), (0, 1, 11)))
    first = {tuple(torch.randn(4, generator=generator(*axis)).tolist()) for axis in axes}
    assert len({derive(*axis) for axis in axes}) == len(first) == len(axes)


def test_a_stream_does_not_depend_on_earlier_draws():
    expected = torch.randn(3, generator=generator(0, "noise", step=5))
    for step in range(5):
        torch.randn(step + 7, generator=generator(0, "noise", step=step))
    torch.rand(1)
    assert torch.equal(torch.randn(3, generator=generator(0, "noise", step=5)), expected)


def test_digits_of_neighbouring_axes_do_not_run_together():
    assert derive(1, "noise", 1, 11) != derive(1, "noise", 11, 1) != derive(11, "noise", 1, 1)


@given(st.integers(0, 2**63), st.text(max_size=20), st.integers(0, 10**6), st.integers(0, 10**12))
def test_seeds_suit_every_generator(seed, purpose, rank, step):
    assert 0 <= derive(seed, purpose, rank, step) < 2**63
    generator(seed, purpose, rank, step)


def test_another_process_finds_the_same_stream():
    """Python's own hash of a string differs from process to process; a seed must not."""
    command = "from bench.randomness import derive; print(derive(3, 'latents', 1, 42))"
    other = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert int(other.stdout) == derive(3, "latents", 1, 42)
