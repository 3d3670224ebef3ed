import math

import numpy as np
import pytest
import torch

from bench.metrics._gradient_noise import GradientNoise, gradient_noise


def normal(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_is_the_trace_of_the_sample_covariance():
    gradients = normal(9, 5) + 3
    found = gradient_noise(iter(gradients), batch=4)
    trace = np.trace(np.cov(gradients.double().numpy(), rowvar=False))
    assert found.variance == pytest.approx(4 * trace, rel=1e-5)
    # Of different batches: what |G|^2 is estimated from
    products = gradients.double() @ gradients.double().T
    cross = (products.sum() - products.trace()).item() / (9 * 8)
    assert found.signal == pytest.approx(cross, rel=1e-5)
    assert found.scale == pytest.approx(4 * trace / cross, rel=1e-5)


def test_linear_regression():
    """(a w - t)^2 / 2 with a ~ N(0, I), t = a v + eta e: G = w - v = u, tr(Sigma) = (p + 1) |u|^2 +
    p eta^2.

    For E|a|^2 (a u)^2 = (p + 2) |u|^2 (Isserlis). Averages over 300 estimates: unbiased.
    """
    p, eta, batch, batches, times = 6, 0.7, 8, 5, 300
    u = torch.linspace(0.1, 0.6, p)
    a = normal(times, batches, batch, p)
    residual = a @ u - eta * normal(times, batches, batch, seed=1)
    gradients = (a * residual[..., None]).mean(2)  # [times, batches, p]
    found = [gradient_noise(iter(each), batch) for each in gradients]
    variance, signal = ((p + 1) * u @ u + p * eta**2).item(), (u @ u).item()
    for name, exact in (("variance", variance), ("signal", signal)):
        values = np.array([getattr(each, name) for each in found])
        error = values.std() / math.sqrt(times)
        assert error < 0.1 * exact
        assert values.mean() == pytest.approx(exact, abs=4 * error)


def test_without_a_signal_there_is_no_scale():
    assert math.isnan(GradientNoise(2.0, -0.1).scale)
    assert GradientNoise(2.0, 0.5).scale == 4
    assert gradient_noise([torch.ones(3)] * 4, 2) == GradientNoise(0.0, pytest.approx(3.0))


def test_gradients_are_left_alone_and_one_is_too_few():
    gradients = [normal(4, seed=k) for k in range(3)]
    before = [gradient.clone() for gradient in gradients]
    gradient_noise(gradients, 1)
    assert all(map(torch.equal, gradients, before))
    with pytest.raises(ValueError, match="at least two"):
        gradient_noise(gradients[:1], 1)


def test_one_gradient_that_is_not_finite_makes_nan():
    gradients = normal(9, 5)
    gradients[3, 2] = math.nan
    found = gradient_noise(iter(gradients), batch=4)
    assert all(map(math.isnan, (found.variance, found.signal, found.scale)))
