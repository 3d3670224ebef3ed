"""How a sweep stands: ``python -m slurm.status sweep.toml``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.process.console import reader
from slurm import cluster
from slurm.folder import SweepFolder
from slurm.resources import SweepError
from slurm.survey import ACTIVE, MEANING, STATES, Standing, summary, survey
from slurm.sweep import read

_WATCH_S = 5.0
_MOST_SHOWN = 50


def status(
    sweep: str, runs: Path = Path("runs"), watch: bool = False, log: str | None = None
) -> int:
    """Show the runs of a sweep by state.

    Args: sweep: The sweep file, or the sweep's name. runs: The folder it was submitted with. watch:
        Show it again every few seconds until no run is active. log: Show where the logs of this run
        are, and the end of what it wrote. A part of its name will do.

    Returns:
        0, or 1 if a run failed.

    Raises:
        SweepError: it was never submitted, or no or several runs have that name.

    """
    folder = SweepFolder(runs, name_of(sweep))
    if log is not None:
        return _show_log(folder, log)
    while True:
        standings, note = look(folder)
        print("\n".join(table(folder, standings, note)), flush=True)
        if not watch or not any(standing.state in ACTIVE for standing in standings):
            return int(any(standing.state == "failed" for standing in standings))
        time.sleep(_WATCH_S)


def name_of(sweep: str) -> str:
    """The name in a sweep file, or what was given as a name."""
    return read(Path(sweep)).name if sweep.endswith(".toml") else sweep


def look(folder: SweepFolder) -> tuple[list[Standing], str]:
    """How the runs stand, and a word on what could not be asked."""
    run_ids, queue, note = folder.run_ids(), None, ""
    if folder.on_cluster():
        try:
            queue = cluster.queued(folder.comment)
        except SweepError as error:
            note = f"{error}; by what the jobs said last:"
    return survey(folder, run_ids, queue), note


def table(folder: SweepFolder, standings: list[Standing], note: str) -> list[str]:
    """The lines to show: a count for each state, then the runs that need a look."""
    lines = [
        f"{folder.path.name}: {len(standings)} runs: {summary(standings)}",
        *([note] if note else []),
    ]
    for state in STATES:
        group = [standing for standing in standings if standing.state == state]
        if not group or state in ("done", "pending"):
            continue
        lines.append(f"{state} ({MEANING[state]}):")
        for standing in group[:_MOST_SHOWN]:
            reason = standing.reason or (
                folder.last_line(standing.job_id) if state == "stopped" else ""
            )
            lines.append(
                "  "
                + "  ".join(
                    part for part in (standing.run_id, standing.job_id or "", reason) if part
                )
            )
        if len(group) > _MOST_SHOWN:
            lines.append(f"  and {len(group) - _MOST_SHOWN} more")
    report = folder.path / "report.html"
    return [*lines, f"report: {report}"] if report.exists() else lines


def _show_log(folder: SweepFolder, word: str) -> int:
    found = [run_id for run_id in folder.run_ids() if word in run_id]
    if len(found) != 1:
        names = ", ".join(found[:5]) or "none"
        raise SweepError(f"{word!r} names {len(found)} runs ({names}): give all of a run's name")
    job_id = folder.jobs().runs.get(found[0])
    if job_id is None:
        raise SweepError(f"{found[0]} has no job yet: submit the sweep")
    errors = folder.log(job_id)
    for path in (errors.with_suffix(".out"), errors):
        print(f"==> {path}")
        text = (
            path.read_text(encoding="utf-8", errors="replace")
            if path.exists()
            else "not written yet"
        )
        print("\n".join(text.splitlines()[-20:]))
    return 0


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    import tyro

    layout = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    try:
        return tyro.cli(status, prog="python -m slurm.status", args=args, config=layout)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(reader(main))
