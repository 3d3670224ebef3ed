import math

import pytest
import torch

from models.objectives.edm import EDM


@pytest.mark.parametrize("sigma", [0.002, 0.5, 80.0])
def test_weight_undoes_the_output_scale(sigma):
    """lambda = 1 / c_out^2 (Karras et al. 2022, App. B.6)."""
    c_out = 0.5 * sigma / math.sqrt(sigma**2 + 0.25)
    assert EDM().weight(torch.tensor(sigma)).item() == pytest.approx(1 / c_out**2, rel=1e-5)


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
def test_input_and_target_of_the_network_have_unit_variance(sigma_data, seeded):
    """The principle that the coefficients follow from (Karras et al. 2022, App. B.6)."""
    images = sigma_data * torch.randn(200_000, generator=seeded())
    noise = torch.randn(200_000, generator=seeded(1))
    for level in (0.01, 0.5, 30.0):
        scale = EDM(sigma_data=sigma_data).coefficients(torch.tensor([level]))
        noisy = images + level * noise
        assert (scale.into * noisy).std().item() == pytest.approx(1, rel=0.01)
        target = (images - scale.skip * noisy) / scale.out
        assert target.std().item() == pytest.approx(1, rel=0.01)


def test_log_sigma_is_normal(seeded):
    """Means of 100,000 draws: standard errors 0.004 and 0.003."""
    log = EDM().draw_sigma(100_000, seeded()).log()
    assert log.mean().item() == pytest.approx(-1.2, abs=0.02)
    assert log.std().item() == pytest.approx(1.2, abs=0.02)
    assert (log < -1.2).float().mean().item() == pytest.approx(0.5, abs=0.01)
    other = EDM(P_mean=0.5, P_std=0.3).draw_sigma(100_000, seeded()).log()
    torch.testing.assert_close(other, (log + 1.2) / 1.2 * 0.3 + 0.5, atol=1e-5, rtol=1e-5)


def test_sigma_comes_from_the_generator_only(seeded):
    objective = EDM()
    before = torch.random.get_rng_state()
    assert torch.equal(objective.draw_sigma(5, seeded(3)), objective.draw_sigma(5, seeded(3)))
    assert not torch.equal(objective.draw_sigma(5, seeded(3)), objective.draw_sigma(5, seeded(4)))
    assert torch.equal(torch.random.get_rng_state(), before)
