"""Packages that only a part of the work needs, and the extra of this project that installs each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from couplings.errors import CouplingError

# The commands' packages stand in one extra: which of them a run needs depends on its options.
# The modules of each extra, by the names that Python imports; pyproject.toml has the versions.
MODULES = {
    "bench": (
        *("PIL", "docstring_parser", "filelock", "jinja2", "matplotlib", "pandas", "pooch"),
        *("safetensors", "seaborn", "sklearn", "tqdm"),
    ),
    "pot": ("ot",),
    "jax": ("jax", "ott"),
    "slurm": ("submitit",),
    "data": ("datasets", "torchvision"),
    "fid": ("torch_fidelity",),
    "peers": ("torchcfm", "pytorch_lightning", "accelerate"),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}
# Libraries whose users know them by another name than that of their module.
KNOWN_AS = {"PIL": "Pillow", "ot": "POT", "ott": "OTT-JAX", "sklearn": "scikit-learn"}


def install(extra: str) -> str:
    """The command that installs an extra, to be run in this repository."""
    return f"pip install -c constraints.txt -e '.[{extra}]'"


def hint(error: ImportError) -> str | None:
    """One line on a package that an extra installs; None if the error is about anything else."""
    # An installed package that fails on import says itself what is wrong with it.
    if not isinstance(error, ModuleNotFoundError):
        return None
    module = (error.name or "").partition(".")[0]
    for extra, modules in MODULES.items():
        if module in modules:
            name = f"{KNOWN_AS[module]} ({module})" if module in KNOWN_AS else module
            return f"{name} is not installed: {install(extra)}"
    return None


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """A block that imports packages of an extra.

    Args:
        what: needs them, for the message, such as the name of a coupling.

    Raises:
        CouplingError: one of them is not installed.

    """
    try:
        yield
    except ImportError as error:
        line = hint(error)
        # The fault of an installed package, whose own message says more.
        if line is None:
            raise
        raise CouplingError(f"{what}: {line}") from error


@contextmanager
def quiet_ott() -> Iterator[None]:
    """A block that imports OTT: its remark on a library of its own is no news for a user."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="JAXopt is no longer maintained", category=DeprecationWarning
        )
        yield
