"""Descriptions of metrics in a run folder."""

import json
from dataclasses import replace

import pytest

from bench.metrics import infos, load, names
from bench.record.infos import FILE, Info, read_infos, write_infos

KID = Info("kid_net", "Kernel distance.", better="lower", family="kid", place=20)


def test_descriptions_come_back_in_their_order(tmp_path):
    described = [KID, Info("speed", "Images per second.", better="higher", per="run", kind="cost")]
    write_infos(tmp_path, described)
    # A metric without a name in words is called by its name.
    titled = [replace(info, title=info.name) for info in described]
    assert list(read_infos(tmp_path).values()) == titled


def test_a_run_of_an_earlier_version_has_none(tmp_path):
    assert read_infos(tmp_path) == {}


def test_what_a_later_version_adds_is_left_out(tmp_path):
    entry = {"name": "kid_net", "about": "Kernel distance.", "colour": "red"}
    (tmp_path / FILE).write_text(json.dumps({"metrics": [entry]}))
    assert read_infos(tmp_path) == {"kid_net": Info("kid_net", "Kernel distance.")}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"metrics": [{"about": "no name"}]}',
        '{"metrics": [{"name": "kid", "about": 3}]}',
        '{"metrics": [{"name": "kid", "about": "Distance.", "place": "x"}]}',
        '{"metrics": [{"name": "kid", "about": "Distance.", "better": "sideways"}]}',
        '{"metrics": [{"name": "kid", "about": "Distance.", "share": "yes"}]}',
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(content, tmp_path):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ValueError, match=r"metrics\.json is damaged: delete it"):
        read_infos(tmp_path)


def test_descriptions_of_earlier_versions_are_completed(tmp_path):
    """Without the newer fields, every shipped metric is read as it describes itself today."""
    measured = ["fd_classifier", "fd_inception", "fd_infinity_classifier", "grid_fd_classifier"]
    # These came when files had all fields already.
    later = {"npe", "path-energy", "coupling-report"}
    for name in set(names()) - later:
        measured += [info.name for info in load(name).infos]
    measured.remove("selected_images")
    write_infos(tmp_path, infos(measured))
    today = read_infos(tmp_path)
    assert {name for name, info in today.items() if info.distance} >= {"fd_classifier", "w2", "fid"}
    content = json.loads((tmp_path / FILE).read_text())
    for entry in content["metrics"]:
        del entry["distance"], entry["terminal"]
    (tmp_path / FILE).write_text(json.dumps(content))
    assert read_infos(tmp_path) == today
