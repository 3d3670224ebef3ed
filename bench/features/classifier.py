"""Features of a small convolutional classifier, trained once on the data set's labels and cached by
its checksum.
"""

from __future__ import annotations

import hashlib
import io
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from bench.data import OWN_DATA, Dataset, Split, as_images, plain_name
from bench.features import FeatureError, Features
from bench.record import write_bytes
from bench.record.files import made_once

WIDTH = 64  # features
VERSION = 2  # raise it when network or training change, so that no old cache is used
TRAINING_IMAGES = 60_000
# Times that budget, for data whose classifier would stay below its floor.
LONGER = {"cifar10": 4}
BATCH = 128
FLOOR = 0.8  # below this test accuracy the features say little about the classes
FLOORS = {"cifar10": 0.6, "moons": 0.9}
# Of the user's own images, whose classes may be hard to tell: the report shows the accuracy.
TIMES_CHANCE = 2.0


class Classifier(nn.Module):
    """Convolutions down to 4 pixels, then a layer of 64 features and the class logits."""

    def __init__(self, image_shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        channels, size, _ = image_shape
        width = 32
        layers = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        while size > 4:
            # Drawn and thrown away: without it the weights of cached classifiers would be others.
            nn.Conv2d(width, 2 * width, 3, padding=1, stride=2)
            wider = min(2 * width, 128)
            layers += [nn.Conv2d(width, wider, 3, padding=1, stride=2), nn.ReLU()]
            width = wider
            size = -(-size // 2)
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(width * size**2, WIDTH), nn.ReLU()
        )
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, images: Tensor) -> Tensor:  # [n, c, h, w] -> [n, num_classes]
        return self.head(self.body(images))


def load(dataset: Dataset, cache: Path, device: str) -> Features:
    """The classifier's features, from the cache or freshly trained.

    Raises:
        FeatureError: its test accuracy is below the floor.

    """
    path = cache / f"classifier-v{VERSION}-{dataset.checksum[:16]}.pt"
    net = Classifier(dataset.image_shape, dataset.num_classes)
    # All runs must be measured in the same features, so one of them trains for all.
    made_once(path, partial(_train_and_save, dataset, device, path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(content["net"])
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        raise FeatureError(
            f"{path} cannot be read ({type(error).__name__}): delete it, it will be made again"
        ) from None
    accuracy = content["accuracy"]
    floor = _floor(dataset)
    if accuracy < floor:
        raise FeatureError(
            f"the classifier of {dataset.name} reaches {accuracy:.1%} on the test split, under"
            f" {floor:.0%}, so its features would mislead: check the labels, add images, or measure"
            " without it (--features pixels)"
        )
    net = net.to(device).eval().requires_grad_(False)

    def probabilities(features: Tensor) -> Tensor:
        return net.head(features.to(device)).softmax(1).cpu()

    def classify(features: Tensor) -> Tensor:
        return probabilities(features).argmax(1)

    return Features(
        "classifier", net.body, WIDTH, _fingerprint(net), accuracy, classify, probabilities
    )


def _floor(dataset: Dataset) -> float:
    if plain_name(dataset.name) in OWN_DATA:
        return min(FLOOR, TIMES_CHANCE / dataset.num_classes)
    return FLOORS.get(dataset.name, FLOOR)


def _train_and_save(dataset: Dataset, device: str, path: Path) -> None:
    net = _train(dataset, device)
    buffer = io.BytesIO()
    torch.save({"net": net.state_dict(), "accuracy": _accuracy(net, dataset.test, device)}, buffer)
    write_bytes(path, buffer.getvalue())


def _fingerprint(net: Classifier) -> str:
    # Of the weights, not of the seed: from one seed another machine may train other weights.
    digest = hashlib.sha256()
    for tensor in net.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return f"classifier-{digest.hexdigest()[:16]}"


def _train(dataset: Dataset, device: str) -> Classifier:
    """Train with Adam, a falling learning rate and shifts by up to a pixel.

    The seed is fixed: all runs are measured in the same features.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Classifier(dataset.image_shape, dataset.num_classes).to(device)
    # On the CPU: a GPU draws other numbers from the same seed, which would give other features.
    g = torch.Generator().manual_seed(0)
    split = dataset.train
    steps = LONGER.get(dataset.name, 1) * TRAINING_IMAGES // BATCH
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for _ in tqdm(range(steps), "classifier", unit="step", leave=False, disable=None):
        rows = torch.randint(len(split), (BATCH,), generator=g)
        images = as_images(split.images[rows])
        labels = split.labels[rows]
        # Points in the plane are not shifted.
        if images.shape[-1] > 4:
            # One shift for the whole batch, because torch.roll takes none for each image.
            shift = torch.randint(-1, 2, (2,), generator=g).tolist()
            images = torch.roll(images, shift, dims=(2, 3))
        loss = F.cross_entropy(net(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


@torch.no_grad()
def _accuracy(net: Classifier, split: Split, device: str) -> float:
    hits = 0
    for start in range(0, len(split), 1000):
        rows = slice(start, start + 1000)
        guess = net(as_images(split.images[rows]).to(device)).argmax(1).cpu()
        hits += (guess == split.labels[rows]).sum().item()
    return hits / len(split)
