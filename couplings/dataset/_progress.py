"""The progress bar of a fit, where tqdm is installed."""

from __future__ import annotations

from typing import Any


class _Silent:
    """The part of tqdm's interface that fits use, which shows nothing."""

    def __init__(self, done: int):
        self.n = done

    def update(self, count: int) -> None:
        """Count some more steps."""
        self.n += count

    def set_postfix(self, **_: object) -> None:
        """Show no values."""

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no line."""


def progress_bar(title: str, total: int, done: int) -> Any:
    """A bar on a terminal, of `total` steps of which `done` are finished; silent without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        # The bar is not worth an error: the fit is the same without it.
        return _Silent(done)
    # None shows it on terminals only, so that logs hold no bars.
    return tqdm(total=total, initial=done, desc=title, disable=None)
