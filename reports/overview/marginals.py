"""Warnings about marginals that pools did not keep, by what the training counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from reports.tables.arms import ordered
from reports.tables.runs import Run
from reports.text import join, number

NOISE = 0.01  # of the duplicates, or of the mean square, up to which noise counts as Gaussian
# Chi-square over its degrees of freedom: draws of single images have 1, by chance up to 1.5 in sets
# of 200 and less in larger ones.
UNEVEN = 1.5
SIGMAS = 5  # standard errors that a drift must exceed


@dataclass(frozen=True)
class Counted:
    """Counts of the runs of a coupling; None where they made none.

    Attributes:
        duplicates: share of a pool's noise samples that no image got.
        drift: of the mean square of the noise samples.
        pairs: that each was counted from.
        chi2: of the uses of the training images.
        least: uses of an image.
        most: uses of an image.

    """

    duplicates: float | None
    drift: float | None
    pairs: float | None
    chi2: float | None
    least: float | None
    most: float | None

    @property
    def noise(self) -> list[str]:
        """Words for the faults of the noise samples."""
        found = []
        if self.duplicates is not None and self.duplicates > NOISE:
            found.append(f"{100 * self.duplicates:.0f} % of a pool's noise samples were unused")
        # As if each pair had one value, so that chance is never taken for a fault.
        chance = SIGMAS * math.sqrt(2 / self.pairs) if self.pairs else math.inf
        if self.drift is not None and abs(self.drift) > max(NOISE, chance):
            found.append(f"their mean square is {100 * self.drift:+.1f} % off".replace("-", "−"))
        return found


def marginals(runs: Sequence[Run]) -> list[str]:
    """A line for each marginal that some couplings did not keep; none for runs of earlier
    versions.
    """
    by_coupling: dict[str, list[Run]] = {}
    for run in runs:
        by_coupling.setdefault(str(run.config["coupling"]), []).append(run)
    noise = []
    images = []
    for coupling in ordered(by_coupling):
        # All seeds together: one line for each coupling, however many runs there are.
        counted = _counted(by_coupling[coupling])
        if counted.noise:
            noise.append(f"{coupling} ({join(counted.noise)})")
        if counted.chi2 is not None and counted.chi2 > UNEVEN:
            images.append(
                f"{coupling} (from {counted.least or 0.0:.0f} to {counted.most or 0.0:.0f}"
                f" times, chi-square {number(counted.chi2)} times that of independent draws)"
            )
    lines = []
    if noise:
        lines.append(f"The noise seen in training was not exactly Gaussian: {'; '.join(noise)}.")
    if images:
        lines.append(
            f"Training images were used less evenly than by independent draws: {'; '.join(images)}."
        )
    return lines


def _counted(runs: Sequence[Run]) -> Counted:
    return Counted(
        _mean(_values(runs, "coupling_duplicates")),
        _mean(_values(runs, "coupling_noise_norm_drift")),
        _mean(_values(runs, "coupling_images_chi2", "n")),
        _mean(_values(runs, "coupling_images_chi2")),
        _mean(_values(runs, "coupling_images_least")),
        _mean(_values(runs, "coupling_images_most")),
    )


def _values(runs: Iterable[Run], metric: str, field: str = "value") -> list[float]:
    found = []
    for run in runs:
        found += [getattr(row, field) for row in run.measurements if row.metric == metric]
    return found


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None
