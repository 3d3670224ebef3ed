import re

import pytest

from bench.config import RunConfig, TrainingConfig
from bench.record import Measurement, write_json
from reports.build import build, main
from reports.tables.comparable import NotComparable, mismatches
from reports.tables.groups import groups
from reports.tables.runs import read
from reports.tables.tidy import read_csv, results

PLACE = {"nfe": 5, "rho": 7.0, "sampler": "heun", "start": "gaussian", "guidance": "none"}


def measured(value=1.0, n=2000, name="classifier", nfe=5):
    place = {**PLACE, "nfe": nfe}
    return [
        Measurement(f"fd_{name}", value, split="test", n=n, **place),
        Measurement("coupling_ms", 2.0, n=200),
    ]


def found_in(runs_dir):
    runs, _ = read(runs_dir)
    return mismatches(results(runs), runs)


def differing(make, runs, kind):
    """Two runs that differ in one thing; the second one's name."""
    common = {"found": measured(), "features": {"classifier": "a", "pixels": "p"}, "processes": 1}
    make(runs, "random", **common)
    other = {
        "data_checksum": {"data_checksum": "other"},
        "features.classifier": {"features": {"classifier": "b", "pixels": "p"}},
        "n of fd_classifier": {"found": measured(n=5000)},
        "training.images": {"images": 100_000},
        "processes": {"processes": 4},
    }[kind]
    return make(runs, "lapjv", **common | other).run_id


KINDS = (
    "data_checksum",
    "features.classifier",
    "n of fd_classifier",
    "training.images",
    "processes",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_comparable_is_refused_in_one_line_that_names_the_runs(
    tmp_path, make, capsys, kind
):
    name = differing(make, tmp_path, kind)
    assert main([str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"{kind} differs" in err
    assert name in err
    assert "digits-random" in err
    assert "--mixed" in err
    assert not list(tmp_path.glob("*.*"))


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_marks_it(tmp_path, make, kind):
    differing(make, tmp_path, kind)
    assert main([str(tmp_path), "--mixed"]) == 0
    table = read_csv(tmp_path / "results.csv")
    marked = table[table["mixed"].eq(kind)]
    assert set(marked["metric"]) >= {"fd_classifier"}
    assert ("coupling_ms" in set(marked["metric"])) == (
        kind in ("data_checksum", "training.images", "processes")
    )
    (group,) = groups(table)  # that which the reader asked for is compared
    assert group.own_couplings == ["random", "lapjv"]
    assert any(f"NOT COMPARABLE: {kind} differ" in panel.title for panel in group.panels)
    for name in ("report.html", "fd_vs_nfe.md", "fd_vs_nfe.csv", "fd_vs_nfe.tex"):
        text = re.sub(r"\\|<wbr>", "", (tmp_path / name).read_text())
        assert f"NOT COMPARABLE: {kind} differ" in text, name
        assert "only equal ones are compared" not in text


def test_what_differs_in_its_configuration_makes_other_groups(tmp_path, make):
    for coupling in ("random", "lapjv"):
        for images in (100_000, 200_000):
            make(tmp_path, coupling, images=images, found=measured())
        make(tmp_path, coupling, pool=256, found=measured())
        make(tmp_path, coupling, data="moons", found=measured(n=5000))
    assert found_in(tmp_path) == []


def test_a_sweep_over_budgets_that_lacks_a_run_is_no_single_comparison(tmp_path, make):
    for coupling, images in (("random", 1), ("lapjv", 1), ("lapjv", 2)):
        make(tmp_path, coupling, images=images * 100_000, found=measured())
    assert found_in(tmp_path) == []


def test_one_number_of_images_in_common_is_enough(tmp_path, make):
    make(tmp_path, "random", found=measured() + measured(n=5000))
    make(tmp_path, "lapjv", found=measured())
    make(tmp_path, "knn", found=measured() + measured(nfe=7, n=300))
    assert found_in(tmp_path) == []


def test_the_number_of_pools_is_no_number_of_images(tmp_path, make):
    make(tmp_path, "random", found=[Measurement("coupling_ms", 1.0, n=200)])
    make(tmp_path, "lapjv", found=[Measurement("coupling_ms", 1.0, n=201)])
    assert found_in(tmp_path) == []


def test_features_that_were_not_measured_are_no_difference(tmp_path, make):
    make(tmp_path, "random", found=measured(), features={"classifier": "a"})
    make(tmp_path, "lapjv", found=measured(), features={"classifier": "a", "dinov2": "d"})
    make(tmp_path, "knn", found=measured(), features={"classifier": "a", "dinov2": "e"})
    assert found_in(tmp_path) == []


def test_processes_matter_where_each_couples_a_pool_of_its_own(tmp_path, make):
    for coupling, processes in (("random", 1), ("lapjv", 4)):
        config = RunConfig(
            "digits", coupling, training=TrainingConfig(images=200_000, pool_scope="global")
        )
        folder = make(tmp_path, coupling, found=measured(), processes=processes)
        write_json(folder.path / "config.json", config.identity)
    assert found_in(tmp_path) == []


def test_only_some_of_many_runs_are_named(tmp_path, make):
    for seed in range(9):
        make(tmp_path, "random", seed, found=measured())
        make(tmp_path, "lapjv", seed, found=measured(), data_checksum="other")
    with pytest.raises(NotComparable, match="seed2-[0-9a-f]{10} and 6 more; other: ") as caught:
        build(tmp_path)
    assert len(str(caught.value)) < 700


def test_mixed_leaves_what_is_comparable_as_it_is(tmp_path, make):
    for coupling in ("random", "lapjv"):
        make(tmp_path / "runs", coupling, found=measured())
    build(tmp_path / "runs", tmp_path / "a")
    build(tmp_path / "runs", tmp_path / "b", mixed=True)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_two_numbers_of_images_of_a_path_metric_stand_apart(tmp_path, make):
    found = [
        Measurement("curvature_fm", n / 1e4, **{**PLACE, "nfe": 255}, n=n) for n in (512, 1024)
    ]
    make(tmp_path, found=found)
    build(tmp_path)
    (group,) = groups(read_csv(tmp_path / "results.csv"))
    means = {panel.title: panel.cells[None]["random"].mean for panel in group.panels}
    assert means == {"curvature_fm, n 512": 0.0512, "curvature_fm, n 1024": 0.1024}


def test_images_held_out_from_a_discriminator_may_differ_between_seeds(tmp_path, make):
    for seed, n in enumerate((282, 277)):
        found = [Measurement("dg_accuracy", 0.7, guidance="dg-independent", n=n)]
        make(tmp_path, "random", seed, found=found)
        make(tmp_path, "lapjv", seed, found=found)
    assert mismatches(results(runs := read(tmp_path)[0]), runs) == []
