"""The speed benchmark: ``python -m bench.speed``. Cost of a training step and of a sample, next to
a plain float32 loop.

All settings take their step on the same batch, round by round, in one process: noise of the machine
hits all alike, so the ratios between them say more than the images per second.
"""

from __future__ import annotations

import sys

from bench import cli
from bench.benchmarks.rounds import Results, work_through
from bench.benchmarks.settings import PRESET, Cell, Command, Tally, settings, shape_of
from bench.cli import main_of, read_first
from bench.config import load_preset
from bench.process.console import worker
from bench.process.defaults import plain_torch
from bench.record import provenance

DESCRIPTION = """Measure training and sampling, in images per second, and their memory.

The first row, "plain float32", is the reference: the same network in a straightforward loop, with a
contiguous memory layout, and with Adam and the weights' moving average updated one tensor at a
time. The other rows are the trainer of bench.run in float32, in bfloat16 and, on a GPU, in TF32.
bench.run samples in float32 only; the other rows show the time at their precision.

Images are random pixels in the shape of the preset's data, because speed does not depend on their
content. Loading, augmentation and coupling are not included (for couplings: python -m bench.solve).

Examples:
  python -m bench.speed                  about five minutes on two CPU cores
  python -m bench.speed --preset cifar10-edm --batch 8 --sample-rounds 0
  python -m bench.speed --device cuda --compile
"""


def parse(args: list[str]) -> Command:
    """Read the command line; --preset chooses the defaults of the network."""
    preset = read_first(args, ("--preset",)).preset or PRESET
    # Only the network: batch and rounds depend on the device, not on the preset.
    default = Command(preset, network=load_preset(preset).network)
    common = ("preset", "batch", "rounds", "device", "compile", "out")
    return cli.parse("bench.speed", DESCRIPTION, args, default, common)


@plain_torch()
def run(command: Command) -> int:
    """Measure, keeping speed.csv up to date, and print the table.

    Returns:
        The exit code: 130 after Ctrl-C, 1 if no setting could be measured, else 0.

    """
    from bench.benchmarks.speed import Contest, as_text, summary
    from bench.benchmarks.steps import Batches
    from bench.process.ranks import join

    # The configuration's batch depends on the device.
    device = join(command.device).device
    config = command.config(device)
    shape, classes = shape_of(config.data)
    # The plain loop comes first: it is the reference of all ratios.
    tallies = [Tally(setting) for setting in settings(device, command.compile)]
    contest = Contest(command, Batches(config, shape, classes, device), tallies)
    results = Results(command.out, "speed", Cell)
    origin = provenance(device, seed=config.seed, config=config.identity, images="random pixels")
    results.begin(origin)

    def save() -> None:
        results.save(contest.cells())

    code = work_through(contest.measure(), contest.steps, "speed", save)
    cells = contest.cells()
    print(f"{summary(cells[0])}\n\n{as_text(cells)}\n\nresults: {results.csv}")
    # A script must notice that no setting ran, such as for lack of memory.
    return code or int(not any(cell.rounds for cell in cells))


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    return main_of(_main, args)


def _main(args: list[str]) -> int:
    return run(parse(args))


if __name__ == "__main__":
    sys.exit(worker(main))
