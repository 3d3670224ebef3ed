import pytest
import torch

from models.streams import uniform_index, unit_noise


def streams(first: int, n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + i) for i in range(n)]


def test_a_row_depends_on_its_stream_alone():
    like = torch.empty(6, 2, 3, dtype=torch.float64)
    whole = unit_noise(like, streams(0, 6))
    assert torch.equal(whole[4:], unit_noise(like[:2], streams(4, 2)))
    assert whole.dtype == torch.float64
    assert len(whole.unique()) == 36
    assert unit_noise(like[:0], []).shape == (0, 2, 3)


def test_moments():
    noise = unit_noise(torch.empty(2000, 5), streams(0, 2000))
    assert noise.mean().abs() < 0.04
    assert noise.std() == pytest.approx(1, abs=0.03)


def test_index_keeps_to_its_size():
    index = uniform_index([1, 3] * 300, streams(0, 600))
    assert index[::2].tolist() == [0] * 300
    assert (index[1::2].bincount(minlength=3) - 100).abs().max() < 40


def test_a_stream_each():
    with pytest.raises(ValueError, match="one generator for each"):
        unit_noise(torch.empty(3, 1), streams(0, 2))
