"""Missing packages, each in a process that cannot import them: one line that names the extra."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from couplings.extras import MODULES, hint, install

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reports/published/digits-pools/results.csv"
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = METADATA["optional-dependencies"]
PROJECT = METADATA["name"]
# Packages whose name is not that of their module
DISTRIBUTIONS = {
    "PIL": "pillow",
    "docstring_parser": "docstring-parser",
    "pytorch_lightning": "pytorch-lightning",
    "ott": "ott-jax",
    "ot": "pot",
    "sklearn": "scikit-learn",
    "torch_fidelity": "torch-fidelity",
}
BROUGHT_BY_OTHERS = {"matplotlib", "jax"}  # by seaborn and ott-jax
OF_THE_CARD = {
    *("torch", "scipy", "pot", "ott-jax", "lapjv", "numpy", "submitit"),
    *("pandas", "seaborn", "pytest"),
}
# Python runs a module of this name first of all.
HIDE = "import os, sys\nsys.modules.update(dict.fromkeys(os.environ['HIDDEN'].split()))\n"
# Actions of the library without any extra, and the extra that each asks for; None if it works.
ACTIONS = {
    "get('lapjv').pair(x, z, generator=g)": None,
    "get('semidiscrete:max_chi2=1').fit(x, generator=g).assign(z)": None,
    "get('cached:epochs=1,batch=16').fit(x, generator=g).couple(i, z, i)": None,
    "get('reflow:nfe=3').fit(x, generator=g, model=lambda z, y: z).couple(i, z)": None,
    "get('semidiscrete').fit(x, generator=g, checkpoint='map.safetensors')": "bench",
    "get('minibatch-ot').pair(x, z, generator=g)": "pot",
    "get('sinkhorn:backend=pot').pair(x, z, generator=g)": "pot",
    "get('ott-sinkhorn').pair(x, z, generator=g)": "jax",
    "diagnostics.label_leakage(z, i % 2)": "bench",
    "diagnostics.conditional_variance(x, z, 1.0)": "bench",
}
TRY = """
import json, sys, torch
from couplings import CouplingError, diagnostics, get

g = torch.Generator().manual_seed(0)
x, z = torch.randn(2, 64, 3, generator=g)
i = torch.arange(64)
said = {}
for action in json.loads(sys.argv[1]):
    try:
        eval(action)
        said[action] = None
    except CouplingError as error:
        said[action] = str(error)
print(json.dumps(said))
"""


def requirements(extra):
    """Names of the packages of an extra, with those of the extras of ours that it names."""
    found = set()
    for line in EXTRAS[extra]:
        name = re.match(r"[\w-]+", line)[0]
        if name == PROJECT:
            for other in re.search(r"\[(.*)\]", line)[1].split(","):
                found |= requirements(other)
        else:
            found.add(name)
    return found


def run(words, folder, hidden):
    """A Python process for which modules are not installed."""
    (folder / "sitecustomize.py").write_text(HIDE)
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "HIDDEN": " ".join(hidden)}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def every_module():
    found = []
    for modules in MODULES.values():
        found += modules
    return found


def test_the_table_of_modules_is_that_of_the_extras():
    for extra, modules in MODULES.items():
        own = {line for line in EXTRAS[extra] if not line.startswith(PROJECT)}
        named = {re.match(r"[\w-]+", line)[0] for line in own}
        listed = {DISTRIBUTIONS.get(name, name) for name in modules}
        assert listed - BROUGHT_BY_OTHERS == named, extra


def test_all_brings_everything_and_the_core_little():
    core = {re.match(r"[\w-]+", line)[0] for line in METADATA["dependencies"]}
    assert core == {"torch", "numpy", "scipy", "lapjv"}
    assert core | requirements("all") >= OF_THE_CARD
    for extra in EXTRAS:
        # torchcfm brings PyTorch Lightning, torchvision must suit the build of torch, and nobody
        # needs three trackers.
        alone = {"fid", "data", "peers", "tensorboard", "wandb", "mlflow"}
        assert extra in alone or requirements("all") >= requirements(extra), extra


def test_errors_of_other_modules_and_of_installed_ones_are_left_alone():
    assert hint(ModuleNotFoundError("No module named 'x'", name="x")) is None
    assert hint(ImportError("libcudart is missing", name="jax")) is None
    assert hint(ModuleNotFoundError("", name="jax.numpy")).endswith("[jax]'")


def test_a_library_has_the_name_that_its_users_know():
    assert hint(ModuleNotFoundError("", name="ot")).startswith("POT (ot) is not installed")
    assert hint(ModuleNotFoundError("", name="tqdm")).startswith("tqdm is not installed")


def test_the_library_needs_its_extras_only_for_what_takes_them(tmp_path):
    done = run(["-c", TRY, json.dumps(list(ACTIONS))], tmp_path, every_module())
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for action, extra in ACTIONS.items():
        if extra is None:
            assert said[action] is None
        else:
            assert said[action].endswith(f" is not installed: {install(extra)}"), action
            assert "\n" not in said[action]


@pytest.mark.parametrize(
    ("words", "hidden", "extra"),
    [
        (["bench.run"], MODULES["bench"], "bench"),
        (["ot_couplings", "run"], MODULES["bench"], "bench"),
        (["reports.build", str(PUBLISHED), "-o", "."], ["pandas"], "bench"),
        (["bench.solve", "--peers", "--n", "8"], MODULES["peers"], "peers"),
        (["slurm.submit", "sweep.toml", "--cluster", "debug"], MODULES["slurm"], "slurm"),
    ],
)
def test_a_command_without_its_packages_is_one_line(tmp_path, words, hidden, extra):
    (tmp_path / "sweep.toml").write_text("name = 'a'\n[grid]\ncoupling = ['random']\n")
    done = run(["-m", *words], tmp_path, hidden)
    assert done.returncode == 2
    assert install(extra) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stdout + done.stderr


def test_the_list_of_couplings_needs_no_extra(tmp_path):
    done = run(["-m", "ot_couplings", "couplings", "lapjv"], tmp_path, every_module())
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lapjv ")
