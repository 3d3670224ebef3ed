import os
import sys
from pathlib import Path

# Tests are many and tiny, and run in as many processes as there are cores: one thread each.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest  # noqa: E402

# One process runs all tests of a file. Begun last, the longest files would keep it busy for minutes
# after the others have ended. The first two wait for other processes most of their time.
FIRST = (
    "test_cluster.py",
    "test_submit.py",
    "test_making.py",
    "test_ranks.py",
    "test_docs.py",
    "test_run.py",
    "test_run_resume.py",
    "test_environment.py",
    "test_stopping.py",
    "test_arrays.py",
)


def pytest_collection_modifyitems(items):
    """Begin with the longest files."""
    rank = {name: place for place, name in enumerate(FIRST)}
    # Stable, so that all others keep their order.
    items.sort(key=lambda item: rank.get(item.path.name, len(FIRST)))


@pytest.fixture(scope="session", autouse=True)
def _one_run_at_a_time():
    """Commands called in a test find one core, so they make their runs here, one by one.

    Each test process has one core to itself; tests of ``--parallel`` give the number.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.run.making.usable_cores", lambda: 1)
        yield


@pytest.fixture(scope="session", autouse=True)
def _expect_nothing():
    """Commands called in a test do not measure this machine first, which takes a second each."""

    def measure(configs, dataset, device, execution):
        from bench.run.pace import Pace

        return Pace(1e-4, 1e-5, 0.0, 1000, {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.run.foresight.measured", measure)
        yield


@pytest.fixture(scope="module", autouse=True)
def _no_plugins_of_other_files(tmp_path_factory):
    """Forget packages that a file of tests wrote: another one may write others of the same name."""
    yield
    written = str(tmp_path_factory.getbasetemp())
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        # A package without __init__.py has no origin, only locations.
        places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
        if any(str(place).startswith(written) for place in places):
            del sys.modules[name]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets, named by OT_BENCH_DATA."""
    folder = os.environ.get("OT_BENCH_DATA")
    if not folder:
        pytest.skip(
            "set OT_BENCH_DATA to the folder that holds fashion-mnist/ and cifar-10-batches-py/"
        )
    return Path(folder)


@pytest.fixture
def defaults():
    """Set a default of the process, `float64`, `meta` or `numpy errors`, until the test ends."""
    import numpy as np
    import torch

    errors = np.geterr()

    def choose(what):
        if what == "float64":
            torch.set_default_dtype(torch.float64)
        elif what == "meta":
            # Has no values: a tensor that is made there by mistake fails.
            torch.set_default_device("meta")
        else:
            np.seterr(all="raise")

    yield choose
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    np.seterr(**errors)
