"""The shared noise law against each coupling's own."""

import pytest

from bench.record import Measurement
from reports.build import build
from reports.sections import laws
from reports.tables.groups import groups
from reports.tables.runs import read
from reports.tables.search import FILE, tried
from reports.tables.tidy import results

OWN = {"random": {"P_mean": -0.4, "P_std": 1.6}, "lapjv": {"P_mean": 0.0, "P_std": 2.0}}
GAIN = {"random": 0.9, "lapjv": 0.5}
PLACE = {"rho": 7.0, "sampler": "heun", "start": "gaussian", "guidance": "none"}
HEAD = "objective,coupling,law,P_mean,P_std,seed,images,grid_fd,chosen,data,pool"


def distances(value):
    return [
        Measurement("fd_classifier", value / nfe, nfe=nfe, split="test", n=500, **PLACE)
        for nfe in (3, 5)
    ]


@pytest.fixture
def folder(tmp_path, make):
    for coupling, own in OWN.items():
        for seed in range(3):
            value = (30.0 if coupling == "random" else 20.0) * (1 + 0.1 * seed)
            make(tmp_path, coupling, seed, found=distances(value))
            found = distances(value * GAIN[coupling])
            make(tmp_path, coupling, seed, training=own, found=found)
    return tmp_path


def write(folder, *lines):
    (folder / FILE).write_text("\n".join([HEAD, *lines, ""]))


def group_of(folder):
    runs = read(folder)[0]
    (group,) = groups(results(runs), runs)
    return group


def test_own_laws_against_the_shared_one_and_against_randoms_own(folder):
    content = laws.build(group_of(folder))
    (table,) = content.own
    ratios = {(row.arm, row.against): [cell.ratio for cell in row.cells] for row in table.rows}
    assert ratios == {
        ("lapjv, P_mean 0, P_std 2", "lapjv"): pytest.approx([0.5, 0.5]),
        ("random, P_mean -0.4, P_std 1.6", "random"): pytest.approx([0.9, 0.9]),
    }
    (table,) = content.random
    (row,) = table.rows
    assert (row.arm, row.against) == ("lapjv, P_mean 0, P_std 2", "random, P_mean -0.4, P_std 1.6")
    assert row.cells[0].ratio == pytest.approx(20 * 0.5 / (30 * 0.9))
    assert row.words.startswith("lower (better) than random, P_mean -0.4, P_std 1.6 at NFE 3 and 5")
    assert content.tried == []


def test_the_search_says_which_law_is_a_couplings_own(folder, make):
    """lapjv was trained at a third law, so that only the search can say which one it chose."""
    other = {"P_mean": 1.0, "P_std": 1.0}
    for seed in range(3):
        make(folder, "lapjv", seed, training=other, found=distances(9.0 + seed))
    assert laws.build(group_of(folder)).random == []
    write(
        folder,
        "edm,lapjv,own,0,2,0,1000,3.0,False,digits,1024",
        "edm,lapjv,other,1.0,1.0,0,1000,2.0,True,digits,1024",
        "edm,random,EDM's,-1.2,1.2,0,1000,5.0,True,digits,1024",
    )
    content = laws.build(group_of(folder))
    (row,) = content.random[0].rows
    assert (row.arm, row.against) == ("lapjv, P_mean 1, P_std 1", "random")
    assert [(one.coupling, one.law, one.chosen) for one in content.tried] == [
        ("random", "EDM's", True),
        ("lapjv", "own", False),
        ("lapjv", "other", True),
    ]


def test_pilots_are_means_over_seeds_of_this_data_and_pool(tmp_path):
    write(
        tmp_path,
        "flow,lapjv,uniform,,,0,1000,4.0,True,digits,1024",
        "flow,lapjv,uniform,,,1,1000,6.0,True,digits,1024",
        "flow,lapjv,wide,0,2,0,1000,,False,digits,1024",
        "flow,lapjv,uniform,,,0,1000,1.0,True,moons,1024",
        "flow,lapjv,uniform,,,0,1000,1.0,True,digits,256",
    )
    found = tried([tmp_path], {"data": "digits", "pool": "1024", "source": "gaussian"})
    wide, uniform = sorted(found, key=lambda one: one.chosen)
    assert (uniform.numbers, uniform.images, uniform.distance.mean) == (None, 1000, 5.0)
    assert (wide.numbers, wide.chosen) == ((0.0, 2.0), False)
    assert wide.distance.mean != wide.distance.mean


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "\x00", HEAD])
def test_a_file_of_another_form_is_passed_over(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    assert tried([tmp_path], {"data": "digits", "pool": "1024"}) == []


def test_no_law_and_no_search_make_no_section(study):
    assert laws.build(group_of(study)) is None


def test_the_page_says_what_is_not_compared_and_shows_the_pilots(folder):
    write(folder, "edm,lapjv,P_mean 0,0,2,0,1000,3.25,True,digits,1024")
    text = build(folder).html.read_text()
    assert "● P_mean 0" in text
    assert (
        "There is no random run with the objective and noise law of lapjv, P_mean 0, P_std 2"
        in (text)
    )
