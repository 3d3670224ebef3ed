import numpy as np
import torch
from sklearn.datasets import load_digits

from bench.data import load


def rows(split):
    """Each image followed by its label."""
    return torch.cat([split.images.flatten(1), split.labels[:, None]], dim=1).tolist()


def test_the_two_splits_are_the_whole_set_cut_in_two():
    dataset = load("digits")
    whole = load_digits()
    expected = np.column_stack([whole.data / 8 - 1, whole.target]).tolist()
    assert sorted(rows(dataset.train) + rows(dataset.test)) == sorted(expected)


def test_every_class_is_held_out_in_proportion():
    dataset = load("digits")
    train, test = dataset.train.labels.bincount(), dataset.test.labels.bincount()
    proportional = (train + test) * 360 / 1797
    assert (test - proportional).abs().max() < 1


def test_grey_levels_are_the_seventeen_original_ones():
    levels = load("digits").train.images.unique()
    torch.testing.assert_close(levels, torch.arange(17) / 8 - 1)


def test_the_split_is_the_one_of_every_earlier_release():
    assert load("digits").checksum.startswith("377e971882be95e8")
