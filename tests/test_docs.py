"""Every block of Python and every command line of the documentation works as printed."""

import argparse
import ast
import functools
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.config.command_line import CommandLine
from bench.data import DataError, load
from bench.data.contract import Dataset, Split
from bench.record import Measurement
from reports.build import build
from reports.files.results import Results
from tests.reports.conftest import make_run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README, *DOCS = [path.read_text(encoding="utf-8") for path in PAGES]
LIBRARY = (ROOT / "docs/library.md").read_text(encoding="utf-8")
NUMBERS = (ROOT / "docs/numbers.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLACE = {"sampler": "heun", "start": "gaussian", "guidance": "none"}


def blocks(text, language):
    """The code blocks of a language, in order; those of none are of the shell."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [code for name, code in found if name == language]


def block(text, word):
    """The only Python block that holds a word."""
    (found,) = [code for code in blocks(text, "python") if word in code]
    return found


@pytest.fixture
def names():
    """Variables of a reader's own training loop."""
    generator = torch.Generator().manual_seed(0)
    images, noise = torch.randn(2, 24, 3, 8, 8, generator=generator) * torch.tensor(
        [0.5, 1.0]
    ).view(2, 1, 1, 1, 1)
    train_images = torch.randn(256, 3, 8, 8, generator=generator) / 2
    return {
        "images": images,
        "noise": noise,
        "labels": torch.arange(24) % 3,
        "generator": generator,
        "train_images": train_images,
        "index": torch.arange(24),
    }


@pytest.fixture
def alone(tmp_path):
    """A group of one process."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def quick(monkeypatch):
    """A semi-discrete map of this size is fitted in a minute; a coarse one shows the same."""
    from couplings import get

    shortened = functools.partial(
        re.sub, r"^semidiscrete:project=pca:128$", "semidiscrete:project=pca:16,max_chi2=5"
    )
    monkeypatch.setattr("couplings.get", lambda spec: get(shortened(spec)))


@pytest.fixture
def compare_finished(monkeypatch):
    """The runs of ``bench.compare`` took their minutes earlier."""

    def compare(couplings, data, seeds, runs):
        folder = Path(runs)
        return Results(folder, tuple(path.parent.name for path in folder.glob("*/config.json")))

    monkeypatch.setattr("bench.run.compare.compare", compare)


@pytest.mark.usefixtures("alone", "quick", "compare_finished")
def test_every_block_of_the_documentation_runs_in_order(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results(tmp_path / "runs", seeds=3)
    before = {name: names[name].clone() for name in ("images", "noise", "labels")}
    for text in (README, LIBRARY, NUMBERS):
        for code in blocks(text, "python"):
            exec(compile(code, "documentation", "exec"), names)
            # A block that changes what the next one takes would be wrong when both are pasted.
            for name, value in before.items():
                assert torch.equal(names[name], value)
    paired = before["noise"][names["pairing"].index]
    gap = names["diagnostics"].optimality_gap(before["images"], paired)
    assert gap == pytest.approx(0, abs=1e-6)  # the diagnostics' own comment: 0 is optimal


def test_the_diagnostics_of_the_documentation_find_the_optimum(names):
    code = block(LIBRARY, "from couplings import get\n") + block(LIBRARY, "optimality_gap")
    exec(
        compile(
            code.replace("diagnostics.optimality_gap", "gap = diagnostics.optimality_gap"),
            "README",
            "exec",
        ),
        names,
    )
    assert names["gap"] == pytest.approx(0, abs=1e-6)


def results(folder, seeds, arms=("random", "lapjv"), metric="fd_classifier"):
    """Results of runs with a search over rho, in one metric; lapjv is a quarter lower."""
    for seed in range(seeds):
        for arm in arms:
            value = (4.0 if arm == "random" else 3.0) + 0.1 * seed
            rows = []
            for prefix, split in (("grid_", "train"), ("", "test"), ("", "train")):
                for nfe in (5, 13):
                    place = {"nfe": nfe, "rho": 7.0, "split": split, "n": 500, **PLACE}
                    rows.append(Measurement(f"{prefix}{metric}", value / nfe, **place))
            make_run(folder, arm, seed, found=rows)
    return build(folder).csv


@pytest.mark.parametrize(
    ("seeds", "arms", "metric", "said"),
    [
        (3, ("random", "lapjv"), "fd_classifier", "better"),
        (3, ("random", "lapjv"), "fd_pixels", "better"),
        (1, ("random", "lapjv"), "fd_classifier", "too few seeds"),
    ],
)
def test_the_claims_are_found_in_any_results(
    tmp_path, monkeypatch, capsys, seeds, arms, metric, said
):
    results(tmp_path / "runs", seeds, arms, metric)
    monkeypatch.chdir(tmp_path)
    exec(compile(block(NUMBERS, "reports.load"), "numbers.md", "exec"), {})
    assert said in capsys.readouterr().out


def module(code, name, monkeypatch):
    """A plug-in as if its file were in a package of the user's own."""
    made = type(sys)(f"mine.{name}")
    exec(compile(code, "CONTRIBUTING.md", "exec"), vars(made))
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


IMAGES = torch.zeros(4, 1, 2, 2)
LABELS = torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("images", "labels", "classes", "said"),
    [
        (IMAGES, None, 0, "toy: images without labels take zeros [n] int64 and num_classes=1"),
        (IMAGES, LABELS, 0, "toy: images without labels take zeros [n] int64 and num_classes=1"),
        (
            IMAGES,
            LABELS[:3],
            1,
            "toy: labels must be [4] int64, or conditions [4, k] float32, not [3] int64",
        ),
        (
            IMAGES,
            LABELS.float(),
            1,
            "toy: labels must be [4] int64, or conditions [4, k] float32, not [4] float32",
        ),
        (IMAGES, LABELS + 1, 1, "toy: labels must be 0 to 0, not 1 to 1"),
        (IMAGES.double(), LABELS, 1, "uint8 or float32, not [4, 1, 2, 2] float64"),
        (
            IMAGES[0],
            LABELS[:1],
            1,
            "images must be [n, c, h, w], uint8 or float32, not [1, 2, 2] float32",
        ),
    ],
)
def test_a_data_set_that_is_none_is_refused_with_the_way_out(
    monkeypatch, images, labels, classes, said
):
    made = module(f"SHAPE = (1, 2, 2)\nCLASSES = {classes}\n", "toy", monkeypatch)
    made.load = lambda data_dir: Dataset(
        "toy", Split(images, labels), Split(IMAGES, LABELS), classes
    )
    with pytest.raises(DataError, match=re.escape(said)):
        load("mine.toy")


# The smallest run that measures everything a plug-in may touch.
TOY = shlex.split(
    "--images 320 --batch 32 --pool 64 --model-channels 8 --channel-mult 1 --nfe 3 --samples 64"
    " --trajectories 8 --reference-steps 8 --rhos 7 --features pixels --device cpu --no-baseline"
)
# Names that results or report hold with no other edit.
REPORTED = {
    "Add a metric": ["spread_pixels", "Total variance of the samples over that of held-out images"],
    "Add a report section": ["Spread over seeds"],
}
PLUG_INS = re.findall(r"^## (Add .*)$", CONTRIBUTING, re.MULTILINE)


def section(title):
    """The text between a heading and the next."""
    _, _, text = CONTRIBUTING.partition(f"\n## {title}\n")
    return text.partition("\n## ")[0]


def paste(text, folder):
    """Write each block to the file that is named last before it; return the command lines."""
    commands = []
    path = None
    parts = re.finditer(
        r"`(my_project/[\w/.]+)`|^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    for file, language, code in (part.groups() for part in parts):
        if file:
            path = folder / file
        elif language:
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(code)
        else:
            commands += code.splitlines()
    return commands


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder of a user, on the path as ``python -m`` puts it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "my_project"]:
        del sys.modules[name]


@pytest.mark.parametrize("title", PLUG_INS)
def test_every_plug_in_of_contributing_runs_from_a_package_of_the_user(title, folder):
    commands = paste(section(title), folder)
    assert commands
    for command in commands:
        _, _, module, *args = shlex.split(command)
        if module == "bench.run":
            args += TOY
        else:
            # A report needs runs, and a spread needs two of each coupling.
            assert importlib.import_module("bench.run").main([*TOY, "--seeds", "2"]) == 0
        assert importlib.import_module(module).main(args) == 0
        # Not runs/.cache, which is a folder.
        results = [*folder.glob("runs/*/config.json"), *folder.glob("runs/[!.]*.[ch]*")]
        text = "".join(path.read_text(encoding="utf-8") for path in results)
        # A run is named by its plug-ins; other kinds say elsewhere what they are.
        for word in REPORTED.get(title) or re.findall(r"my_project\.\w+", command):
            assert word in text


def test_the_coupling_of_contributing_keeps_what_the_contract_tests_ask(folder):
    paste(section("Add a coupling"), folder)
    contract = ROOT / "tests/couplings/test_contract.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", contract, "--coupling", "my_project.nearest"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"^\d\d passed", done.stdout, re.MULTILINE), done.stdout[-2000:]


def test_the_walk_of_a_pool_enters_no_file_twice():
    files = re.findall(r"^\d+\. `([\w/]+\.py):[\w.]+`", section("The walk of a pool"), re.MULTILINE)
    assert len(files) == len(set(files)) == 10


def test_every_place_named_in_contributing_exists():
    places = re.findall(
        r"`((?:bench|couplings|models|reports|slurm)/[\w/]*\.py):([\w.]+)`", CONTRIBUTING
    )
    assert len(places) > 10
    for file, name in places:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        kinds = (ast.FunctionDef, ast.ClassDef)
        defined = {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
        assert set(name.split(".")) <= defined, f"{file}:{name}"


class Parsed(BaseException):
    """A command line was understood."""


def commands(text):
    """Module and arguments of every command line that starts one of our programs."""
    for line in "".join(blocks(text, "")).splitlines():
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            if "-m" in words and words[0] in ("python", "torchrun"):
                place = words.index("-m")
                yield pytest.param(
                    words[place + 1], words[place + 2 :], id=" ".join(words[place + 1 :])
                )


@pytest.mark.parametrize(("name", "args"), [*commands("\n".join([README, *DOCS, CONTRIBUTING]))])
def test_every_command_line_is_understood(name, args, monkeypatch, tmp_path):
    """By the program's own parser; what it would do then is not done."""
    values = CommandLine.values
    parse_args = argparse.ArgumentParser.parse_args

    def understood(line, *positional, **options):
        values(line, *positional, **options)
        raise Parsed

    def read(parser, *positional, **options):
        parse_args(parser, *positional, **options)
        raise Parsed

    # The shell would have replaced a pattern by the folders that it fits.
    args = ["runs" if "*" in word else word for word in args]
    monkeypatch.setattr(CommandLine, "values", understood)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", read)
    for word in args:
        if word.endswith(".toml"):
            assert (ROOT / word).exists()
    with pytest.raises((Parsed, SystemExit)) as ended:
        importlib.import_module(name).main(args)
    assert ended.type is Parsed or (ended.value.code == 0 and "--help" in args)


def test_there_are_commands_to_check():
    assert len(list(commands("\n".join(DOCS)))) > 20
    assert len(list(commands(README))) > 5


def test_links_lead_to_files_that_are_there():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    # And every page is found from README.
    linked = re.findall(r"\]\(docs/(\w+\.md)\)", README)
    assert sorted(linked) == [path.name for path in PAGES[1:]]
