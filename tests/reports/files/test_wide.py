import io
import json
import re

import pandas as pd
import pytest

from bench.record import Measurement
from reports.build import build
from reports.files.wide import wide_files
from reports.tables.groups import groups
from reports.tables.tidy import read_csv

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def built(study, tmp_path_factory):
    return build(study, tmp_path_factory.mktemp("wide")).csv.parent


@pytest.fixture(scope="module")
def tidy(built):
    return read_csv(built / "results.csv")


def test_fd_vs_nfe_is_a_pivot_of_the_tidy_table(built, tidy):
    wide = pd.read_csv(built / "fd_vs_nfe.csv").set_index(["metric", "split", "nfe"])
    fd = tidy[tidy["metric"].str.startswith("fd_")]
    places = fd.groupby(["metric", "split", "nfe", "coupling"])["value"]
    assert len(wide) == len(places) / 3
    for part, oracle in (("mean", places.mean()), ("sd", places.std()), ("seeds", places.count())):
        for (*place, arm), value in oracle.items():
            assert wide.loc[tuple(place), f"{arm}, rho 7 {part}"] == pytest.approx(value, rel=1e-12)


def test_random_comes_first_with_fixed_and_best_rho_beside(tmp_path, make, over_rho):
    for seed in range(2):
        make(tmp_path, "lapjv", seed, found=over_rho({5: {7: 1.0 + seed, 90: 0.5 + seed}}))
        make(tmp_path, "random", seed, found=over_rho({5: {7: 1.5 + seed, 90: 3.0 + seed}}))
    build(tmp_path)
    wide = pd.read_csv(tmp_path / "fd_vs_nfe.csv")
    assert list(wide.columns) == [
        "comparison",
        "metric",
        "split",
        "settings",
        "nfe",
        *(
            f"{arm}, {rho} {part}"
            for arm in ("random", "lapjv")
            for rho in ("rho 7", "best rho")
            for part in ("mean", "sd", "seeds")
        ),
    ]
    row = wide[wide["split"].eq("test")].iloc[0]
    assert [
        row[f"{arm}, {rho} mean"] for arm in ("random", "lapjv") for rho in ("rho 7", "best rho")
    ] == [2, 2, 1.5, 1]


def test_one_row_an_arm(built, tidy):
    curvature = pd.read_csv(built / "curvature.csv").set_index("coupling")
    cost = pd.read_csv(built / "solver_cost.csv").set_index("coupling")
    assert list(cost.index) == list(curvature.index) == ["random", "lapjv", "sinkhorn:epsilon=0.05"]
    for wide, metrics in (
        (curvature, ["curvature_fm"]),
        (cost, ["coupling_ms", "coupling_share", "transport_cost"]),
    ):
        for metric in metrics:
            of = tidy[tidy["metric"].eq(metric)].groupby("coupling")["value"]
            for part, oracle in (("mean", of.mean()), ("sd", of.std()), ("seeds", of.count())):
                assert wide[f"{metric} {part}"].to_dict() == pytest.approx(
                    oracle.to_dict(), rel=1e-12
                )
    assert cost["transport_cut mean"].to_dict() == pytest.approx(
        {"random": 0.0} | dict.fromkeys(cost.index[1:], 0.3)
    )


def test_what_an_arm_lacks_is_empty(tmp_path, make):
    make(tmp_path, "random", found=[Measurement("coupling_ms", 0.0)])
    make(
        tmp_path,
        "semidiscrete",
        found=[Measurement("coupling_ms", 1.0), Measurement("coupling_fit_seconds", 9.0)],
    )
    build(tmp_path)
    wide = pd.read_csv(tmp_path / "solver_cost.csv").set_index("coupling")
    assert wide["coupling_fit_seconds mean"].isna().to_dict() == {
        "random": True,
        "semidiscrete": False,
    }
    assert "| random | 0 (1) | – |" in (tmp_path / "solver_cost.md").read_text()
    assert r"random & 0 (1) & -- \\" in (tmp_path / "solver_cost.tex").read_text()


def test_markdown_and_latex_have_the_rows_of_the_csv(built):
    wide = pd.read_csv(built / "fd_vs_nfe.csv", dtype=str)
    markdown, latex = ((built / f"fd_vs_nfe.{end}").read_text() for end in ("md", "tex"))
    rows = [
        line.strip("| ").split(" | ") for line in markdown.splitlines() if re.match(r"\| \d", line)
    ]
    assert [row[0] for row in rows] == list(wide["nfe"])
    assert rows[0][1] == "27.5 ± 0.80 (3)"
    assert len(re.findall(r"^\d+ & .* \\\\$", latex, re.MULTILINE)) == len(wide)
    assert r"27.5 $\pm$ 0.80 (3)" in latex
    assert (
        latex.count(r"\toprule") == latex.count(r"\bottomrule") == latex.count(r"\end{table}") == 4
    )
    for line in latex.splitlines():
        assert line.count("{") == line.count("}")


def test_names_are_text_in_all_formats(tmp_path, make):
    for coupling in ("random", f"{EVIL}|a_b & 5%$x$\n\\input{{x}}`*"):
        folder = make(tmp_path, coupling)
        config = folder.config() | {"data": EVIL}
        (folder.path / "config.json").write_text(json.dumps(config))
    build(tmp_path)
    for name in ("fd_vs_nfe", "curvature", "solver_cost"):
        markdown, latex = ((tmp_path / f"{name}.{end}").read_text() for end in ("md", "tex"))
        assert "<" not in markdown
        assert r"\&lt;" not in markdown
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in markdown
        assert r"\|a\_b &amp; 5%\$x\$ \\input{x}\`\*" in markdown
        assert "<" not in latex
        assert r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{}" in latex
        assert r"\textbar{}a\_b \& 5\%\$x\$ \textbackslash{}input\{x\}" in latex
        table = pd.read_csv(tmp_path / f"{name}.csv")
        assert table["comparison"].eq(f"{EVIL}, pool 1024").all()


def test_no_runs_give_tables_without_rows(tmp_path):
    from reports.tables.tidy import results

    files = wide_files(groups(results([])))
    assert sorted(files) == [
        f"{n}.{e}" for n in ("curvature", "fd_vs_nfe", "solver_cost") for e in ("csv", "md", "tex")
    ]
    assert all(
        len(pd.read_csv(io.StringIO(text))) == 0
        for name, text in files.items()
        if name.endswith("csv")
    )


def test_guided_sampling_and_other_starts_are_not_in_the_wide_tables(jittered, tmp_path):
    tidy = read_csv(build(jittered, tmp_path).csv)
    special = tidy["guidance"].fillna("none").ne("none") | tidy["start"].fillna("gaussian").ne(
        "gaussian"
    )
    assert special.sum() > 500
    plain = tidy[~special & tidy["sampler"].eq("heun") & tidy["rho"].eq(7)]
    wide = pd.read_csv(tmp_path / "fd_vs_nfe.csv", keep_default_na=False).set_index(
        ["comparison", "split", "nfe"]
    )
    wide = wide[wide["metric"].eq("fd_classifier")]
    assert wide.index.is_unique  # one row a place: nothing else stands beside plain sampling
    of = plain[plain["metric"].eq("fd_classifier")].groupby(["pool", "split", "nfe", "coupling"])[
        "value"
    ]
    for (pool, split, nfe, arm), mean in of.mean().items():
        found = wide.loc[
            (f"digits, pool {pool}", split, nfe), [f"{arm}, rho 7 mean", f"{arm}, rho 7 seeds"]
        ]
        assert list(map(float, found)) == pytest.approx(
            [mean, of.count()[pool, split, nfe, arm]], rel=1e-12
        )
    for name in ("fd_vs_nfe", "curvature", "solver_cost"):
        text = (tmp_path / f"{name}.csv").read_text()
        assert not any(word in text for word in ("dg-", "ot-prior", "expressway", "truncated"))
