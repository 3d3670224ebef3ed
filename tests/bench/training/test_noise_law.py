"""Laws of training noise on the command line, and in the configuration of a run."""

import math

import pytest
import torch

from bench.check import check, make
from bench.config import ConfigError
from bench.training.network import find_objective
from bench.training.noise_law import (
    DEFAULT,
    NoiseLaw,
    default_laws,
    knows,
    law_of,
    parse,
    with_law,
    without_law,
)

EDM = NoiseLaw(-1.2, 1.2)
UNIFORM = NoiseLaw()


def flow(spec="flow"):
    return make(None, {"objective": spec})


@pytest.mark.parametrize("law", [*DEFAULT, UNIFORM, NoiseLaw(-3.0, 0.25)])
def test_a_law_is_read_as_it_is_written(law):
    assert parse(law.name) == law


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,1", "0,0", "0,-1", "nan,1", "0,inf", "flat"])
def test_what_is_no_law_is_refused_by_its_name(text):
    with pytest.raises(ConfigError, match="--noise-laws"):
        parse(text)


@pytest.mark.parametrize("law", DEFAULT)
def test_the_law_of_edm_is_a_mean_and_a_deviation_of_ln_sigma(law):
    config = check(with_law(make(), law))
    assert (config.training.P_mean, config.training.P_std) == (law.P_mean, law.P_std)
    assert law_of(config) == law
    assert without_law(config) == "edm"


def test_the_configured_law_of_edm_leaves_the_run_as_it_is():
    assert with_law(make(), law_of(make())) == make()
    assert law_of(make(None, {"P_mean": 0.5, "P_std": 2.0})) == NoiseLaw(0.5, 2.0)


def test_edm_knows_no_uniform_law():
    assert not knows(make(), UNIFORM)
    with pytest.raises(ConfigError, match="uniform"):
        with_law(make(), UNIFORM)


@pytest.mark.parametrize("law", [UNIFORM, *DEFAULT])
@pytest.mark.parametrize("before", ["flow", "flow:t=logit-normal,loc=1,scale=3,path_sigma=0.1"])
def test_flow_takes_every_law_and_keeps_its_other_options(law, before):
    config = check(with_law(flow(before), law))
    assert law_of(config) == law
    assert without_law(config) == before.replace("t=logit-normal,loc=1,scale=3,", "")


@pytest.mark.parametrize("law", DEFAULT)
def test_both_objectives_draw_the_same_noise_by_the_same_law(law):
    """Location and scale of logit t are mean and deviation of ln sigma."""
    drawn = []
    for config in (make(), flow()):
        objective = find_objective(with_law(config, law).training)
        generator = torch.Generator().manual_seed(0)
        drawn.append(objective.draw_sigma(4096, generator).log())
    torch.testing.assert_close(drawn[0], drawn[1])
    assert drawn[0].mean().item() == pytest.approx(law.P_mean, abs=4 * law.P_std / 64)
    assert drawn[0].std().item() == pytest.approx(law.P_std, rel=0.1)


def test_the_uniform_law_stands_where_it_is_almost_the_normal_one():
    laws = default_laws(flow())
    assert default_laws(make()) == DEFAULT
    (place,) = [k for k, law in enumerate(laws) if law == UNIFORM]
    assert [law for law in DEFAULT if law not in laws] == [DEFAULT[place]]
    # The logistic law has the mean 0 and the deviation pi / sqrt(3).
    assert DEFAULT[place].P_mean == 0
    assert DEFAULT[place].P_std == pytest.approx(math.pi / math.sqrt(3), rel=0.11)


def test_an_objective_without_options_for_a_law_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "my_laws"
    package.mkdir()
    (package / "fixed.py").write_text(
        "from dataclasses import dataclass\n"
        "import torch\n"
        "from models.objectives.contract import Coefficients, Objective\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Fixed(Objective):\n"
        "    def coefficients(self, sigma):\n"
        "        return Coefficients(sigma, sigma, sigma, sigma)\n"
        "    def weight(self, sigma):\n"
        "        return sigma\n"
        "    def draw_sigma(self, n, generator, device='cpu'):\n"
        "        return torch.ones(n)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = make(None, {"objective": "my_laws.fixed"})
    for call in (law_of, default_laws):
        with pytest.raises(ConfigError, match="my_laws.fixed has neither P_mean and P_std nor t"):
            call(config)
