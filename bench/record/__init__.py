"""The files of runs: measurements, provenance, status. Whatever is written is written whole."""

from bench.record.files import write_bytes, write_json
from bench.record.folder import RunFolder, RunFolderError
from bench.record.measurement import LARGEST, Measurement
from bench.record.provenance import COMMAND, command_line, provenance, readable, utc_now

__all__ = [
    "COMMAND",
    "LARGEST",
    "Measurement",
    "RunFolder",
    "RunFolderError",
    "command_line",
    "provenance",
    "readable",
    "utc_now",
    "write_bytes",
    "write_json",
]
