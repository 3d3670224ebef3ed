"""MLflow, at ``MLFLOW_TRACKING_URI`` or in a local folder."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.training.trackers.contract import Tracker

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "ot-couplings"  # unless MLFLOW_EXPERIMENT_NAME names another
LONGEST = 500  # characters of a parameter that every server takes


class MLflow(Tracker):
    """A run of an experiment; a resumed run is another one of the same name."""

    library: ClassVar[str] = "mlflow"

    def __init__(self, folder: Path, run_id: str, options: Mapping[str, object], images: int):
        from mlflow.tracking import MlflowClient

        folder.mkdir(parents=True, exist_ok=True)
        # A client of its own: the global state of mlflow belongs to the user's program.
        uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.absolute()}/mlflow.db")
        self._client = MlflowClient(uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = _experiment(self._client, name)
        self._id = self._client.create_run(experiment, run_name=run_id).info.run_id
        for key, value in options.items():
            self._client.log_param(self._id, key, str(value)[:LONGEST])

    def values(self, values: Mapping[str, float], images: int) -> None:
        """Log values at a step, the number of images."""
        for name, value in values.items():
            self._client.log_metric(self._id, _allowed(name), value, step=images)

    def picture(self, name: str, path: Path, images: int) -> None:
        """Keep the file as an artifact."""
        self._client.log_artifact(self._id, str(path))

    def close(self, failed: bool) -> None:
        """Mark the run as finished or failed."""
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")


def _allowed(name: str) -> str:
    """The name with an underscore for every sign that a server refuses, and with it the value."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)


def _experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment of this name, which is made if there is none."""
    from mlflow.exceptions import MlflowException

    if found := client.get_experiment_by_name(name):
        return found.experiment_id
    try:
        return client.create_experiment(name)
    except MlflowException:
        # Another run may have made it meanwhile.
        if found := client.get_experiment_by_name(name):
            return found.experiment_id
        raise
