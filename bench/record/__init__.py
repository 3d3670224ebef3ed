"""The files of runs: measurements, provenance, status. Every file is written whole."""

from bench.record.command import COMMAND, MODULES, PROGRAM, command_line, readable, spelled
from bench.record.errors import UserError, is_ours, missing_package, one_line, unknown
from bench.record.files import (
    digest,
    flatten,
    locked,
    made_once,
    write_bytes,
    write_csv,
    write_json,
)
from bench.record.folder import OtherRunError, RunFolder, RunFolderError, Session
from bench.record.measurement import LARGEST, Measurement
from bench.record.provenance import provenance, shareable, utc_now

__all__ = [
    "COMMAND",
    "LARGEST",
    "MODULES",
    "Measurement",
    "OtherRunError",
    "PROGRAM",
    "RunFolder",
    "RunFolderError",
    "Session",
    "UserError",
    "command_line",
    "digest",
    "flatten",
    "is_ours",
    "locked",
    "made_once",
    "missing_package",
    "one_line",
    "provenance",
    "readable",
    "shareable",
    "spelled",
    "unknown",
    "utc_now",
    "write_bytes",
    "write_csv",
    "write_json",
]
