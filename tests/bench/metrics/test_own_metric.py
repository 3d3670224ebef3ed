"""A metric of a user's own is measured, recorded and described like those of this folder."""

import dataclasses
import sys

import pytest

from bench import metrics
from bench.arm import run_arm
from bench.check import check
from bench.config import ConfigError, Execution
from bench.record import UserError
from bench.record.infos import read_infos

SPREAD = '''
from bench.metrics.contract import SampleMetric
from bench.record.infos import Info


class Spread(SampleMetric):
    """Total variance of the samples over that of held-out images."""

    infos = (Info("spread", "Variance of the samples over that of real images.", better="higher"),)

    def __init__(self, space, n):
        super().__init__(space, n)
        self.parts = []

    def update(self, features):
        self.parts.append(features)

    def compute(self):
        real = self.space.real["test"].moments.covariance.trace()
        return {("spread", "test"): (sum(part.var(0).sum() for part in self.parts) / real).item()}
'''

LARGEST = '''
from bench.metrics.contract import SolverMetric
from bench.record.infos import Info


class Largest(SolverMetric):
    """Largest distance of a pixel from the dense solution."""

    infos = (Info("largest", "Largest error of a pixel.", better="lower"),)

    @classmethod
    def suits(cls, setting):
        return setting.is_plain and setting.sampler == "heun"

    @classmethod
    def samples(cls, evaluation):
        return evaluation.trajectories

    @classmethod
    def values(cls, samples, dense, n):
        pairs = zip(samples.tensors("exact", n), dense.tensors("exact", n), strict=True)
        return {"largest": max((a - b).abs().max().item() for a, b in pairs)}
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package ``mine`` with the metrics ``spread`` and ``largest``, and ``none`` without any."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "spread.py").write_text(SPREAD)
    (folder / "largest.py").write_text(LARGEST)
    (folder / "none.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    # Other tests have packages of this name too.
    for name in list(sys.modules):
        if name.split(".")[0] == "mine":
            del sys.modules[name]


def asking(config, *words):
    evaluation = dataclasses.replace(config.evaluation, metrics=words)
    return check(dataclasses.replace(config, evaluation=evaluation))


def measured(folder):
    return {row.metric for row in folder.measurements()}


@pytest.mark.usefixtures("package")
def test_is_measured_and_described(tiny, tmp_path):
    execution = Execution(device="cpu")
    config = asking(tiny, "copies", "mine.spread")
    folder = run_arm(config, tmp_path / "runs", execution, progress=False)
    names = {"spread_classifier", "spread_pixels"}
    assert names < measured(folder)
    assert "copy_rate_pixels" in measured(folder)
    assert "fd_pixels" not in measured(folder)  # only two metrics were asked for
    infos = read_infos(folder.path)
    assert {infos[name].better for name in names} == {"higher"}
    assert {infos[name].family for name in names} == {"spread"}
    assert list(infos)[-2:] == ["spread_classifier", "spread_pixels"]  # after known metrics
    # It keeps its description when other metrics are measured.
    run_arm(asking(tiny, "kid"), tmp_path / "runs", execution, progress=False)
    assert {"kid_classifier", *names} < read_infos(folder.path).keys()


@pytest.mark.usefixtures("package")
def test_a_solver_metric_alone_is_given_the_dense_reference(tiny, tmp_path):
    config = asking(tiny, "mine.largest")
    folder = run_arm(config, tmp_path / "runs", Execution(device="cpu"), progress=False)
    rows = [row for row in folder.measurements() if row.metric == "largest"]
    assert {row.nfe for row in rows} == set(tiny.evaluation.nfe)
    assert all(row.value > 0 for row in rows)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("word", "message"),
    [("kidd", "did you mean kid"), ("mine.none", "found none"), ("mine.nothing", "no module")],
)
def test_what_is_no_metric_is_refused_before_the_training(word, message, tiny):
    with pytest.raises(ConfigError, match=message):
        asking(tiny, word)


INFO = 'Info("spread", "Variance of the samples over that of real images.", better="higher")'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (f"infos = ({INFO},)", "", "mine.changed: Spread must state infos, .* got none"),
        (f"({INFO},)", INFO, r"infos = \(Info\(.*\),\), got an Info without the comma"),
        (f"({INFO},)", "()", r"must state infos, a tuple of Info: .*, got \(\)"),
        ('"higher"', '"up"', "better of spread must be 'lower', 'higher' or None, got 'up'"),
        ("def compute", "def computed", "mine.changed: Spread must define compute$"),
        ('Info("spread"', 'Info("kid"', "'kid' is the name of a metric of bench.metrics"),
        (
            "(SampleMetric)",
            "",
            "derives from SampleMetric or SolverMetric or PathMetric or DenoiserMetric, found none",
        ),
        ("SampleMetric", "Metric", "derives from SampleMetric or .*, found none$"),
        ("import Info", "import Infos", "importing it failed: ImportError: .*"),
    ],
)
def test_a_metric_that_breaks_the_contract_is_refused_before_the_training(
    old, new, message, tiny, package
):
    (package / "changed.py").write_text(SPREAD.replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        asking(tiny, "mine.changed")
    # Nobody who wrote a module of their own meant a group.
    assert "or a group of metrics" not in str(caught.value)


def test_a_name_that_is_not_declared_is_not_recorded(tiny, tmp_path, package):
    text = SPREAD.replace('("spread", "test")', '"sp"')
    (package / "pair.py").write_text(text)
    config = asking(tiny, "mine.pair")
    message = r"mine.pair: compute\(\) must return .* with the names of infos \(spread\), got 'sp'"
    with pytest.raises(UserError, match=message):
        run_arm(config, tmp_path / "runs", Execution(device="cpu"), progress=False)


def test_groups_are_what_the_metrics_say():
    samples = ("classes", "copies", "frechet", "kid", "mode-mixture", "prdc", "w2")
    steering = metrics.chosen([])
    chosen = metrics.chosen(["samples"])
    assert set(chosen) >= {*steering, *samples}
    assert chosen[len(steering) :] == tuple(sorted(chosen[len(steering) :]))
    assert metrics.chosen(["kid", "samples", "grid"])[len(steering)] == "kid"
    assert set(metrics.chosen(["local", "learning"])) == {
        *steering,
        "coupling-report",
        "local-error",
        "learning-signal",
    }


def test_rows_are_owned_by_the_longest_name_that_fits():
    owners = {
        "fd_infinity_classifier": "frechet",
        "fid": "frechet",
        "grid_fd_my-net": "grid",
        "best_schedule_my-net": "grid",
        "mode_mixture_0.2_real_classifier": "mode-mixture",
        "w2_floor": "w2",
    }
    for metric, name in owners.items():
        assert metrics.owner(metric)[0] == name
    assert metrics.owner("mode_mixture_0.2_real_x")[1].family == "mode_mixture_real"
    assert metrics.owner("nobodys") is None
    assert metrics.infos(["nobodys", "kid_x", "fid"])[0].name == "fid"


def test_every_metric_is_described_in_one_sentence_and_one_place():
    """Texts say nothing of the better side: reports print it from the field."""
    places = {}
    for name in metrics.names():
        for info in metrics.load(name).infos:
            assert info.about.endswith("."), info.name
            assert "is better." not in info.about.replace("neither higher nor lower is better.", "")
            family = info.family or info.name
            assert places.setdefault(info.place, family) == family
