"""Submitit sets up logging when it is imported, which closes the files that pytest captures: import it before any test."""

import submitit  # noqa: F401
