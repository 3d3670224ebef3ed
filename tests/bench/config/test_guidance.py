import dataclasses
import subprocess
import sys

import pytest

from bench.config import ConfigError
from bench.config.guidance import GuidanceConfig, check_guidance


@pytest.mark.parametrize(
    ("options", "coupling", "conditional", "line"),
    [
        ({"noising": ("hungarain",)}, "random", False, "hungarian"),
        ({"noising": ("semidiscrete",)}, "random", False, "take a coupling of a pool"),
        ({"noising": ("lapjv",)}, "random", True, "lapjv:within_class=true"),
        ({"boost": True}, "lapjv", False, "pass --guidance.boost-coupled"),
        ({"batch": 7}, "random", False, "even"),
        ({"pool": 0}, "random", False, "--guidance.pool"),
        ({"held_out": 1.0}, "random", False, "between 0 and 1"),
        ({"fakes_nfe": 4}, "random", False, "3, 5, 7"),
        ({"lr": 0.0}, "random", False, "--guidance.lr"),
        ({"fakes": 1}, "random", False, "2 or more"),
        ({"nfe": ()}, "random", False, "at least one"),
        ({"weights": ()}, "random", False, "at least one"),
        ({"encoder": "absent.pt"}, "random", False, "no such file"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(options, coupling, conditional, line):
    with pytest.raises(ConfigError, match=line) as caught:
        check_guidance(GuidanceConfig(**options), coupling, conditional)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "coupling", "conditional"),
    [
        ({}, "lapjv", True),
        ({"noising": ("lapjv:within_class=true",)}, "random", True),
        ({"boost": True}, "random", False),
        ({"boost": True}, "permuted:of=lapjv", False),
        ({"boost": True, "boost_coupled": True}, "lapjv", False),
    ],
)
def test_what_can_run_is_let_through(options, coupling, conditional):
    assert check_guidance(GuidanceConfig(**options), coupling, conditional) == GuidanceConfig(
        **options
    )


def test_only_what_trains_it_tells_discriminators_apart():
    config = GuidanceConfig()
    for change in ({"weights": (3.0,)}, {"second": 1.0}, {"boost": True}, {"nfe": (5,)}):
        assert dataclasses.replace(config, **change).name == config.name
    for change in ({"noising": ("lapjv",)}, {"images": 5}, {"fakes_rho": 90.0}):
        assert dataclasses.replace(config, **change).name != config.name


def test_one_of_each_noising():
    assert [one.name for one in GuidanceConfig(noising=("independent", "lapjv")).per_noising()] == [
        "dg-independent",
        "dg-lapjv",
    ]
    assert GuidanceConfig().coupling == "random"
    checked = check_guidance(
        GuidanceConfig(noising=("random", "independent", "lapjv")), "random", False
    )
    assert checked.noising == ("independent", "lapjv")


def test_labels_name_discriminator_and_weight():
    config = GuidanceConfig(noising=("lapjv",), second=0.5)
    assert config.label(2.0) == "dg-lapjv:weight=2,second=0.5"
    assert config.label(0.0) == "none"


def test_no_torch_is_needed():
    code = "import sys, bench.config.guidance; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
