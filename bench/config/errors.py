"""The error of a configuration."""

from bench.record import UserError


class ConfigError(UserError):
    """Bad input; the message is one line and names the way out."""
