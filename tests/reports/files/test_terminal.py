import pytest

from bench.metrics import infos
from bench.record import Measurement
from bench.record.infos import Info, write_infos
from reports.files.terminal import terminal_table
from reports.tables.runs import read
from reports.tables.tidy import read_runs, results
from reports.text import number


def test_terminal_table(study):
    text = terminal_table(read_runs(study))
    lines = text.splitlines()
    assert text.isascii()
    assert max(map(len, lines)) < 110
    assert lines[0] == "Digits 8x8: which coupling at your NFE?"
    assert any(line.startswith("digits, pool 1024, seeds 0, 1, 2. Mean over") for line in lines)
    start = lines.index("fd_classifier, test")
    assert lines[start + 1].split() == ["NFE", "random", "lapjv", "sinkhorn:epsilon=0.05"]
    assert lines[start + 2].split() == ["3", "27.5", "16.5", "(x0.60*)", "24.7", "(x0.90*)"]
    assert lines[start + 5].split() == ["35", "2.35", "2.94", "(x1.25*)", "2.12", "(x0.90*)"]
    assert len({len(line) for line in lines[start + 1 : start + 6]}) == 1
    assert "truncation_error" in lines
    (lapjv,) = [line for line in lines if line.startswith("lapjv")]
    assert lapjv.split("  ")[-1].strip() == "2,800 (x0.70*)"
    assert "89.6 (30 % saved)" in lapjv
    assert "0.0865 (x0.70*)" in lapjv


def test_terminal_table_wraps_many_and_long_arms(tmp_path, make):
    names = ["random", *(f"minibatch-ot:cost=l2,replace=true,k={i}" for i in range(9)), "x" * 300]
    for name in names[:-1]:
        make(tmp_path, name)
    make(tmp_path, "long").path.rename(tmp_path / "renamed")
    config = tmp_path / "renamed" / "config.json"
    config.write_text(config.read_text().replace('"long"', f'"{names[-1]}"'))
    text = terminal_table(read_runs(tmp_path))
    assert max(map(len, text.splitlines())) < 110
    # The card, two curves, the line on equal arms and the table of arms
    assert text.count("k=8") == 5
    assert text.count("NFE ") > 2


def test_guidance_and_starts_have_lines_of_their_own_below_the_plain_tables(
    tmp_path, make, guided_rows, started_rows
):
    for arm in ("random", "lapjv"):
        found = {m.key: m for m in [*guided_rows(arm, 0, (5,)), *started_rows(arm, 0, (5,))]}
        make(tmp_path, arm, found=[*found.values()])
    text = terminal_table(read_runs(tmp_path))
    assert text.isascii()
    plain, guided = text.split("Discriminator guidance (")
    assert not any(word in plain for word in ("dg-", "guidance", "truncated"))
    guided, started = guided.split("fd_classifier, test, by the start of sampling")
    assert "  lapjv, noising independent, NFE 5: weight" in guided
    values = {}
    for row in started_rows("lapjv", 0, (5,)):
        if row.metric == "fd_classifier" and row.split == "test" and row.nfe == 5:
            values[row.start] = row.value
    lines = [line.split() for line in started.splitlines() if line.startswith("lapjv")]
    assert [line[-1] for line in lines] == [
        number(values[start]) for start in ("gaussian", *sorted(set(values) - {"gaussian"}))
    ]
    assert lines[0][1:4] == ["none", "(full", "sampler)"]
    make(tmp_path / "plain", "random")
    assert "start" not in terminal_table(read_runs(tmp_path / "plain"))


def test_curves_of_another_sampler_are_shown_where_heun_was_not_used(tmp_path, make):
    """Published recipes for points sample with Euler's method alone."""
    for arm in ("random", "lapjv"):
        rows = []
        for nfe in (5, 9):
            for sampler in ("euler", "heun"):
                place = {"sampler": sampler, "nfe": nfe, "rho": 7.0, "split": "test", "n": 100}
                rows.append(Measurement("fd_classifier", 3.0, **place))
        make(tmp_path / "both", arm, found=rows)
        make(tmp_path / "euler", arm, found=[row for row in rows if row.sampler == "euler"])
    text = terminal_table(read_runs(tmp_path / "euler"))
    assert "fd_classifier, test" in text
    assert "NFE" in text
    assert "euler" not in terminal_table(read_runs(tmp_path / "both"))


PER_RUN = (
    "curvature_fm",
    "transport_cost",
    "coupling_ms",
    "coupling_share",
    "coupling_fit_seconds",
    "images_per_s",
)
LEFT_OUT = (
    "path_excess_fm",
    "path_excess_sigma",
    "turning_angle_fm",
    "turning_angle_sigma",
    "transport_cost_independent",
    "coupling_wait_share",
    "evaluate_seconds",
    "train_seconds",
)


def head_of(folder):
    """The names of the table of values per run."""
    runs, _ = read(folder)
    text = terminal_table(results(runs), runs)
    assert max(map(len, text.splitlines())) < 110
    (head,) = [line.split() for line in text.splitlines() if line.startswith("coupling ")]
    return head[1:]


def per_run(*names):
    return [Measurement(name, 1234.5, n=8) for name in names]


@pytest.mark.parametrize("recorded", [False, True])
def test_six_values_per_run_are_shown(tmp_path, make, recorded):
    """The same six if the run recorded the descriptions, and if it was of an earlier version."""
    names = (*LEFT_OUT, *PER_RUN)
    folder = make(tmp_path, found=per_run(*names))
    if recorded:
        write_infos(folder.path, infos(names))
    assert head_of(tmp_path) == list(PER_RUN)


def test_a_value_per_run_of_the_users_own_is_shown_at_its_place(tmp_path, make):
    folder = make(tmp_path, found=per_run(*PER_RUN, "watts", "x" * 90))
    own = [
        Info("watts", "Power of the machine.", per="run", kind="cost", place=112),
        Info("x" * 90, "A name that is too long.", per="run", kind="cost", place=115),
        Info("volts", "Not measured.", per="run", kind="cost", place=1),
    ]
    write_infos(folder.path, [*infos(PER_RUN), *own])
    # The last of the six at most are left out where the table would be too wide.
    assert head_of(tmp_path) == [*PER_RUN[:3], "watts", *PER_RUN[3:5]]
