from pathlib import Path

import pytest
import torch

from models import edm as networks
from models.networks import auto

GOLDEN = Path(__file__).parents[1] / "golden"  # names and shapes of the released networks' tensors
RELEASED = {
    "ddpmpp": ({"label_dim": 10}, 55_735_299),
    "ncsnpp": ({"label_dim": 0}, 56_397_827),
    "adm": ({"label_dim": 1000}, 295_899_267),
}


@pytest.mark.parametrize("name", RELEASED)
def test_tensors_are_those_of_the_released_network(name):
    options, parameters = RELEASED[name]
    with torch.device("meta"):
        net = getattr(networks, name)(**options)
    buffers = {key for key, _ in net.named_buffers()}
    lines = [
        f"{key} {'x'.join(map(str, value.shape))}{' (buffer)' if key in buffers else ''}"
        for key, value in net.state_dict().items()
    ]
    assert sorted(lines) == sorted((GOLDEN / f"{name}.txt").read_text().splitlines())
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("name", ["ddpmpp", "ncsnpp", "adm", "small"])
@pytest.mark.parametrize(("size", "channels", "mult"), [(8, 1, (1, 2)), (1, 2, (1,))])
def test_every_network_runs_on_images_and_points(name, size, channels, mult, seeded):
    make = getattr(networks, name)
    net = make(
        size, channels, label_dim=3, model_channels=16, channel_mult=mult, num_blocks=1
    ).eval()
    x = torch.randn(2, channels, size, size, generator=seeded())
    denoised = net(x, torch.tensor([0.5, 2.0]), torch.eye(3)[:2])
    assert denoised.shape == x.shape
    assert denoised.dtype == torch.float32
    assert denoised.isfinite().all()


@pytest.mark.parametrize(
    ("size", "mult", "levels"),
    [(1, (1, 2), 0), (7, (1, 2, 2), 1), (12, (1, 2, 2), 2), (16, (1, 2, 2), 3), (64, (1, 2), 2)],
)
def test_auto_fits_any_size(size, mult, levels, seeded):
    net = auto.build(size, 3, 2, 0, model_channels=16, channel_mult=mult, num_blocks=1)
    x = torch.randn(2, 3, size, size, generator=seeded())
    assert net(x, torch.zeros(2), torch.eye(2), None).shape == x.shape
    # The U-Net names its blocks by their resolution.
    sides = {key.split(".")[1].split("_")[0] for key in net.state_dict() if key.startswith("enc.")}
    assert len(sides) == levels


def test_weights_carry_over_to_a_second_network(seeded):
    first, second = (networks.small(model_channels=16) for _ in range(2))
    x, sigma = torch.randn(2, 1, 8, 8, generator=seeded()), torch.tensor(1.0)
    with torch.no_grad():
        first.model.dec["8x8_aux_conv"].weight.normal_(generator=seeded(1))
        assert not torch.equal(first(x, sigma), second(x, sigma))
        second.load_state_dict(first.state_dict(), strict=True)
        assert torch.equal(first(x, sigma), second(x, sigma))


def test_small_is_small():
    assert 100_000 < sum(p.numel() for p in networks.small().parameters()) < 1_000_000
