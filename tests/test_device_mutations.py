"""The check of devices finds a ``.to(device)`` that is missing: each of these is left out once."""

import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from couplings import CouplingError
from tests import test_devices as check
from tests.test_devices import digits, net  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[1]

# The file, the statement, and the test that must fail without its move.
MOVES = {
    # The trainer
    "bench/training/state.py": {"return net.to(device, memory_format": "step"},
    "bench/training/step.py": {"return drawn.to(device": "step"},
    "bench/data/contract.py": {"return Split(self.images.to(device)": "step"},
    "bench/pairs/pool.py": {"noise = noise.to(device": "step"},
    # The sampler
    "bench/sampling/sample.py": {
        "labels = part.labels.to(device)": "sampler",
        "noise = latents.noise.to(labels.device)": "sampler",
    },
    "models/streams.py": {"rows.append(row.to(like))": "stochastic"},
    # Couplings
    "couplings/contract.py": {"index.to(noise.device), report": "lapjv"},
    "couplings/batch/bsp.py": {"plan = halved(projections": "bsp"},
    "couplings/swaps.py": {"index = index.to(images.device": "swap"},
    # Metrics
    "bench/metrics/_reference.py": {"yield features.extract(shown.to(device))": "metrics"},
    "bench/metrics/copies.py": {"rows = chunk.to(x.device)": "metrics"},
    "bench/metrics/_learning.py": {"noise = torch.randn(effort.queries": "targets"},
}
CASES = [(file, *case) for file, moves in MOVES.items() for case in moves.items()]


class _Mutation(TorchFunctionMode):
    def __init__(self, is_left_out):
        super().__init__()
        self.is_left_out = is_left_out

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to and self.is_left_out(sys._getframe(1)):
            return args[0]
        return func(*args, **kwargs or {})


@contextmanager
def without_move(file, statement):
    """Let ``.to`` return its tensor or module as it is, in one line of a file; yield its calls."""
    path = ROOT / file
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    (line,) = [number for number, text in lines if statement in text]
    calls = []

    def is_left_out(frame):
        # The innermost frame of this repository's packages: torch's and the tests' lie within it.
        while frame and not _is_ours(Path(frame.f_code.co_filename)):
            frame = frame.f_back
        if frame is None or Path(frame.f_code.co_filename) != path or frame.f_lineno != line:
            return False
        calls.append(frame.f_lineno)
        return True

    move = nn.Module.to

    def move_module(module, *args, **kwargs):
        if is_left_out(sys._getframe(1)):
            return module
        return move(module, *args, **kwargs)

    with mock.patch.object(nn.Module, "to", move_module), _Mutation(is_left_out):
        yield calls


def _is_ours(path):
    places = [ROOT / name for name in ("bench", "couplings", "models")]
    return any(place in path.parents for place in places)


@pytest.mark.parametrize(("file", "statement", "name"), CASES)
def test_a_missing_move_is_found(file, statement, name, net, digits):  # noqa: F811 - fixtures
    runs = {
        "step": lambda: check.test_a_step_trains_on_the_device_and_never_waits_for_it(
            digits, "edm", False
        ),
        "sampler": lambda: check.test_samplers_sample_where_the_denoiser_is("heun", net, digits),
        "stochastic": lambda: check.test_samplers_sample_where_the_denoiser_is(
            "euler-maruyama", net, digits
        ),
        "metrics": lambda: check.test_metrics_measure_on_the_device(digits),
        "targets": lambda: check.test_targets_of_independent_noise_are_those_of_the_cpu(digits),
    }
    pair = check.test_couplings_pair_on_the_device_of_the_images
    run = runs.get(name, lambda: pair(name))
    with without_move(file, statement) as calls:
        # Operands of two devices are an error, and a result that is elsewhere fails an assertion.
        with pytest.raises((RuntimeError, AssertionError, TypeError, CouplingError)):
            run()
        assert calls
    # With all moves it passes.
    run()
