"""The solver benchmark: time, memory and cost of couplings on pools of growing size."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.benchmarks.rounds import rotated
from bench.benchmarks.table import aligned, number
from bench.config import ConfigError

if TYPE_CHECKING:
    from bench.benchmarks.contenders import Contender
    from bench.benchmarks.pools import Ends, Pools
    from couplings import Pool

# Seconds of an optimum by pool size, on an ordinary CPU, until one has been measured
USUAL = {2048: 3.0}


@dataclass(frozen=True)
class Command:
    """The contenders, the sizes of the pools, and the place of the results."""

    couplings: tuple[str, ...] = ()
    """Couplings as name or name:key=value,key=value. Default: every batch coupling."""
    n: tuple[int, ...] = (128, 512, 1024, 2048, 4096, 8192)
    """Pool sizes, in images."""
    data: str = "gauss"
    """gauss (3x32x32 Gaussian images with the 1/f amplitudes of photographs), gauss:D (vectors of D
    numbers with such a spectrum), the name of a data set, or a module of your own, such as
    my_project.spirals.
    """
    data_dir: Path | None = None
    """Folder of the data sets' files."""
    peers: bool = False
    """Measure torchcfm, POT, OTT and scipy in the same rounds."""
    rounds: int = 10
    """Measured rounds, each with another pool, after one to warm up."""
    limit: float = 30.0
    """Seconds for each solver: one whose single solve would take longer is skipped, and the rounds
    of one end once they are used up.
    """
    seed: int = 0
    """Seed of the pools: the same seed gives the same pools."""
    out: Path = Path("runs/solve")
    """Folder that receives solve.csv, solve.html and solve.json (hardware, versions, command)."""

    @property
    def pools(self) -> Pools:
        """The source of the pools."""
        from bench.benchmarks.pools import Pools

        return Pools(self.data, self.data_dir, self.seed)

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            ConfigError: with the way out.

        """
        if not self.n or min(self.n) < 2:
            raise ConfigError("--n takes sizes of 2 and more")
        if self.rounds < 1:
            raise ConfigError(f"--rounds must be 1 or more (got {self.rounds})")
        # Written so that a NaN is refused too.
        if not self.limit > 0:
            raise ConfigError(f"--limit must be above 0 seconds (got {self.limit:g})")
        self.pools.check(max(self.n))


@dataclass(frozen=True)
class Cell:
    """One row of solve.csv: a contender at a pool size.

    A value that does not apply, or was not measured, is None.

    Attributes:
        contender: its name.
        kind: ``coupling``, ``peer`` or ``floor``.
        data: the name of the pools' data.
        n: images in a pool.
        d: numbers in an image.
        seed: of the pools.
        rounds: how many pools the numbers are from.
        median_ms: median time of a whole solve, such as ``pair()``.
        p95_ms: 95th percentile of the same times.
        matrix_ms: median time of the cost matrix alone.
        solve_ms: median time of the rest of the same rounds.
        peak_mb: most memory that one solve held in addition to the pool, in MB, in its own process.
        cost: mean squared L2 distance of a pair.
        cost_ratio: mean over the rounds of the cost over the optimal cost.
        gain: mean share of the possible cut in cost that was reached: 0 random pairs, 1 the
            optimum. Only a pairing that repeats noise samples can exceed 1.
        repeated: 1 - distinct noise samples / n.
        converged: True if the solver reports convergence in every round.
        note: the reason why there are no numbers, or the solver's warning.

    """

    contender: str
    kind: str
    data: str
    n: int
    d: int | None
    seed: int
    rounds: int = 0
    median_ms: float | None = None
    p95_ms: float | None = None
    matrix_ms: float | None = None
    solve_ms: float | None = None
    peak_mb: float | None = None
    cost: float | None = None
    cost_ratio: float | None = None
    gain: float | None = None
    repeated: float | None = None
    converged: bool | None = None
    note: str = ""


@dataclass
class Tally:
    """The measurements of one contender at one pool size as they come in.

    Times are in ms; lists have one entry for each measured round.
    """

    contender: Contender
    n: int
    d: int | None = None
    whole: list[float] = field(default_factory=list)
    matrix: list[float] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    cost_ratio: list[float] = field(default_factory=list)
    gain: list[float] = field(default_factory=list)
    repeated: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    converged: bool = True
    note: str = ""
    ended: bool = False

    def end(self, note: str) -> None:
        """Take no further round, for the reason in ``note``."""
        self.note = note
        self.ended = True

    def wants_more(self, limit: float) -> bool:
        """True if another round fits under a limit in seconds, going by the last one."""
        # The first round is always taken; later ones only if they are expected to fit.
        if self.ended:
            return False
        return not self.whole or sum(self.whole) + self.whole[-1] <= 1000 * limit

    def cell(self, command: Command) -> Cell:
        """The row of the table."""
        # Round by round, for the matrix and the whole of one round share the noise of the machine.
        rest = []
        if self.matrix:
            rest = [whole - matrix for whole, matrix in zip(self.whole, self.matrix, strict=True)]
        note = self.note
        if not note and not self.whole:
            note = "stopped before its first round"
        return Cell(
            contender=self.contender.name,
            kind=self.contender.kind,
            data=command.data,
            n=self.n,
            d=self.d,
            seed=command.seed,
            rounds=len(self.whole),
            median_ms=_of(statistics.median, self.whole),
            p95_ms=_of(p95, self.whole),
            matrix_ms=_of(statistics.median, self.matrix),
            solve_ms=_of(statistics.median, rest),
            peak_mb=self.peak_mb,
            cost=_of(statistics.mean, self.cost),
            cost_ratio=_of(statistics.mean, self.cost_ratio),
            gain=_of(statistics.mean, self.gain),
            repeated=_of(statistics.mean, self.repeated),
            converged=self.converged if self.cost else None,
            note=note,
        )


def _of(statistic: Callable[[Sequence[float]], float], values: Sequence[float]) -> float | None:
    return statistic(values) if values else None


def measure(command: Command, entrants: Sequence[Contender], tallies: list[Tally]) -> Iterator[str]:
    """Measure every contender at every size, the sizes rising; yields a few words after each step.

    ``tallies`` holds all that was measured at every step, so that a caller who stops here loses
    nothing.
    """
    # Seconds of a solve by size: of each contender, and of the optimum that judges them.
    took: dict[str, dict[int, float]] = {entrant.name: {} for entrant in entrants}
    judge: dict[int, float] = {}
    # Rising, so that small sizes predict how long larger ones will take.
    for n in sorted(set(command.n)):
        here = [Tally(entrant, n) for entrant in entrants]
        tallies += here
        for tally in here:
            _probe(tally, command, took[tally.contender.name])
            yield f"n={n}, memory of {tally.contender.name}"
        for tally in _rounds(command, here, judge):
            yield f"n={n}, time of {tally.contender.name}"
        for tally in here:
            # Many rounds predict larger sizes better than the probe's single one.
            if tally.whole:
                took[tally.contender.name][n] = statistics.median(tally.whole) / 1000


def _probe(tally: Tally, command: Command, took: dict[int, float]) -> None:
    """Solve once in another process, unless it is predicted to take too long.

    That process bears the risk: a solver that runs out of memory or time does not end the
    benchmark.
    """
    from bench.benchmarks.memory import probe

    limit = command.limit
    expected = predict(took, tally.n)
    if expected and expected > limit:
        tally.end(
            f"skipped: a solve would take about {expected:.0f} s, over the limit of {limit:g} s"
        )
        return
    result = probe(command.pools, tally.contender.name, tally.n, limit)
    took[tally.n] = result.seconds
    tally.peak_mb = result.peak_mb
    if result.problem:
        tally.end(result.problem)


def _rounds(command: Command, here: Sequence[Tally], judge: dict[int, float]) -> Iterator[Tally]:
    """In each round all contenders solve the same pool.

    Round 0 loads libraries and compiles, and is not counted. ``judge`` holds the seconds that the
    optimum of a pool took at each size, which has the same limit. Without any, ``USUAL`` stands in,
    so that no optimum is begun that takes hours and all memory.
    """
    from bench.benchmarks.pools import measure_ends

    n = here[0].n
    limit = command.limit
    spent = 0.0
    for round_number, order in rotated(here, range(command.rounds + 1)):
        # Large pools take seconds to draw: none is drawn for nobody.
        if not any(tally.wants_more(limit) for tally in here):
            return
        pool = command.pools.draw(n, round_number)
        # The optimum is one more solve, outside all contenders' times.
        ends = None
        # Nothing stops an optimum once it has begun: its time grows at least as n^2.
        expected = predict(judge or USUAL, n, least=2.0) or 0
        if round_number and max(spent, expected) <= limit:
            start = time.perf_counter()
            ends = measure_ends(pool)
            judge[n] = time.perf_counter() - start
            spent += judge[n]
        for tally in order:
            if tally.wants_more(limit):
                _take(tally, pool, round_number, ends)
            yield tally


def _take(tally: Tally, pool: Pool, round_number: int, ends: Ends | None) -> None:
    """One round of one contender: the matrix alone, then the whole solve."""
    import torch

    from bench.benchmarks.contenders import attempt
    from bench.benchmarks.pools import pair_cost

    matrix_seconds = None
    if tally.contender.matrix is not None:
        with torch.no_grad():
            matrix_seconds, _, _ = attempt(tally.contender.matrix, pool)
    seconds, solved, problem = attempt(tally.contender.solve, pool)
    # A contender that fails once might fail again, after minutes: it takes no further round.
    if problem:
        tally.converged = False
        tally.end(f"round {round_number}: {problem}" if tally.whole else problem)
    if problem or round_number == 0:
        return
    tally.d = pool.images.shape[1]
    tally.whole.append(1000 * seconds)
    if matrix_seconds is not None:
        tally.matrix.append(1000 * matrix_seconds)
    # The floor, a matrix product, pairs nothing.
    if solved is None:
        return
    cost = pair_cost(pool.images[solved.rows], pool.noise[solved.columns])
    tally.cost.append(cost)
    tally.repeated.append(1 - len(solved.columns.unique()) / tally.n)
    tally.converged &= solved.converged
    tally.note = solved.remark or tally.note
    if ends is not None:
        tally.gain.append(ends.gain(cost))
        tally.cost_ratio.append(cost / ends.optimum)


def p95(values: Sequence[float]) -> float:
    """The 95th percentile by nearest rank: of fewer than 20 values, the largest."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def predict(seconds: dict[int, float], n: int, least: float = 1.0) -> float | None:
    """Time at n from those at smaller sizes, as a power of n; None without any.

    The power is that of the last two sizes, at least ``least`` and at most 3, or 2.5 from a single
    size.
    """
    # Larger sizes would need a root, and are never measured first.
    known = sorted(size for size in seconds if size < n)
    if not known:
        return None
    power = 2.5
    last = known[-1]
    if len(known) > 1 and min(seconds[known[-2]], seconds[last]) > 0:
        power = math.log(seconds[last] / seconds[known[-2]]) / math.log(last / known[-2])
    # Small sizes measure overheads, large ones the machine's memory: powers beyond these cannot be
    # trusted. One that is too low costs the limit, at which the probe is stopped.
    return seconds[last] * (n / last) ** min(max(power, least), 3.0)


def as_text(cells: Sequence[Cell]) -> str:
    """The table for the terminal."""
    rows: list[tuple[str, ...]] = [
        ("contender", "n", "median ms", "p95 ms", "matrix ms", "peak MB", "gain", "converged")
    ]
    for cell in cells:
        values = (cell.median_ms, cell.p95_ms, cell.matrix_ms, cell.peak_mb, cell.gain)
        numbers = [number(value, missing="-") for value in values]
        # None for the floor, which has nothing to converge.
        converged = {True: "yes", False: "no", None: "-"}[cell.converged]
        rows.append((cell.contender, str(cell.n), *numbers, f"{converged} {cell.note}".strip()))
    return aligned(rows)
