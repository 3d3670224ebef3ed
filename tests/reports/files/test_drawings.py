"""Figures as files."""

from xml.etree import ElementTree

from reports.build import build, main

KINDS = {".svg": b"<?xml", ".pdf": b"%PDF-", ".png": b"\x89PNG"}


def test_each_figure_is_a_file_of_every_kind(study, tmp_path, capsys):
    assert main([str(study), "-o", str(tmp_path), "--figures"]) == 0
    folder = tmp_path / "figures"
    assert f"figures: {folder}" in capsys.readouterr().out
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {f"digits-pool-1024-fd_classifier-test-ratio{kind}" for kind in KINDS} <= files.keys()
    assert len({name.rsplit(".", 1)[0] for name in files}) == len(files) / len(KINDS) > 5
    for name, content in files.items():
        assert content.startswith(KINDS[name[-4:]]), name
    drawn = files["digits-pool-1024-fd_classifier-test-ratio.svg"].decode()
    words = [one.text for one in ElementTree.fromstring(drawn).iter() if one.text]
    assert {"random", "lapjv", "sinkhorn", "network evaluations (NFE, log)"} <= set(words)
    assert "mark|" not in drawn
    again = build(study, tmp_path / "again", figures=True)
    assert {path.name: path.read_bytes() for path in again.figures.iterdir()} == files


def test_they_are_written_only_if_asked_for(study, tmp_path):
    assert build(study, tmp_path).figures is None
    assert not (tmp_path / "figures").exists()
