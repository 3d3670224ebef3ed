from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from couplings import CouplingError, get, names
from couplings.errors import PluginError
from couplings.spec import build, check_options, format_spec, read_options, split_spec

Kind = Literal["small", "large"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    name: ClassVar[str] = "sample"

    flag: bool = False
    count: int = 3
    rate: float = 0.5
    path: str = "pca:8"
    kind: Kind = "small"
    limit: int | None = None

    def __post_init__(self):
        check_options(self)


def parse(text: str) -> Sample:
    name, options = split_spec(text)
    assert name == "sample"
    return build(Sample, options)


words = st.text("abcxyz0189:=-._", min_size=1).filter(lambda word: word == word.strip())
samples = st.builds(
    Sample,
    flag=st.booleans(),
    count=st.integers(),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    path=words,
    kind=st.sampled_from(["small", "large"]),
    limit=st.none() | st.integers(),
)


@given(samples)
def test_round_trip(sample):
    text = format_spec(sample)
    assert parse(text) == sample
    assert format_spec(parse(text)) == text


@given(st.sampled_from(names()))
def test_every_default_is_its_name(name):
    assert get(name).spec == name
    assert get(get(name).spec) == get(name)


@given(st.text(max_size=30))
def test_any_text_is_a_coupling_or_a_coupling_error(text):
    for spec in (text, f"sinkhorn:{text}", f"sinkhorn:epsilon={text}", f"lapjv:cost={text}"):
        try:
            coupling = get(spec)
        except CouplingError:
            continue
        assert get(coupling.spec) == coupling


def test_values_are_read_by_type():
    text = "sample:flag=TRUE, count = -2,rate=1e-3,path=pca:64,kind=large,limit=7"
    assert parse(text) == Sample(
        flag=True, count=-2, rate=0.001, path="pca:64", kind="large", limit=7
    )
    assert parse("sample:limit=none") == Sample()


def test_canonical_spec_holds_what_differs_in_field_order():
    sample = parse("sample:kind=large,rate=0.5,flag=true")
    assert format_spec(sample) == "sample:flag=true,kind=large"
    assert format_spec(replace(sample, rate=2)) == "sample:flag=true,rate=2.0,kind=large"
    assert get("lapjv:cost=sqeuclidean").spec == "lapjv"
    assert str(get("sinkhorn:replace=true,epsilon=1e-1")) == "sinkhorn:epsilon=0.1,replace=true"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lapjv:", "expected key=value"),
        ("lapjv:cost", "expected key=value"),
        ("lapjv:cost=", "expected key=value"),
        ("lapjv:cost=l2,", "expected key=value"),
        ("lapjv:cost=l2,cost=dot", "cost is given twice"),
        ("lapjv:cots=l2", r"unknown option of lapjv 'cots': did you mean cost\? known: .*cost"),
        ("random:epsilon=1", "unknown option of random 'epsilon'"),
        ("lapjv:cost=L2", r"lapjv: cost must be sqeuclidean \| l2 \| dot \| angular, got 'L2'"),
        ("sinkhorn:epsilon=0", "epsilon must be above 0"),
        ("sinkhorn:epsilon=-1", "epsilon must be above 0"),
        ("sinkhorn:epsilon=nan", "epsilon must be a finite number"),
        ("sinkhorn:epsilon=inf", "epsilon must be a finite number"),
        ("sinkhorn:epsilon=abc", "epsilon must be a finite number"),
        ("sinkhorn:max_iterations=0", "max_iterations must be above 0"),
        ("sinkhorn:max_iterations=1.5", "max_iterations must be a whole number"),
        ("sinkhorn:tolerance=1", r"tolerance must be in \(0, 1\)"),
        ("sinkhorn:replace=yes", "replace must be true or false"),
    ],
)
def test_bad_specs(text, message):
    with pytest.raises(CouplingError, match=message):
        get(text)


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "medium"},
        {"count": 1.5},
        {"count": True},
        {"rate": "1"},
        {"path": "a,b"},
        {"path": ""},
        {"flag": 1},
    ],
)
def test_bad_values_are_refused_without_a_spec_too(bad):
    with pytest.raises(PluginError):
        Sample(**bad)


def test_a_default_of_a_coupling_is_refused_as_an_error_of_couplings():
    with pytest.raises(CouplingError, match="cost must be"):
        type(get("lapjv"))(cost="L2")


def extract(dataset, device, *, weights: str | None = None, size: int = 8, name="plain"):
    return dataset, device, weights, size, name


class Metric:
    """Of a plug-in whose options are those of its constructor."""

    name = "metric"

    def __init__(self, real, *, k: int = 5, share: float | None = None):
        self.values = (real, k, share)


def test_a_function_is_called_with_its_options():
    options = {"size": "4", "weights": "inception.pth", "name": "mine"}
    expected = ("images", "cpu", "inception.pth", 4, "mine")
    assert build(extract, options, "images", "cpu") == expected
    assert build(extract, {"weights": "none"}, 1, 2) == (1, 2, None, 8, "plain")


def test_a_class_is_built_with_the_options_of_its_constructor():
    assert build(Metric, {"share": "0.5"}, "real").values == ("real", 5, 0.5)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (extract, {"size": "4.5"}, "^features: size must be a whole number, got '4.5'"),
        (extract, {"wieghts": "a"}, "unknown option of features 'wieghts': did you mean weights?"),
        (extract, {"dataset": "a"}, "unknown option of features 'dataset': known: weights, size"),
        (Metric, {"k": "none"}, "^features: k must be a whole number, got 'none'"),
        (Metric, {"share": "half"}, "share must be a finite number or none, got 'half'"),
    ],
)
def test_bad_options_of_functions(target, options, message):
    with pytest.raises(PluginError, match=message):
        build(target, options, "images", name="features")


def test_options_are_checked_without_a_call():
    assert read_options(extract, {"size": "4"}) == {"size": 4}
    with pytest.raises(PluginError, match="unknown option of extract 'k'"):
        read_options(extract, {"k": "4"})


def test_a_type_that_no_spec_can_hold_is_named():
    @dataclass(frozen=True)
    class Wide:
        name: ClassVar[str] = "wide"
        sizes: tuple = ()

    with pytest.raises(PluginError, match="wide: sizes: a spec cannot hold a <class 'tuple'>"):
        build(Wide, {"sizes": "3"})
