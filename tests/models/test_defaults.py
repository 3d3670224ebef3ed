"""What a caller sets for the whole process must change no draw, schedule or sample."""

import pytest
import torch

from models import edm as networks
from models.analytic import GaussianMixture
from models.augment import Augment
from models.guidance.discriminator import NoisyEncoder, draw_log_uniform_sigma, feature_channels
from models.guidance.guide import Boost, Guidance, Guide
from models.objectives.edm import EDM
from models.ode import SigmaODE
from models.samplers.euler_maruyama import euler_maruyama
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas
from models.starts.random_index import random_index
from models.streams import unit_noise
from models.views import sigma_of


def stream(seed):
    return torch.Generator("cpu").manual_seed(seed)


def network():
    """A denoiser with labels, made on the CPU: as torch's own layers, ours are made on the default
    device.
    """
    torch.manual_seed(0)
    with torch.device("cpu"):
        return networks.small(label_dim=3, model_channels=8, channel_mult=[1]).eval()


def mixture(images):
    points = images.flatten(1).double()
    return GaussianMixture(
        points, points.new_full((len(points),), 0.1), points.new_full((len(points),), 1 / 4)
    )


def logit(x, sigma, labels):
    return -x.flatten(1).square().sum(1) / (1 + sigma)


def everything(images):
    """All that draws or makes tensors, by name."""
    streams, net, world = [stream(row) for row in range(4)], network(), mixture(images)
    latents, sigmas = unit_noise(images, streams), karras_sigmas(4)
    boosted = Guide(Guidance(logit), boost=Boost(churn_every=2))
    with torch.no_grad():
        return {
            "sigmas": sigmas,
            "view": sigmas.new_tensor([sigma_of("ddpm", 500), sigma_of("ncsnv2", 100)]),
            "sigma": EDM().draw_sigma(5, stream(1)),
            "log-uniform sigma": draw_log_uniform_sigma(5, stream(1)),
            "augmented": Augment(0.9)(images, stream(2)).images,
            "mixture": world.sample(5, stream(3)),
            "latents": latents,
            "heun": heun(SigmaODE(net), latents, sigmas),
            "exact": heun(SigmaODE(world.denoise), latents, sigmas),
            "guided": heun(SigmaODE(world.denoise, guide=Guide(Guidance(logit))), latents, sigmas),
            "boosted": heun(
                SigmaODE(world.denoise, guide=boosted), latents, sigmas, streams=streams
            ),
            "stochastic": euler_maruyama(SigmaODE(world.denoise), latents, sigmas, streams=streams),
            "start": random_index(images)(latents, streams, None),
            **net.state_dict(),
        }


@pytest.mark.parametrize("what", ["float64", "meta"])
def test_what_is_drawn_and_sampled_ignores_the_defaults_of_torch(defaults, what):
    images = torch.rand(4, 1, 8, 8, generator=stream(0)) * 2 - 1
    expected = everything(images)
    defaults(what)
    found = everything(images)
    assert found.keys() == expected.keys()
    different = [name for name in found if found[name].dtype != expected[name].dtype]
    assert not different
    assert not [name for name in found if not torch.equal(found[name], expected[name])]


def test_an_encoder_is_tried_on_the_device_where_it_is():
    # Stands for a GPU: a tensor from the CPU fails there
    encoder = NoisyEncoder((1, 8, 8)).to("meta")
    assert feature_channels(encoder, (1, 8, 8)) == encoder.channels
