import pytest

from bench.record import Measurement
from reports.sections._weights import with_weight, without_digests
from reports.sections.guidance import build, sentences
from reports.tables.groups import groups
from reports.tables.tidy import read_runs

PLACE = {"nfe": 17, "rho": 7.0, "sampler": "heun", "start": "gaussian", "n": 2000}


def section(runs):
    (group,) = groups(read_runs(runs))
    return build(group)


def rows_of(train, test, guidance="dg-lapjv:weight={:g}", **more):
    """Weight to value on both splits; weight 0 is unguided."""
    return [
        Measurement(
            "fd_classifier",
            value,
            split=split,
            guidance=guidance.format(w) if w else "none",
            **PLACE | more,
        )
        for split, values in (("train", train), ("test", test))
        for w, value in values.items()
    ]


def test_the_weight_is_chosen_on_train_and_told_on_test(tmp_path, make, guided_rows):
    for seed in range(3):
        make(tmp_path, "random", seed, found=guided_rows("random", seed))
    found = section(tmp_path)
    assert [(w.metric, w.nfe) for w in found.weights] == [
        ("fd_classifier", 9),
        ("fd_classifier", 17),
    ]
    assert [w.metric for w in found.others] == ["fd_pixels", "fd_pixels"]
    independent, lapjv = found.weights[1].choices
    assert [(c.noising, c.weight, c.passes) for c in (independent, lapjv)] == [
        ("independent", 1.0, (9.0,)),
        ("lapjv", 1.0, (9.0,)),
    ]
    assert (
        lapjv.by_split["test"][2.0].mean < lapjv.by_split["test"][1.0].mean
    )  # the test split alone would have taken 2
    assert lapjv.gain.ratio == pytest.approx(0.85)
    text = sentences(found.weights)["random"][3]
    assert text.startswith(
        "noising lapjv, NFE 17: weight 1 of 0, 0.5, 1 and 2 is chosen; on the test split lower"
        " (better)"
    )
    assert "−15 % [−15, −15]; 9 discriminator passes per image" in text


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ({0: 1.0, 1: 2.0}, {0: 1.0, 1: 0.5}, "the train split chooses 0"),
        ({1: 2.0, 2: 1.0}, {1: 1.0}, "unguided sampling was not measured"),
        ({0: 2.0, 1: 1.0}, {0: 1.0}, "the test split was not measured"),
        (
            {0: 2.0, 1: 1.0},
            {0: 1.0, 1: 1.5},
            "no claim (1 seed, 3 needed): 1.50 vs 1.00, +50 %",
        ),
        ({0: 2.0, 1: float("inf"), 2: 1.0}, {0: 2.0, 2: 1.0}, "weight 2 of 0, 1 and 2 is chosen"),
    ],
)
def test_what_cannot_be_claimed_is_said(tmp_path, make, train, test, said):
    make(tmp_path, found=rows_of(train, test))
    ((line,),) = sentences(section(tmp_path).weights).values()
    assert said in line


def test_weights_are_compared_over_the_seeds_that_all_have(tmp_path, make):
    make(tmp_path, seed=0, found=rows_of({0: 2.0, 1: 3.0, 2: 4.0}, {0: 2.0}))
    make(tmp_path, seed=1, found=rows_of({0: 9.0, 1: 0.1}, {0: 9.0}))
    (weights,) = section(tmp_path).weights
    assert weights.choices[0].weight == 0.0


def test_only_the_same_setting_is_unguided(tmp_path, make):
    """Other rho, sampler or number of images: no comparison."""
    found = rows_of({1: 1.0}, {1: 1.0})
    for other in ({"rho": 3.0}, {"sampler": "euler"}, {"n": 500}):
        found += rows_of({0: 5.0}, {0: 5.0}, **other)
    make(tmp_path, found=found)
    (weights,) = section(tmp_path).weights
    assert weights.grid == [1.0]


def test_names_with_colons_and_options(tmp_path, make):
    name = "dg-sinkhorn:epsilon=0.05-abc123:weight={:g},second=0.5"
    make(tmp_path, found=rows_of({0: 1.0, 2: 0.5}, {0: 1.0, 2: 0.5}, name))
    row, _ = with_weight(read_runs(tmp_path))[["noising", "weight"]].itertuples(index=False)
    # The digest of the settings is left out where the names are still unique.
    assert tuple(row) == ("sinkhorn:epsilon=0.05,second=0.5", 2.0)
    assert without_digests(["a-0123ab", "a-4567cd", "b-0123ab:weight=1"]) == {
        "a-0123ab": "a-0123ab",
        "a-4567cd": "a-4567cd",
        "b-0123ab:weight=1": "b:weight=1",
    }


def test_discriminators_over_sigma(tmp_path, make, guided_rows):
    make(tmp_path, found=guided_rows("random", 0))
    found = section(tmp_path)
    own = found.discriminators
    assert list(own.infos) == ["dg_auc", "dg_accuracy", "dg_calibration_error"]
    assert [row[:3] for row in own.rows] == [
        ("random", noising, split)
        for noising in ("independent", "lapjv")
        for split in ("test", "train")
    ]
    assert own.rows[0][3][0].mean == pytest.approx(0.8)
    assert own.split == "test"
    lines = own.profiles["dg_auc"]
    assert list(lines["random, noising independent"]) == [0.1, 1.0, 10.0]
    assert "guessing" in found.quality.svg


def test_without_guidance_there_is_no_section(study):
    assert section(study) is None


def test_the_figure_of_the_test_split_has_the_line_of_real_images(tmp_path, make):
    found = rows_of({0: 2.0, 1: 1.0}, {0: 2.0, 1: 1.5})
    metric, n = found[0].metric, found[0].n
    floor = metric.replace("fd_", "fd_floor_")
    make(tmp_path, found=[*found, Measurement(floor, 0.5, split="test", n=n)])
    (figure,) = section(tmp_path).figures
    assert figure.svg.count("real images 0.500 throughout") == 1
    assert "Dashed: as many real training images instead of samples." in figure.caption
