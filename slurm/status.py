"""State of a sweep: ``python -m slurm.status sweep.toml``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.process.console import reader
from slurm import _command, cluster
from slurm.folder import SweepFolder
from slurm.resources import SweepError
from slurm.survey import ACTIVE, MEANING, STATES, Standing, summary, survey
from slurm.sweep import read

_WATCH_S = 5.0
_MOST_LISTED = 50  # runs per state; the rest is counted
_LOG_LINES = 20


def status(
    sweep: str, runs: Path = Path("runs"), watch: bool = False, log: str | None = None
) -> int:
    """Show the runs of a sweep by state.

    Args:
        sweep: The sweep file, or the sweep's name.
        runs: The folder it was submitted with.
        watch: Show it again every few seconds until no run is active.
        log: Show where the logs of this run are, and their last lines. A part of its name will do.

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
        # Flushed, as a watched table is often piped or logged.
        print("\n".join(table(folder, standings, note)), flush=True)
        states = {standing.state for standing in standings}
        if not watch or states.isdisjoint(ACTIVE):
            return int("failed" in states)
        time.sleep(_WATCH_S)


def name_of(sweep: str) -> str:
    """Return the name in a sweep file, or the name that was given itself."""
    return read(Path(sweep)).name if sweep.endswith(".toml") else sweep


def look(folder: SweepFolder) -> tuple[list[Standing], str]:
    """Find the states of the runs; the second value is a note if SLURM did not answer."""
    queue = None
    note = ""
    # A sweep of this machine is shown where there is no SLURM, without a note about it.
    if folder.on_cluster():
        try:
            queue = cluster.queued(folder.comment)
        except SweepError as error:
            note = f"{error}; states as the jobs wrote them last:"
    return survey(folder, folder.run_ids(), queue), note


def table(folder: SweepFolder, standings: list[Standing], note: str) -> list[str]:
    """Return the lines to show: a count for each state, then the runs that need attention."""
    lines = [f"{folder.path.name}: {len(standings)} runs: {summary(standings)}"]
    if note:
        lines.append(note)
    for state in STATES:
        group = [standing for standing in standings if standing.state == state]
        # Nobody needs to act on these, and they are most of a large sweep.
        if not group or state in ("done", "pending"):
            continue
        lines.append(f"{state} ({MEANING[state]}):")
        lines += [_line(folder, standing) for standing in group[:_MOST_LISTED]]
        if len(group) > _MOST_LISTED:
            lines.append(f"  and {len(group) - _MOST_LISTED} more")
    report = folder.path / "report.html"
    if report.exists():
        lines.append(f"report: {report}")
    return lines


def _line(folder: SweepFolder, standing: Standing) -> str:
    reason = standing.reason
    # A killed job could not write a reason; SLURM may have left one in its log.
    if not reason and standing.state == "stopped":
        reason = folder.last_line(standing.job_id)
    parts = (standing.run_id, standing.job_id, reason)
    return "  " + "  ".join(part for part in parts if part)


def _show_log(folder: SweepFolder, word: str) -> int:
    """Print the last lines of both logs of the run whose name holds a word."""
    matching = [run_id for run_id in folder.run_ids() if word in run_id]
    if len(matching) != 1:
        names = ", ".join(matching[:5]) or "none"
        raise SweepError(f"{word!r} names {len(matching)} runs ({names}): give all of a run's name")
    (run_id,) = matching
    job_id = folder.jobs().runs.get(run_id)
    if job_id is None:
        raise SweepError(f"{run_id} has no job yet: submit the sweep")
    # The error is what a reader looks for, so it comes last, next to the prompt.
    errors = folder.log(job_id)
    for path in (errors.with_suffix(".out"), errors):
        print(f"==> {path}")
        text = "not written yet"
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
        print("\n".join(text.splitlines()[-_LOG_LINES:]))
    return 0


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    return _command.run(status, args)


if __name__ == "__main__":
    sys.exit(reader(main))
