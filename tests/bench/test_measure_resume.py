"""A killed evaluation goes on to the very same numbers, and a large one needs no more memory than a
small one.
"""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from bench.arm import run_arm
from bench.config import Execution, RunConfig
from bench.data import Dataset, Split
from bench.evaluation import ledger
from bench.evaluation import loop as module
from bench.evaluation.loop import evaluate
from bench.features import Features
from bench.metrics.contract import FeatureSpace
from bench.metrics.paths import Paths
from bench.process.ranks import Ranks
from bench.record import RunFolder, RunFolderError
from bench.run import parse
from bench.sampling import sample as sampling
from bench.sampling.latents import as_stored, draw_latents
from bench.sampling.sample import sample
from bench.sampling.setting import Setting
from bench.sampling.store import SampleStore
from models import edm as networks
from models.ode import SigmaODE
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas

ALONE = Ranks(0, 1, "cpu")
ROOT = Path(__file__).parents[2]
HALVES = Features(
    "halves", lambda images: images.flatten(1).unflatten(1, (8, 2)).mean(2), size=8, fingerprint="h"
)
SAMPLES, TRAJECTORIES, CHUNK, NFE, DENSE = 50, 20, 16, (3, 5), 23
GRID, STORED = 10, ("samples", "truncation", "grid", "paths")  # what is measured in stored images
# Setting and first sample: the dense reference, the fixed rho, the grid, and its best.
CHUNKS = [(f"nfe{DENSE}-rho3", 0), (f"nfe{DENSE}-rho3", 16)]
CHUNKS += [(f"nfe{nfe}-rho3", start) for nfe in NFE for start in (0, 16, 32, 48)]
CHUNKS += [(f"search-nfe5-rho{rho}", 0) for rho in (3, 7, 9)]
CHUNKS += [("nfe5-rho7", start) for start in (0, 16, 32, 48)]


def toy() -> Dataset:
    g = torch.Generator().manual_seed(0)
    train, test = (
        Split(torch.randint(256, (n, 1, 4, 4), generator=g).to(torch.uint8), torch.arange(n) % 3)
        for n in (60, 40)
    )
    return Dataset("toy", train, test, num_classes=3)


def small_net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = networks.small(4, 1, label_dim=3, model_channels=8, channel_mult=(1,)).eval()
        net.model.dec["4x4_aux_conv"].weight.data.normal_(std=0.1)
    return net


def arm(folder: Path, net=None, extractor=HALVES, keep=True, progress=False, **changes):
    """One evaluation, and its measurements with the time left out."""
    base = RunConfig()
    settings = {"nfe": NFE, "samples": SAMPLES, "trajectories": TRAJECTORIES, "reference_steps": 12}
    settings |= {"rho": 3.0, "rhos": (7.0, 9.0), "grid_samples": GRID, "metrics": STORED, **changes}
    config = dataclasses.replace(
        base, data="toy", evaluation=dataclasses.replace(base.evaluation, **settings)
    )
    # Called by other processes and by fixtures of the module as well
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "CHUNK", CHUNK)
        return evaluate(
            config,
            net or small_net(),
            toy(),
            [extractor],
            ALONE,
            RunFolder(folder),
            None,
            progress,
            keep,
        )


@pytest.fixture(autouse=True)
def _chunk(monkeypatch):
    monkeypatch.setattr(sampling, "CHUNK", CHUNK)


@pytest.fixture
def made(monkeypatch) -> list[tuple[str, int]]:
    """Setting and first sample of every chunk that is sampled from here on."""
    calls, sample_chunk = [], module.sample_chunk

    def counting(subject, setting, rows, advance):
        calls.append((setting.name.replace("heun-", ""), rows.start))
        sample_chunk(subject, setting, rows, advance)

    monkeypatch.setattr(module, "sample_chunk", counting)
    return calls


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return arm(folder), folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the samples: images, chunk by chunk, and grids."""
    samples = folder / "samples"
    return {str(p.relative_to(samples)): p.read_bytes() for p in samples.rglob("*") if p.is_file()}


def recorded(folder: Path):
    return [m for m in RunFolder(folder).measurements() if m.metric != "evaluate_seconds"]


class Stopped(BaseException):
    """As a Ctrl-C would be."""


STOPS = [("chunk", k) for k in (0, 1, 2, 9, 10, 11, 12, 14, 16)]
STOPS += [(point, k) for point in ("record", "seal") for k in range(5)]


@pytest.mark.parametrize(("point", "count"), STOPS)
def test_stopped_anywhere_the_end_is_the_same_bit_for_bit(
    tmp_path, monkeypatch, undisturbed, made, point, count
):
    """Stopped at any chunk, any record, or between a record and its seal in evaluation.json."""
    cls, name = {
        "chunk": (SampleStore, "add"),
        "record": (RunFolder, "add"),
        "seal": (ledger, "write_json"),
    }[point]
    original, calls = getattr(cls, name), []

    def stopping(*args, **more):
        calls.append(args)
        if len(calls) == count + 1:
            raise Stopped
        return original(*args, **more)

    monkeypatch.setattr(cls, name, stopping)
    with pytest.raises(Stopped):
        arm(tmp_path)
    monkeypatch.setattr(cls, name, original)
    assert arm(tmp_path) == undisturbed[0] == recorded(tmp_path)
    assert contents(tmp_path) == contents(undisturbed[1])
    again = [chunk for chunk in CHUNKS if made.count(chunk) > 1]
    # The chunk that was under way, and none that was written
    assert len(again) <= (point == "chunk")
    assert set(made) == set(CHUNKS)


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from bench.record import files
from test_measure_resume import arm

wanted, replace = int(sys.argv[2]), os.replace
def killing(source, target):
    global wanted
    wanted -= str(target).endswith(sys.argv[3])
    if wanted == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
files.os.replace = killing
arm(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(("file", "count"), [(".safetensors", 5), ("metrics.jsonl", 2)])
def test_kill_9_in_the_middle_of_a_write(tmp_path, undisturbed, made, file, count):
    """The process dies with the file written and not yet in its place."""
    command = [
        sys.executable,
        "-c",
        CHILD,
        str(tmp_path),
        str(count),
        file,
        str(Path(__file__).parent),
    ]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    left = contents(tmp_path)
    whole = contents(undisturbed[1])
    assert len(left) < len(whole)
    assert arm(tmp_path) == undisturbed[0]
    assert {name: data for name, data in contents(tmp_path).items() if "/." not in name} == whole
    assert made == CHUNKS[4 if file == ".safetensors" else 6 :]


def test_the_images_are_those_of_the_sampler(undisturbed):
    """Levels as stored, and the exact ones of the trajectories."""
    config = RunConfig()
    (folder,) = (undisturbed[1] / "samples").glob("heun-nfe5-rho3-*")
    images = torch.cat(list(SampleStore(folder).images(SAMPLES)))
    exact = torch.cat(list(SampleStore(folder).tensors("exact", TRAJECTORIES)))
    latents = draw_latents(SAMPLES, toy(), 0)
    expected = sample(
        small_net(), latents, Setting("heun", 5, 3.0), config.evaluation, "cpu"
    ).images
    assert images.dtype == torch.uint8
    assert torch.equal(images, as_stored(expected, toy()))
    assert torch.equal(exact, expected[:TRAJECTORIES])


def test_curvature_is_the_mean_over_all_paths(undisturbed):
    latents, path = draw_latents(TRAJECTORIES, toy(), 0), Paths()
    net, labels = small_net(), F.one_hot(latents.labels, 3).float()
    with torch.no_grad():
        heun(SigmaODE(net, labels, observe=path), latents.noise, karras_sigmas(12, rho=3.0))
    assert undisturbed[0][0].value == pytest.approx(
        path.per_sample()["curvature_fm"].mean().item(), rel=1e-4
    )


def test_a_damaged_chunk_alone_is_made_again(tmp_path, undisturbed, made, capsys):
    arm(tmp_path)
    (tmp_path / "evaluation.json").unlink()
    (chunk,) = (tmp_path / "samples").glob("heun-nfe5-rho3-*/00000016.safetensors")
    chunk.write_bytes(chunk.read_bytes()[:-1])
    made.clear()
    assert arm(tmp_path) == undisturbed[0]
    assert made == [("nfe5-rho3", 16)]
    assert "is damaged" in capsys.readouterr().out
    assert contents(tmp_path) == contents(undisturbed[1])


def test_chunks_go_when_their_measurements_are_recorded(tmp_path, monkeypatch, undisturbed):
    held, add = [], RunFolder.add

    def looking(self, measurements):
        stores = [p.parent.name for p in (tmp_path / "samples").glob("*/settings.json")]
        held.append({name.rsplit("-", 1)[0].replace("heun-", "") for name in stores})
        add(self, measurements)

    monkeypatch.setattr(RunFolder, "add", looking)
    assert arm(tmp_path, keep=False) == undisturbed[0]
    dense = "nfe23-rho3"
    grid = {f"search-nfe5-rho{rho}" for rho in (3, 7, 9)}
    # Kept to the end: the fixed rho of the grid, which one beyond its ends would be compared with
    kept = {dense, "search-nfe5-rho3"}
    # The grid, all metrics at the rho that it chooses, the choice
    of_grid = [{dense, *grid}, {*kept, "nfe5-rho7"}, kept]
    # The floors of two metrics need no samples.
    of_real = [kept] * 2
    assert held == [{dense}, {dense, "nfe3-rho3"}, {dense, "nfe5-rho3"}, *of_grid, *of_real]
    pictures = {"nfe5.png", "tangents.png", "real.png"}
    assert {name for name in contents(tmp_path) if "nearest" not in name} == pictures


def test_keep_samples_is_an_option_of_the_run(tmp_path, monkeypatch, tiny):
    assert parse(["--keep-samples"]).execution.keep_samples
    assert not parse([]).execution.keep_samples
    monkeypatch.setattr(sampling, "CHUNK", 40)
    folder = run_arm(tiny, tmp_path, Execution(device="cpu", keep_samples=True), progress=False)
    kept = {p.name.split("-")[1]: SampleStore(p) for p in (folder.path / "samples").glob("heun-*")}
    assert set(kept) == {"nfe15", "nfe3", "nfe5"}
    assert [len(chunk) for chunk in kept["nfe3"].images(100)] == [40, 40, 20]
    assert not torch.equal(*(torch.cat(list(kept[name].images(100))) for name in ("nfe3", "nfe5")))


def test_what_is_recorded_is_not_measured_again(tmp_path, made, monkeypatch):
    first = arm(tmp_path, keep=False)
    made.clear()
    monkeypatch.setattr(FeatureSpace, "extract", None)  # not even the reference is looked at
    assert arm(tmp_path, keep=False) == first
    assert made == []


def test_only_a_new_number_of_evaluations_is_sampled(tmp_path, made, undisturbed):
    arm(tmp_path, nfe=(3,), keep=False)
    made.clear()
    assert arm(tmp_path, keep=False) == undisturbed[0]
    # The truncation error needs the dense reference
    assert {name.split("-rho")[0] for name, _ in made} == {"nfe23", "nfe5", "search-nfe5"}


def test_lost_measurements_are_made_again(tmp_path, undisturbed):
    arm(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    assert arm(tmp_path) == undisturbed[0] == recorded(tmp_path)


def test_other_weights_are_measured_anew(tmp_path, made, undisturbed, monkeypatch):
    """Also after being stopped at once: what the old weights gave must not pass for a result of the
    new ones.
    """
    arm(tmp_path)
    net = small_net()
    net.model.dec["4x4_aux_conv"].weight.data *= 3
    add = SampleStore.add

    def stop(*_, **__):
        raise Stopped

    monkeypatch.setattr(SampleStore, "add", stop)
    with pytest.raises(Stopped):
        arm(tmp_path, net)
    monkeypatch.setattr(SampleStore, "add", add)
    made.clear()
    found = arm(tmp_path, net)
    assert made == CHUNKS
    # Floors are those of real images.
    assert [row for row in found if "_floor_" in row.metric] == [
        row for row in undisturbed[0] if "_floor_" in row.metric
    ]
    # Of so few samples, they may well be equal
    shares = ("precision", "recall", "density", "coverage", "copy_rate")
    # The fixed schedule has no gain over itself, and of few samples others may have none either.
    shares += ("best_schedule", "search_seeds", "grid_gain_se")
    pairs = [
        (new, old)
        for new, old in zip(found, undisturbed[0], strict=True)
        if not new.metric.startswith(shares) and "_floor_" not in new.metric
    ]
    assert all(new.value != old.value for new, old in pairs)
    assert recorded(tmp_path) == found


def test_other_features_are_measured_on_the_same_images(tmp_path, made, undisturbed):
    arm(tmp_path)
    made.clear()
    doubled = Features(
        "halves", lambda images: 2 * HALVES.extract(images), size=8, fingerprint="doubled"
    )
    found = arm(tmp_path, extractor=doubled)
    assert made == []
    for new, old in zip(found, undisturbed[0], strict=True):
        if not new.metric.startswith("kid"):  # its kernel has no scale of its own
            is_distance = new.metric.startswith(("fd_", "grid_fd_", "block_fd_"))
            assert new.value == pytest.approx(old.value * (4 if is_distance else 1), rel=1e-6)


def test_a_damaged_ledger_names_the_way_out(tmp_path):
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(RunFolderError, match="delete it"):
        arm(tmp_path)


def test_seconds_add_up_over_sessions(tmp_path, monkeypatch):
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(ledger.time, "perf_counter", lambda: next(now))

    def seconds():
        (found,) = [
            m.value for m in RunFolder(tmp_path).measurements() if m.metric == "evaluate_seconds"
        ]
        return found

    arm(tmp_path, nfe=(3,))
    first = seconds()
    arm(tmp_path)
    assert seconds() > first >= 20


class Bar:
    """What a progress bar is told."""

    made: list = []  # noqa: RUF012

    def __init__(self, title, total, *_, initial, **__):
        self.total, self.initial, self.n = total, initial, initial
        Bar.made.append(self)

    def update(self, n):
        self.n += n

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_progress_begins_where_the_work_stopped_and_ends_at_its_total(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Progress", Bar)
    Bar.made.clear()
    add, calls = SampleStore.add, []

    def stopping(self, start, **tensors):
        calls.append(start)
        if len(calls) == 8:  # the second chunk of the second number of evaluations
            raise Stopped
        add(self, start, **tensors)

    monkeypatch.setattr(SampleStore, "add", stopping)
    with pytest.raises(Stopped):
        arm(tmp_path, keep=False)
    monkeypatch.setattr(SampleStore, "add", add)
    arm(tmp_path, keep=False)
    first, second, at_best = Bar.made
    # The dense reference, the fixed rho, and the three rhos of the grid
    total = DENSE * TRAJECTORIES + sum(NFE) * SAMPLES + 5 * 3 * GRID
    assert first.initial == 0 < first.total
    assert second.initial == DENSE * TRAJECTORIES + 3 * SAMPLES + 5 * CHUNK
    assert second.n == second.total == total
    # The images of the grid are other ones.
    assert at_best.initial == 0
    assert at_best.n == at_best.total == 5 * SAMPLES


MEMORY = """
import dataclasses, sys, tempfile
from pathlib import Path
import torch
from bench.config import RunConfig
from bench.data import Dataset, Split
from bench.features import Features
from bench.evaluation.loop import evaluate
from bench.process.ranks import Ranks
from bench.record import RunFolder

class Half(torch.nn.Module):
    label_dim = 0
    def one_hot(self, labels):
        return None
    def forward(self, x, sigma, labels=None):
        return x.float() / 2

def peak(samples):
    evaluation = dataclasses.replace(
        RunConfig().evaluation, nfe=(3,), samples=samples, trajectories=100, reference_steps=4,
        rhos=(), metrics=("samples", "truncation", "grid", "paths"),
    )
    config = dataclasses.replace(RunConfig(), evaluation=evaluation)
    g = torch.Generator().manual_seed(0)
    images = torch.randint(256, (50, 3, 32, 32), generator=g).to(torch.uint8)
    split = Split(images, torch.zeros(50).long())

    def means(images):
        return images.flatten(1).unflatten(1, (8, -1)).mean(2)

    features = Features("means", means, 8, "means")
    with tempfile.TemporaryDirectory() as folder:
        toy, alone = Dataset("toy", split, split, 1), Ranks(0, 1, "cpu")
        evaluate(config, Half(), toy, [features], alone, RunFolder(Path(folder)), progress=False)
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024  # MiB

peak(1000)  # what is loaded once is no memory of samples
print(peak(1000), peak(8000))
"""


@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc"
)
def test_memory_does_not_grow_with_the_samples():
    """8,000 images of 32x32x3 are 94 MB in float32, as much again as latents: none of it may be
    held.
    """
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back at once
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # Before it stands a note: the training split is too small for a floor.
    small, large = map(float, done.stdout.splitlines()[-1].split())
    assert large - small < 20, f"{small} MiB for 1,000 samples, {large} MiB for 8,000"
