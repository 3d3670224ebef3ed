"""Text files are UTF-8 whatever the locale: they are read and reported alike where that is C."""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.config import RunConfig
from bench.record import Measurement, RunFolder, write_bytes, write_json

ROOT = Path(__file__).parent.parent
C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "MPLBACKEND": "agg"}
CODE = """
import sys
from pathlib import Path

from bench.record import RunFolder, command_line
from reports.build import build
from slurm.sweep import read

folder = Path(sys.argv[1])
runs = folder / sys.argv[2]
report = build(runs)
(run,) = (RunFolder(path.parent) for path in runs.glob("*/config.json"))
sweep = read(folder / "sweep.toml")
print(ascii([run.provenance()["command"], sweep.name, report.excluded, command_line()[-6:]]))
"""


def test_umlauts_are_read_and_reported_in_the_c_locale(tmp_path):
    (tmp_path / "sweep.toml").write_bytes('name = "prüfung"\n[base]\ndata = "digits"\n'.encode())
    config = RunConfig()
    run = RunFolder(tmp_path / "läufe" / config.run_id)
    command = "python -m bench.run --runs läufe"
    origin = {
        "git_sha": "0123456789abcdef",
        "git_dirty": False,
        "versions": {"python": "3.11.4", "torch": "2.13.0"},
        "hardware": {"cpu": "Gerät", "threads": 2},
        "device": "cpu",
        "command": command,
        "started": "2025-01-01T00:00:00Z",
        "seed": 0,
        "data_checksum": "digits",
    }
    write_json(run.path / "config.json", config.identity)
    # Letters as they are, as other programs write them: ours are escaped.
    write_bytes(run.path / "provenance.json", json.dumps(origin, ensure_ascii=False).encode())
    fixed = {"nfe": 3, "rho": 7.0, "sampler": "heun", "start": "gaussian", "guidance": "none"}
    run.add([Measurement("fd_pixels", 1.0, split="test", n=10, **fixed)])
    run.set_status("done")
    done = subprocess.run(
        [sys.executable, "-c", CODE, tmp_path, "läufe"],
        env={**os.environ, **C, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert done.stdout.decode().strip() == ascii([command, "prüfung", (), "läufe'"])
    page = (run.path.parent / "report.html").read_text(encoding="utf-8")
    assert "Gerät" in page
    assert 'charset="utf-8"' in page.lower() or "charset=utf-8" in page.lower()
