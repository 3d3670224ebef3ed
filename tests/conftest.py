import os
from pathlib import Path

# Tests are many and tiny, and run in as many processes as there are cores: one thread each.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets, named by OT_BENCH_DATA."""
    folder = os.environ.get("OT_BENCH_DATA")
    if not folder:
        pytest.skip("set OT_BENCH_DATA to the folder that holds fashion-mnist/ and cifar-10-batches-py/")
    return Path(folder)
