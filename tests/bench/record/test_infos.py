"""Descriptions of metrics in a run folder."""

import json

from bench.metrics import infos, load, names
from bench.record.infos import FILE, read_infos, write_infos


def test_descriptions_of_earlier_versions_are_completed(tmp_path):
    """Without the newer fields, every shipped metric is read as it describes itself today."""
    measured = ["fd_classifier", "fd_inception", "fd_infinity_classifier", "grid_fd_classifier"]
    for name in names():
        measured += [info.name for info in load(name).infos]
    write_infos(tmp_path, infos(measured))
    today = read_infos(tmp_path)
    assert {name for name, info in today.items() if info.distance} >= {"fd_classifier", "w2", "fid"}
    content = json.loads((tmp_path / FILE).read_text())
    for entry in content["metrics"]:
        del entry["distance"], entry["terminal"]
    (tmp_path / FILE).write_text(json.dumps(content))
    assert read_infos(tmp_path) == today
