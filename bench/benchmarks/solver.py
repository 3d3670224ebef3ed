"""The solver benchmark: time, memory and cost of couplings on pools of growing size."""

from __future__ import annotations

import csv
import io
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import ConfigError
from bench.record import write_bytes

if TYPE_CHECKING:
    from bench.benchmarks.contenders import Contender
    from bench.benchmarks.pools import Ends, Pools
    from couplings import Pool


@dataclass(frozen=True)
class Command:
    """What is measured."""

    couplings: tuple[str, ...] = ()
    """Couplings as name or name:key=value,key=value. Default: every batch coupling."""
    n: tuple[int, ...] = (128, 512, 1024, 2048, 4096, 8192)
    """Pool sizes, in images."""
    data: str = "gauss"
    """gauss (3x32x32 Gaussian images with the 1/f amplitudes of photographs) or the name of a data
    set.
    """
    data_dir: Path | None = None
    """Folder of the data sets' files."""
    peers: bool = False
    """Measure torchcfm, POT and scipy in the same rounds."""
    rounds: int = 10
    """Measured rounds, each with a pool of its own, after one to warm up."""
    limit: float = 30.0
    """Seconds. What would take longer for one solve is left out; a contender that used them up ends
    its rounds.
    """
    seed: int = 0
    """Seed of the pools: the same seed gives the same pools."""
    out: Path = Path("runs/solve")
    """Folder that receives solve.csv, solve.html and solve.json (hardware, versions, command)."""

    @property
    def pools(self) -> Pools:
        """Where the pools come from."""
        from bench.benchmarks.pools import Pools

        return Pools(self.data, self.data_dir, self.seed)

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            ConfigError: with the way out.

        """
        for wrong, way_out in (
            (not self.n or min(self.n) < 2, "--n takes sizes of 2 and more"),
            (self.rounds < 1, f"--rounds must be 1 or more, got {self.rounds}"),
            (not self.limit > 0, f"--limit must be above 0 seconds, got {self.limit:g}"),
        ):
            if wrong:
                raise ConfigError(way_out)
        self.pools.check(max(self.n))


@dataclass(frozen=True)
class Cell:
    """One row of solve.csv: a contender at a pool size. What does not apply, or was not measured,
    is None.

    Attributes: contender, kind: its name; ``coupling``, ``peer`` or ``floor``. data, n, d, seed:
        the pools: ``[n, d]`` images and noises. rounds: how many pools the numbers are from.
        median_ms, p95_ms: time of a whole solve, such as ``pair()``. matrix_ms, solve_ms: median
        time of the cost matrix alone, and of the rest of the same rounds. peak_mb: most memory one
        solve held beside the pool, in MB, in a process of its own. cost: mean squared L2 distance
        of a pair. cost_ratio: mean over the rounds of the cost over the optimal cost. gain: mean
        share of the possible cut in cost that was reached: 0 random pairs, 1 the optimum. Only a
        pairing
            that repeats noises can exceed 1.
        repeated: 1 - distinct noises / n.
        converged: whether the solver says so of every round.
        note: why there are no numbers, or what the solver said.

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
    """The measurements of one contender at one pool size as they come in; times in ms, one entry a
    round.
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
        """Take no further round, and say why."""
        self.note, self.ended = note, True

    def wants_more(self, limit: float) -> bool:
        """Whether another round is due under a limit in seconds."""
        return not self.ended and (
            not self.whole or sum(self.whole) + self.whole[-1] <= 1000 * limit
        )

    def cell(self, command: Command) -> Cell:
        """The row of the table."""
        numbers = {}
        if self.whole:
            numbers = {"median_ms": statistics.median(self.whole), "p95_ms": p95(self.whole)}
        if self.matrix:
            rest = [whole - matrix for whole, matrix in zip(self.whole, self.matrix, strict=True)]
            numbers |= {
                "matrix_ms": statistics.median(self.matrix),
                "solve_ms": statistics.median(rest),
            }
        for name in ("cost", "cost_ratio", "gain", "repeated"):
            values = getattr(self, name)
            numbers[name] = statistics.mean(values) if values else None
        return Cell(
            self.contender.name, self.contender.kind, command.data, self.n, self.d, command.seed, len(self.whole),
            peak_mb=self.peak_mb, converged=self.converged if self.cost else None,
            note=self.note or ("" if self.whole else "stopped before its first round"), **numbers,
        )  # fmt: skip


def measure(command: Command, entrants: Sequence[Contender], tallies: list[Tally]) -> Iterator[str]:
    """Measure every contender at every size, the sizes rising, and say after each step what it was.

    What was measured is in ``tallies`` at every step, so that a caller who stops here loses
    nothing.
    """
    took: dict[str, dict[int, float]] = {entrant.name: {} for entrant in entrants}
    judge: dict[int, float] = {}
    for n in sorted(set(command.n)):
        here = [Tally(entrant, n) for entrant in entrants]
        tallies += here
        for tally in here:
            _probe(tally, command, took[tally.contender.name])
            yield f"n={n}, memory of {tally.contender.name}"
        for tally in _rounds(command, here, judge):
            yield f"n={n}, time of {tally.contender.name}"
        for tally in here:
            if tally.whole:
                took[tally.contender.name][n] = statistics.median(tally.whole) / 1000


def _probe(tally: Tally, command: Command, took: dict[int, float]) -> None:
    """Leave out what is predicted to take too long; else solve once in another process, which bears
    the risk.
    """
    from bench.benchmarks.memory import probe

    expected = predict(took, tally.n)
    if expected and expected > command.limit:
        tally.end(
            f"left out: a solve would take about {expected:.0f} s, over the limit of"
            f" {command.limit:g} s"
        )
        return
    found = probe(command.pools, tally.contender.name, tally.n, command.limit)
    took[tally.n] = found.seconds
    tally.peak_mb = found.peak_mb
    if found.problem:
        tally.end(found.problem)


def _rounds(command: Command, here: Sequence[Tally], judge: dict[int, float]) -> Iterator[Tally]:
    """In each round all contenders solve the same pool, in an order that moves on, so that none is
    always first.

    Round 0 loads libraries and compiles, and is not counted. ``judge`` holds the seconds that the
    optimum of a pool took at each size, which has the same limit.
    """
    from bench.benchmarks.pools import measure_ends

    n, spent = here[0].n, 0.0
    for number in range(command.rounds + 1):
        if not any(tally.wants_more(command.limit) for tally in here):
            return
        pool, ends = command.pools.draw(n, number), None
        if number and max(spent, predict(judge, n) or 0) <= command.limit:
            start = time.perf_counter()
            ends = measure_ends(pool)
            judge[n] = time.perf_counter() - start
            spent += judge[n]
        first = number % len(here)
        for tally in [*here[first:], *here[:first]]:
            if tally.wants_more(command.limit):
                _take(tally, pool, number, ends)
            yield tally


def _take(tally: Tally, pool: Pool, number: int, ends: Ends | None) -> None:
    """One round of one contender: the matrix alone, then the whole solve."""
    import torch

    from bench.benchmarks.contenders import attempt
    from bench.benchmarks.pools import pair_cost

    matrix_seconds = None
    if tally.contender.matrix is not None:
        with torch.no_grad():
            matrix_seconds, _, _ = attempt(tally.contender.matrix, pool)
    seconds, solved, problem = attempt(tally.contender.solve, pool)
    if problem:
        tally.converged = False
        tally.end(f"round {number}: {problem}" if tally.whole else problem)
    if problem or number == 0:
        return
    tally.d = pool.images.shape[1]
    tally.whole.append(1000 * seconds)
    if matrix_seconds is not None:
        tally.matrix.append(1000 * matrix_seconds)
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


def predict(seconds: dict[int, float], n: int) -> float | None:
    """Time at n from those at smaller sizes, as a power of n: 2 to 3, by the last two sizes, or 2.5
    of one.
    """
    known = sorted(size for size in seconds if size < n)
    if not known:
        return None
    power, last = 2.5, known[-1]
    if len(known) > 1 and min(seconds[known[-2]], seconds[last]) > 0:
        power = math.log(seconds[last] / seconds[known[-2]]) / math.log(last / known[-2])
    return seconds[last] * (n / last) ** min(max(power, 2.0), 3.0)


def write_csv(path: Path, cells: Sequence[Cell]) -> None:
    """The table, atomically."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [f.name for f in fields(Cell)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(cell) for cell in cells)
    write_bytes(path, text.getvalue().encode())


def table(cells: Sequence[Cell]) -> str:
    """The cells as aligned text."""
    rows = [("contender", "n", "median ms", "p95 ms", "matrix ms", "peak MB", "gain", "converged")]
    for cell in cells:
        numbers = (cell.median_ms, cell.p95_ms, cell.matrix_ms, cell.peak_mb, cell.gain)
        shown = ["-" if value is None else f"{value:.4g}" for value in numbers]
        verdict = {True: "yes", False: "no", None: "-"}[cell.converged]
        rows.append((cell.contender, str(cell.n), *shown, f"{verdict} {cell.note}".strip()))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(w) for word, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )  # fmt: skip
