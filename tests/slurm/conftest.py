"""Submitit sets up logging when it is imported, which closes what pytest captures: import it before."""

import submitit  # noqa: F401
