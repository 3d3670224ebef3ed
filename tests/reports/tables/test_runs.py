import json

import pytest

from bench.record import Measurement, RunFolder
from reports.tables.runs import ReportError, flatten, read


def test_finished_runs_are_read_by_name(study):
    runs, excluded = read(study)
    assert len(runs) == 9
    assert not excluded
    assert [run.run_id for run in runs] == sorted(run.run_id for run in runs)
    assert runs[0].config["training.pool"] == 1024
    assert runs[0].provenance["versions.torch"] == "2.13.0"


def test_run_ids_narrow_the_choice(study):
    names = [run.run_id for run in read(study)[0][:2]]
    assert [run.run_id for run in read(study, names)[0]] == names


def test_other_folders_are_passed_over(tmp_path, make):
    make(tmp_path)
    for name in ("logs", "features", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / ".cache" / "config.json").write_text("{}")
    (tmp_path / "report.html").write_text("old")
    runs, excluded = read(tmp_path)
    assert len(runs) == 1
    assert not excluded


def change_config(folder, **changes):
    """Other values of some fields, by dotted name."""
    config = folder.config()
    for key, value in changes.items():
        *path, name = key.split(".")
        node = config[path[0]] if path else config
        node[name] = value
    (folder.path / "config.json").write_text(json.dumps(config))


BREAK = {
    "half a config": (
        lambda f: (f.path / "config.json").write_text('{"data": "dig'),
        "broken file",
    ),
    "foreign config": (
        lambda f: (f.path / "config.json").write_text('{"model": "resnet"}'),
        "'data'",
    ),
    "config is a list": (lambda f: (f.path / "config.json").write_text("[1]"), "broken file"),
    "no config": (lambda f: (f.path / "config.json").unlink(), "no config.json"),
    "bytes": (lambda f: (f.path / "config.json").write_bytes(b"\xff\xfe\x00"), "broken file"),
    "unknown field": (
        lambda f: (f.path / "metrics.jsonl").write_text('{"metric": "fd", "wert": 1}\n'),
        "wert",
    ),
    "half a line": (
        lambda f: (f.path / "metrics.jsonl").write_text('{"metric": "fd", "val'),
        "broken file",
    ),
    "text for a value": (
        lambda f: (f.path / "metrics.jsonl").write_text('{"metric": "a", "value": "b"}\n'),
        "value",
    ),
    "text for an NFE": (
        lambda f: (f.path / "metrics.jsonl").write_text(
            '{"metric": "a", "value": 1, "nfe": "5"}\n'
        ),
        "nfe",
    ),
    "an NFE of 65 bits": (
        lambda f: (f.path / "metrics.jsonl").write_text(
            f'{{"metric": "a", "value": 1, "nfe": {2**64}}}\n'
        ),
        "nfe = a whole number of more than 64 bits",
    ),
    "a value of a thousand digits": (
        lambda f: (f.path / "metrics.jsonl").write_text(
            f'{{"metric": "a", "value": 1{"0" * 1000}}}\n'
        ),
        "value = a whole number of more than 64 bits",
    ),
    "a rho that is no number": (
        lambda f: (f.path / "metrics.jsonl").write_text(
            '{"metric": "a", "value": 1, "rho": NaN}\n'
        ),
        "rho = nan",
    ),
    "a seed of 64 bits": (
        lambda f: change_config(f, seed=2**63),
        "seed = a whole number of more than 64 bits",
    ),
    "an infinite rate": (lambda f: change_config(f, lr=float("inf")), "lr = inf"),
    "text for a budget": (
        lambda f: change_config(f, **{"training.images": "200000"}),
        "training.images",
    ),
    "no metrics": (lambda f: (f.path / "metrics.jsonl").unlink(), "no measurement"),
    "no provenance": (
        lambda f: (f.path / "provenance.json").unlink(),
        "provenance.json is missing",
    ),
    "folder for a file": (
        lambda f: [(f.path / "status.json").unlink(), (f.path / "status.json").mkdir()],
        "cannot be read",
    ),
    "not begun": (lambda f: (f.path / "status.json").unlink(), "not started"),
    "running": (lambda f: f.set_status("running", stage="training"), "not finished"),
    "failed": (lambda f: f.set_status("failed", reason="loss is nan"), "failed: loss is nan"),
    "odd state": (lambda f: (f.path / "status.json").write_text('{"state": "asleep"}'), "asleep"),
}


@pytest.mark.parametrize("name", BREAK)
def test_an_unusable_folder_is_named_with_its_reason(tmp_path, make, name):
    make(tmp_path, "random")
    folder = make(tmp_path, "lapjv")
    damage, reason = BREAK[name]
    damage(folder)
    runs, excluded = read(tmp_path)
    assert [run.config["coupling"] for run in runs] == ["random"]
    assert [item.folder for item in excluded] == [folder.run_id]
    assert reason in excluded[0].reason
    assert str(tmp_path) not in excluded[0].reason


def test_a_copied_folder_does_not_count_twice(tmp_path, make):
    folder = make(tmp_path)
    folder.path.rename(tmp_path / "a-copy")
    make(tmp_path)
    runs, excluded = read(tmp_path)
    assert [run.run_id for run in runs] == ["a-copy"]
    assert excluded[0].folder == folder.run_id
    assert "same configuration as a-copy" in excluded[0].reason


def test_errors_name_the_way_out(tmp_path, make):
    with pytest.raises(ReportError, match="give the folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(ReportError, match="no run folder"):
        read(tmp_path)
    make(tmp_path)
    with pytest.raises(ReportError, match="no run 'x'.*known are digits-random"):
        read(tmp_path, ["x"])


def test_flatten():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2], "e": None}) == {
        "a.b.c": 1,
        "d": "[1, 2]",
        "e": None,
    }


def test_the_schema_is_that_of_bench(tmp_path, make):
    """A field that Measurement gains must be known here too."""
    folder = make(tmp_path, found=[Measurement("m", 1.0)])
    full = {f: getattr(Measurement("m", 1.0), f) for f in Measurement.__dataclass_fields__}
    (folder.path / "metrics.jsonl").write_text(json.dumps(full) + "\n")
    assert read(tmp_path)[0][0].measurements == tuple(RunFolder(folder.path).measurements())
    from reports.tables.runs import _TYPES
    from reports.tables.tidy import COLUMNS

    assert set(_TYPES) == set(full)
    assert set(full) <= set(COLUMNS)
