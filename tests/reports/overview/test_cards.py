"""Cards from studies of which every outcome is known before."""

import pytest

from bench.record import Measurement
from reports.overview.first_screen import first_screen
from reports.tables.changes import certainty, change_of, direction, in_words, strength
from reports.tables.groups import groups
from reports.tables.runs import read
from reports.tables.tidy import results
from tests.reports.conftest import COMMON

# Small enough that three seeds agree, large enough that no interval is a point
JITTER = (0.0, 0.004, -0.003, 0.002)


@pytest.fixture
def screen(tmp_path, make):
    """The first screen of couplings with these ratios to random, NFE by NFE."""

    def of(ratios, seeds=3, nfes=(5, 9, 13, 35), noise=1.0, **costs):
        for arm, own in {"random": [1.0] * len(nfes), **ratios}.items():
            # Equal ratios are equal networks.
            number = round(100 * sum(own))
            for seed in range(seeds):
                found = []
                for place, (nfe, ratio) in enumerate(zip(nfes, own, strict=True)):
                    shift = JITTER[(seed + number + place) % len(JITTER)] * noise
                    value = 90 / nfe * ratio * (1 + shift)
                    found.append(
                        Measurement("fd_classifier", value, nfe=nfe, split="test", n=500, **COMMON)
                    )
                for name, value in costs.get(arm, {}).items():
                    found.append(Measurement(name, value, n=9))
                make(tmp_path, arm, seed, found=found)
        runs, _ = read(tmp_path)
        (group,) = groups(results(runs), runs)
        return first_screen(group)

    return of


def said(found):
    return [(card.place, card.title, card.kind) for card in found.default.cards]


def test_ranges_with_one_outcome_share_a_card(screen):
    work = {"train_seconds": 103.0, "coupling_wait_share": 0.0, "coupling_share": 0.029}
    found = screen({"lapjv": (1.6, 0.5, 0.4, 1.0), "knn": (1.2, 0.8, 1.0, 1.0)}, lapjv=work)
    assert said(found)[:3] == [
        ("5 NFE", "random", "random"),
        ("9 and 13 NFE", "lapjv", "better"),
        ("35 NFE", "no clear winner", "unclear"),
    ]
    worse, better, unclear, *_ = (card.lines for card in found.default.cards)
    assert worse[0].startswith("worse: lapjv +6")
    assert "knn +20 %" in worse[0]
    assert better[0].startswith("−50 % at 9, −60 % at 13")
    assert better[1:] == ("training work +3 %", "also better: knn")
    assert unclear[0].startswith("lapjv ")
    assert unclear[0].endswith(" at 35; not significant after adjustment")
    # Sorted by NFE 13, that of the question that nobody declared.
    assert [row.label for row in found.default.table.rows] == ["lapjv", "knn"]
    assert found.default.table.rows[0].extra_work == "+3 %"


def test_random_wins_only_if_every_coupling_is_worse(screen):
    found = screen({"lapjv": (1.6, 1.6, 1.6, 1.6), "knn": (1.0, 1.0, 1.0, 1.0)})
    (card,) = [card for card in found.default.cards if card.place.endswith("NFE")]
    assert card.title == "no clear winner"
    assert card.lines[-1].startswith("worse: lapjv +")


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_a_placebo_wins_nothing(screen, ratio):
    found = screen({"random:draw=1": (ratio,) * 4})
    assert {card.title for card in found.default.cards} == {"no clear winner"}


@pytest.mark.parametrize(("seeds", "missing"), [(1, "2 more seeds"), (2, "1 more seed")])
def test_too_few_seeds_are_an_answer(screen, seeds, missing):
    found = screen({"lapjv": (0.5,) * 4}, seeds)
    card = found.default.cards[0]
    assert (card.place, card.title, card.kind) == ("5 to 35 NFE", f"needs {missing}", "seeds")
    cell = found.default.table.rows[0].cells[5]
    assert certainty(cell) == (f"{seeds} seed" if seeds == 1 else f"{seeds} seeds")


def test_seeds_that_would_make_the_primary_answer_clear_are_named(screen):
    found = screen({"lapjv": (0.93, 0.92, 0.94, 0.92)}, noise=7.0)
    lines = [line for card in found.default.cards for line in card.lines]
    cell = found.default.table.rows[0].cells[13]
    assert cell.p > 0.05
    assert any("more seed" in line and line.endswith("settle NFE 13: lapjv") for line in lines), (
        lines
    )


def test_the_same_quality_with_fewer_evaluations(screen):
    # Random falls as 90 / NFE, so that half of 90 / 35 of a coupling needs half the evaluations.
    found = screen({"lapjv": (0.5,) * 4, "knn": (1.0,) * 4})
    card = found.default.cards[-1]
    assert (card.place, card.kind, card.arm) == (
        "same quality, fewer evaluations",
        "better",
        "lapjv",
    )
    own, _, reference = card.title.partition(" NFE, not ")
    assert float(own) == pytest.approx(8.75, rel=0.02)
    assert float(reference) == pytest.approx(17.5, rel=0.02)
    assert card.lines[1].startswith("×0.50 [")


def test_equal_networks_share_a_row_and_options_are_left_out(screen):
    found = screen({"lapjv": (0.5,) * 4, "hungarian": (0.5,) * 4, "knn:k=8": (0.9,) * 4})
    rows = found.default.table.rows
    assert [row.label for row in rows] == ["hungarian / lapjv", "knn"]
    assert [row.arms for row in rows] == [("hungarian", "lapjv"), ("knn:k=8",)]


def test_words_and_colours_of_a_cell(screen):
    table = screen({"lapjv": (1.0, 0.5, 1 / 3, 2.0)}).default.table
    row = table.rows[0]
    assert [direction(table.panel, row.cells[nfe]) for nfe in (9, 13, 35)] == [
        "gain",
        "gain",
        "loss",
    ]
    sizes = [strength(row.cells[nfe]) for nfe in (5, 9, 13, 35)]
    assert sizes == pytest.approx([0.0, 0.756, 1.0, 0.756], abs=0.02)
    words = in_words(table, row, 9)
    assert words.startswith(f"lapjv at 9 NFE: {change_of(row.cells[9])} [")
    assert words.endswith("seeds 0, 1, 2; clearly better")


def test_facts_name_what_a_reader_needs(screen):
    found = screen({"lapjv": (0.5,) * 4})
    assert found.title == "Digits 8×8: which coupling at your NFE?"
    assert found.facts == (
        "2 couplings",
        "EDM",
        "pool 1,024",
        "200,000 training images per run",
        "3 seeds",
    )
    assert found.default.title == "Fréchet distance, classifier features"


def test_a_distance_with_a_singular_covariance_is_said_to_be_unreliable(tmp_path, make):
    """64 images in 64 dimensions: their covariance has rank 63."""
    for n, words in ((64, "unreliable: 64 images in 64 dimensions"), (65, "")):
        found = [Measurement("fd_classifier", 2.0, nfe=5, split="test", n=n, **COMMON)]
        for arm in ("random", "lapjv"):
            sizes = {"classifier": 64}
            make(tmp_path / str(n), arm, 0, found=found, feature_sizes=sizes)
        runs, _ = read(tmp_path / str(n))
        (group,) = groups(results(runs), runs)
        title = "Fréchet distance, classifier features"
        assert first_screen(group).default.title == (f"{title}, {words}" if words else title)


@pytest.mark.parametrize(
    ("objectives", "fact"),
    [
        (("edm", "edm"), "EDM"),
        (("flow:end_sigma=0.1", "flow:end_sigma=0.1"), "flow matching"),
        (("edm", "flow"), "EDM and flow matching"),
    ],
)
def test_the_facts_name_the_objective(tmp_path, make, objectives, fact):
    for objective in set(objectives):
        make(tmp_path, "random", 0, training={"objective": objective})
    runs, _ = read(tmp_path)
    (group,) = groups(results(runs), runs)
    # Random pairing is one coupling, however many objectives train with it.
    assert first_screen(group).facts[:2] == ("1 coupling", fact)
