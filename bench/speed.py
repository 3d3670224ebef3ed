"""The speed benchmark: ``python -m bench.speed``. What a training step and a sample cost, beside a
plain float32 loop.

All settings take their step on the same batch, round by round, in one process: noise of the machine
hits all alike, so the ratios between them say more than the images per second.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import tyro

from bench.benchmarks.settings import DATA, PRESET, Command, Tally, settings
from bench.config import ConfigError, load_preset
from bench.process.console import worker
from bench.process.defaults import plain_torch

if TYPE_CHECKING:
    pass

DESCRIPTION = """Measure training and sampling, in images a second, and their memory, setting by setting.

The first row, "plain float32", is the reference: the same network in a straightforward loop (contiguous float32, Adam
and the weights' moving average one tensor after the other). The others are the trainer of bench.run in float32, in
bfloat16 and, on a GPU, in TF32. bench.run samples in float32 alone; the other rows say what their precision would take.

Images are random pixels in the shape of the preset's data: speed does not depend on them, so nothing is read or
downloaded. Loading, augmentation and coupling are left out (for couplings: bench.solve).

Examples:
  python -m bench.speed                  about five minutes on two CPU cores
  python -m bench.speed --preset cifar10-edm --batch 8 --sample-rounds 0
  python -m bench.speed --device cuda --compile
"""


def parse(args: list[str]) -> Command:
    """Read the command line; --preset chooses the defaults of the network."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", nargs="?", default=PRESET)
    preset = early.parse_known_args(args)[0].preset or PRESET
    return tyro.cli(
        Command,
        prog="python -m bench.speed",
        description=DESCRIPTION,
        args=args,
        default=Command(preset, network=load_preset(preset).network),
        config=(tyro.conf.FlagCreatePairsOff,),
    )


@plain_torch()
def run(command: Command) -> int:
    """Measure, keeping speed.csv up to date, and print the table; 130 where Ctrl-C ended it, 1
    where nothing ran.
    """
    from tqdm import tqdm

    from bench.benchmarks.speed import Contest, save, summary, table
    from bench.benchmarks.steps import Batches
    from bench.process.ranks import join

    device = join(command.device).device
    config = command.config(device)
    *shape, classes = DATA[config.data]
    tallies = [Tally(setting) for setting in settings(device, command.compile)]
    contest = Contest(command, Batches(config, tuple(shape), classes, device), tallies)
    code = 0
    save(contest, first=True)
    try:
        with tqdm(total=contest.steps, desc="speed", unit="step", disable=None) as bar:
            for step in contest.measure():
                save(contest)
                bar.set_postfix_str(step)
                bar.update()
    except KeyboardInterrupt:
        print("stopped; what was measured is kept", file=sys.stderr)
        code = 130
    cells = save(contest)
    print(f"{summary(cells[0])}\n\n{table(cells)}\n\nresults: {command.out / 'speed.csv'}")
    return code or int(not any(cell.rounds for cell in cells))


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    try:
        return run(parse(sys.argv[1:] if args is None else args))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(worker(main))
