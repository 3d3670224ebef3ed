"""Command lines: help, spellings of values, and errors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from bench.config import ConfigError
from bench.config.command_line import CommandLine, count
from bench.config.options import HIDDEN, POSITIONAL, filled, options_of, parameters_of, prefixed


@dataclass(frozen=True)
class LawConfig:
    """How it is drawn."""

    mean: float = -1.5
    """Mean, 50 % quantile."""
    kind: str = field(default="normal", metadata=HIDDEN)
    """Set elsewhere."""
    on: bool = True
    """Draw it."""


@dataclass(frozen=True)
class Wanted:
    """A command."""

    runs: tuple[Path, ...] = field(default=(), metadata=POSITIONAL)
    """Folders."""
    images: int = 10
    """Budget."""
    nfe: tuple[int, ...] = (3, 5)
    """Evaluations
    of a network.
    """
    laws: tuple[str, ...] = ()
    """Pairs of numbers."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device."""
    scale: float | Literal["data"] = 0.5
    """Scale."""
    seed: int | None = None
    """Seed. Default: none."""
    dry_run: bool = False
    """Do nothing."""
    law: LawConfig = field(default_factory=LawConfig, metadata=prefixed("law"))


def line(default=Wanted(), common=()):
    options, groups = options_of(default)
    return CommandLine("python -m it", "What it does.", options, groups, common)


def parse(*args):
    return filled(Wanted(), line().values(args))


def test_words_become_values_of_their_types():
    assert parse() == Wanted()
    assert parse("a", "--images", "7", "--law.mean", "-2", "--law.no-on", "--dry_run") == Wanted(
        runs=(Path("a"),), images=7, law=LawConfig(mean=-2.0, on=False), dry_run=True
    )
    assert parse("--scale", "data").scale == "data"
    assert parse("--scale", "2").scale == 2.0
    assert parse("--seed", "3").seed == 3
    assert parse("--seed", "None").seed is None
    assert parse("--nfe", "--device=cuda") == Wanted(nfe=(), device="cuda")
    # Texts hold commas of their own, and a pair of numbers may begin with a dash.
    assert parse("--laws", "-1.2,1.2", "0,1").laws == ("-1.2,1.2", "0,1")
    assert parse("--laws=-1.2,1.2", "0,1").laws == ("-1.2,1.2", "0,1")


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("65k", 65_000),
        ("2.5K", 2500),
        ("1e6", 10**6),
        ("5M", 5 * 10**6),
        ("-3", -3),
        ("1_000", 1000),
    ],
)
def test_counts_have_short_spellings(word, number):
    assert count(word) == number
    assert parse("--images", word).images == number


@pytest.mark.parametrize(
    "word",
    [
        "x",
        "1.5",
        "0.0001k",
        "k",
        "",
        "1e400",
        "1..2",
        "nan",
        "5 9",
        "1e999999999",
        "_5",
        "1__0",
        "٣k",
    ],
)
def test_other_words_are_no_counts(word):
    with pytest.raises(ConfigError, match="is not a whole number, such as"):
        count(word)


def test_numbers_of_a_list_may_be_separated_by_commas():
    assert parse("--nfe", "5,9", "13,").nfe == (5, 9, 13)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--imags", "5"], r"unknown option '--imags': did you mean --images\? --help"),
        (["--steps", "5"], r"unknown option '--steps': did you mean --images\? --help"),
        (["--run"], r"did you mean --dry-run\?"),
        (["--zzz"], r"^unknown option '--zzz': --help lists all options$"),
        (["--images", "many"], r"^--images: many is not a whole number"),
        (["--law.mean", "big"], r"^--law.mean: big is not a number$"),
        (["--device", "gpu"], r"^--device: 'gpu' is not one of cpu, cuda$"),
        (["--images"], r"^--images: expected one argument$"),
    ],
)
def test_bad_input_is_one_line_with_few_near_matches(args, message):
    with pytest.raises(ConfigError, match=message) as raised:
        line().values(args)
    assert "\n" not in str(raised.value)


def test_a_word_without_an_option_is_said_to_need_one():
    command = CommandLine("it", "It.", options_of(LawConfig())[0])
    with pytest.raises(ConfigError, match=r"unexpected 'lapjv': did you mean --coupling lapjv\?"):
        command.values(["lapjv"], stray="coupling")
    with pytest.raises(ConfigError, match="unexpected 'true': switches take no value"):
        command.values(["--on=true"], stray="coupling")
    with pytest.raises(ConfigError, match="unexpected 'lapjv': options have names"):
        command.values(["lapjv"])


def test_help_lists_common_options_first_and_says_defaults_that_are_any(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = line(common=("nfe", "images")).format_help()
    assert text.startswith("usage: python -m it PATH [PATH ...] [options]\n\nWhat it does.\n")
    order = [
        "positional arguments:",
        "common options:",
        "--nfe",
        "--images",
        "more options:",
        "--laws",
    ]
    places = [text.index(word) for word in [*order, "law options:", "--law.mean"]]
    assert places == sorted(places)
    assert "Evaluations of a network. (default: 3 5)" in text
    assert "Mean, 50 % quantile. (default: -1.5)" in text
    assert "--law.no-on" in text
    assert "How it is drawn." in text
    for word in ("(default: )", "None", "False", "kind", "--law.on"):
        assert word not in text


def test_parameters_of_a_function_are_options_too():
    def command(sweep_file: Path, most: int | None = None) -> None:
        """Do it.

        Args:
            sweep_file: The sweep.
            most: How many
                at once.

        """

    described = CommandLine("it", "It.", parameters_of(command))
    assert described.values(["a.toml", "--most", "1k"]) == {
        "sweep_file": Path("a.toml"),
        "most": 1000,
    }
    assert "How many at once." in " ".join(described.format_help().split())
    with pytest.raises(ConfigError, match="required: FILE"):
        described.values([])
