"""The exact assignment, and prices of noise samples that are subtracted from its costs first.

An assignment keeps its optimum whatever is subtracted from a column, because every permutation
loses the same. Near the dual optimum nearly every row finds its column at once, and the solver has
little left to do. Prices come from the pool itself: those transferred from an earlier pool are
further from its optimum, and would tie a pairing to the pools before it.
"""

from __future__ import annotations

import numpy as np

from couplings.cost import blocks

# Epsilons of the entropic plans, in standard deviations of the costs; each plan starts from the
# prices of the one before. In few coordinates costs differ little between neighbours, and only
# narrow kernels tell them apart; in many a wide one does all that pays.
NARROWING = (0.1, 0.02, 0.005)
WIDE = (0.1,)
FEW_COORDINATES = 16
# Smaller pools are solved sooner than they are priced.
LEAST = 256
# With so few coordinates a solver without prices is slower.
FEWEST_COORDINATES = 4
LEAST_WITH_FEWEST = 64
# The kernel of a larger pool would take more memory than may be spent on speed.
MOST = 8192
ITERATIONS = 12
# Above 1 an iteration overshoots, and half as many are needed (Thibault et al. 2017, arXiv
# 1711.01851); from 2 on they diverge.
RELAXATION = 1.7
# Kernels end at e^-60: no sum over them is 0, and none of their products leaves float32.
FLOOR = -60.0
ROWS_OF_SCALE = 64  # rows that tell the deviation of the costs


def epsilons(n: int, d: int) -> tuple[float, ...]:
    """The entropic plans that pay for n images of d coordinates; none for most small pools."""
    least = LEAST_WITH_FEWEST if d <= FEWEST_COORDINATES else LEAST
    if not least <= n <= MOST:
        return ()
    return NARROWING if d <= FEW_COORDINATES else WIDE


def kernel_bytes(n: int, d: int) -> int:
    """The memory of `subtract_prices` beyond the costs."""
    return 4 * n * n if epsilons(n, d) else 0


def assign(costs: np.ndarray, steps: tuple[float, ...] = NARROWING) -> np.ndarray:
    """The column of every row, `[n]`, in the permutation of least total cost.

    By SciPy's shortest augmenting paths (Crouse 2016), after prices that make them short.

    Args:
        costs: finite, `[n, n]` float64 on the CPU; overwritten.
        steps: of `epsilons`; the default is that of points of few coordinates. Prices take 4 n^2
            bytes more.

    """
    # Imported late: it loads slowly, and most couplings do not need it.
    from scipy.optimize import linear_sum_assignment

    if steps:
        subtract_prices(costs, steps)
    return linear_sum_assignment(costs)[1]


def subtract_prices(cost: np.ndarray, steps: tuple[float, ...]) -> None:
    """Subtract from every column of costs `[n, n]`, in place, its price in an entropic plan.

    From every row its least cost is taken off after that.

    Args:
        cost: finite, of any floating dtype.
        steps: of `epsilons`.

    """
    prices = entropic_prices(cost, steps)
    if prices.any():
        for rows in blocks(cost.shape):
            block = cost[rows]
            block -= prices
            block -= block.min(axis=1, keepdims=True)


def entropic_prices(cost: np.ndarray, steps: tuple[float, ...]) -> np.ndarray:
    """Prices `[n]` by over-relaxed Sinkhorn iterations; 0 for equal costs.

    They are near-optimal, not optimal, and always finite.
    """
    n = len(cost)
    prices = np.zeros(n, cost.dtype)
    # A scale, not a statistic: all rows would take as long as an iteration.
    deviation = float(cost[:: max(1, n // ROWS_OF_SCALE)].std(dtype=np.float64))
    # Of equal costs every permutation is optimal.
    if deviation == 0:
        return prices
    kernel = np.empty((n, n), np.float32)
    with np.errstate(all="ignore"):
        for epsilon in steps:
            unit = epsilon * deviation
            _fill(kernel, cost, prices, unit)
            change = unit * np.log(_column_scales(kernel).astype(np.float64))
            # Costs of a few outliers may be out of reach of a kernel. Prices so far are allowed, as
            # any are.
            if not np.isfinite(change).all():
                break
            prices += change.astype(cost.dtype)
    return prices


def _fill(kernel: np.ndarray, cost: np.ndarray, prices: np.ndarray, unit: float) -> None:
    """The kernel of the costs less prices, whose rows have a largest value of 1."""
    # Block by block, so that each stays in the cache of a core.
    for rows in blocks(cost.shape):
        block = kernel[rows]
        np.subtract(cost[rows], prices, out=block, casting="same_kind")
        block -= block.min(axis=1, keepdims=True)
        block *= -1 / unit
        np.maximum(block, FLOOR, out=block)
        np.exp(block, out=block)


def _column_scales(kernel: np.ndarray) -> np.ndarray:
    """The factors `[n]` of the columns that, with those of the rows, make all sums nearly 1."""
    columns = np.ones(len(kernel), kernel.dtype)
    for iteration in range(ITERATIONS):
        rows = 1 / (kernel @ columns)
        relaxation = RELAXATION if iteration else 1.0
        columns = columns ** (1 - relaxation) * (rows @ kernel) ** -relaxation
    return columns
