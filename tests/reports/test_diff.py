import math

import pandas as pd

from bench.record import Measurement
from reports.diff import as_text, diff, main

PLACE = {"rho": 7.0, "sampler": "heun", "start": "gaussian", "guidance": "none"}


def fd(*values, n=100):
    return [
        Measurement("fd_classifier", v, nfe=k, split="test", n=n, **PLACE)
        for k, v in zip((3, 5, 7), values, strict=False)
    ]


def changes(found):
    return {
        (row.metric, row.nfe): (row.a, row.b, row.change, row.relative)
        for row in found.rows.itertuples()
    }


def test_two_runs_are_matched_by_what_was_measured(tmp_path, make):
    a = make(tmp_path, "random", found=fd(10.0, 5.0, 4.0), git_sha="old").path
    b = make(tmp_path, "lapjv", seed=1, found=fd(9.0, 5.0), git_sha="new").path
    found = diff(a, b)
    assert {c.field: (c.before, c.after) for c in found.config} == {
        "coupling": ("random", "lapjv"),
        "seed": ("0", "1"),
    }
    assert {c.field: (c.before, c.after) for c in found.provenance}["git_sha"] == ("old", "new")
    assert changes(found) == {
        ("fd_classifier", 3): (10.0, 9.0, -1.0, -0.1),
        ("fd_classifier", 5): (5.0, 5.0, 0.0, 0.0),
    }
    assert (found.only_a, found.only_b) == (1, 0)


def test_two_studies_are_matched_run_by_run(tmp_path, make):
    for study, images, shift in (("a", 100_000, 0.0), ("b", 200_000, 1.0)):
        for i, coupling in enumerate(("random", "lapjv", "knn")[: 3 if study == "a" else 2]):
            for seed in range(2):
                value = 10.0 * (i + 1) + seed + (shift if coupling == "lapjv" else 0)
                make(tmp_path / study, coupling, seed, images=images, found=fd(value))
    found = diff(tmp_path / "a", tmp_path / "b")
    assert [(c.field, c.before, c.after) for c in found.config] == [
        ("coupling", "knn, lapjv, random", "lapjv, random"),
        ("training.images", "100000", "200000"),
    ]
    of = {(row.coupling, row.seed): row.change for row in found.rows.itertuples()}
    assert of == {("random", "0"): 0, ("random", "1"): 0, ("lapjv", "0"): 1, ("lapjv", "1"): 1}
    assert found.only_a == 2
    assert list(found.rows["relative"]) == [1 / 20, 1 / 21, 0, 0]  # biggest first


def test_a_field_that_varies_within_a_study_tells_its_runs_apart(tmp_path, make):
    for study in "ab":
        for images in (100_000, 200_000):
            make(tmp_path / study, images=images, found=fd(images / 1000 + (study == "b")))
    found = diff(tmp_path / "a", tmp_path / "b")
    assert not found.config
    assert {row["training.images"]: (row["a"], row["b"]) for _, row in found.rows.iterrows()} == {
        "100000": (100.0, 101.0),
        "200000": (200.0, 201.0),
    }


def test_numbers_of_other_numbers_of_images_are_not_matched(tmp_path, make):
    a = make(
        tmp_path, "random", found=[*fd(10.0, n=100), Measurement("coupling_ms", 1.0, n=100)]
    ).path
    b = make(
        tmp_path, "lapjv", found=[*fd(10.0, n=200), Measurement("coupling_ms", 2.0, n=200)]
    ).path
    found = diff(a, b)
    assert list(found.rows["metric"]) == ["coupling_ms"]  # there n counts pools
    assert (found.only_a, found.only_b) == (1, 1)


def test_the_evaluations_of_an_adaptive_sampler_are_a_result(tmp_path, make):
    def adaptive(nfe, value):
        place = {**PLACE, "rho": None, "sampler": "dopri5:tolerance=0.01"}
        return [Measurement("fd_classifier", value, nfe=nfe, split="test", n=100, **place)]

    a = make(tmp_path, "random", found=adaptive(40, 2.0)).path
    b = make(tmp_path, "lapjv", found=adaptive(20, 1.0)).path
    assert list(diff(a, b).rows["relative"]) == [-0.5]


def test_zero_and_what_is_not_finite_have_no_ratio_and_come_first(tmp_path, make):
    nan = math.nan
    inf = math.inf
    a = make(tmp_path, "random", found=fd(0.0, 1.0, nan)).path
    b = make(tmp_path, "lapjv", found=fd(2.0, inf, nan)).path
    found = diff(a, b)
    assert list(found.rows["relative"].abs()) == [inf, inf, 0.0]
    assert found.rows["change"].tolist() == [2.0, inf, 0.0]
    assert as_text(found).count("no ratio") >= 2


def test_the_same_folder_has_not_changed(study):
    found = diff(study, study)
    assert not found.config
    assert not found.provenance
    assert found.rows["change"].eq(0).all()
    assert (found.only_a, found.only_b) == (0, 0)
    assert "Configuration: the same" in as_text(found)


def test_terminal_and_csv(study, tmp_path, make, capsys):
    a = make(tmp_path, "random", found=fd(*[10.0] * 3)).path
    b = make(tmp_path, "lapjv", found=fd(9.0, 10.0, 20.0), command="<b>\x1b[31m").path
    make(tmp_path, "knn").set_status("running")
    assert main([str(a), str(b), "--csv", str(tmp_path / "changes.csv")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["coupling:", "random", "->", "lapjv"] in lines
    assert ["Numbers:", "3", "in", "both,", "of", "which", "2", "changed"] in lines
    assert ["fd_classifier", "3", "2", "+0", "%", "+100", "%"] in lines
    start = lines.index(["metric", "nfe", "A", "B", "B", "-", "A", "relative"])
    assert lines[start + 1 : start + 3] == [
        ["fd_classifier", "7", "10.0", "20.0", "10.0", "+100", "%"],
        ["fd_classifier", "3", "10.0", "9.00", "-1.00", "-10", "%"],
    ]
    table = pd.read_csv(tmp_path / "changes.csv")
    assert list(table.columns[-4:]) == ["a", "b", "change", "relative"]
    assert list(table["relative"]) == [1.0, -0.1, 0.0]
    assert "\x1b" not in as_text(diff(a, b))
    assert "Left out:" in as_text(diff(tmp_path, study))


def test_errors_are_one_line(tmp_path, make, capsys):
    done = make(tmp_path / "a", found=fd(1.0)).path
    failed = make(tmp_path / "b", found=fd(1.0))
    failed.set_status("failed", reason="loss is nan")
    doubled = make(
        tmp_path / "c", found=[Measurement("coupling_ms", 1.0, n=n) for n in (1, 2)]
    ).path
    (tmp_path / "empty").mkdir()
    for a, b, part in (
        (done, tmp_path / "nowhere", "does not exist"),
        (done, failed.path, "failed: loss is nan"),
        (done, tmp_path / "b", "failed: loss is nan"),
        (tmp_path / "empty", done, "no run folder"),
        (doubled, done, "coupling_ms twice"),
    ):
        assert main([str(a), str(b)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert part in err
        assert err.count("\n") == 1
    assert main([str(done), str(done), "--csv", str(done / "config.json" / "x.csv")]) == 2
    assert "--csv" in capsys.readouterr().err
