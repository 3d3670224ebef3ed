import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.record import Measurement, write_bytes
from reports.build import build, main
from reports.tables.groups import groups
from reports.tables.runs import ReportError, read
from reports.tables.tidy import read_csv
from tests.reports.conftest import PIXEL
from tests.reports.oracle import near
from tests.reports.pages import Page

ROOT = Path(__file__).parents[2]
FEW = [Measurement("truncation_error", 1.0, nfe=5), Measurement("coupling_ms", 2.0)]


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    return build(study, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def html(report):
    return report.html.read_text()


def test_pictures_are_called_by_what_they_show():
    from reports.sections.images import _label

    assert [_label(stem) for stem in ("nfe13", "tangents", "other")] == [
        "NFE 13",
        "along the path",
        "other",
    ]


def test_the_numbers_on_the_page_are_those_of_the_csv(report, html):
    page = Page(html)
    table = read_csv(report.csv)
    expected = {}
    for metric, split in set(zip(table.metric, table.split.fillna(""), strict=True)):
        if metric.startswith(("fd_", "truncation")):
            rows = table[table.metric.eq(metric) & table.split.fillna("").eq(split)]
            means = rows.groupby(["nfe", "coupling"]).value.mean()
            expected |= {
                (metric, split, str(nfe), arm): value for (nfe, arm), value in means.items()
            }
        else:
            means = table[table.metric == metric].groupby("coupling").value.mean()
            expected |= {(metric, split, "", arm): value for arm, value in means.items()}
    values = {}
    for cell in page.cells:
        if "data-coupling" in cell:
            place = ("data-metric", "data-split", "data-nfe", "data-coupling")
            key = tuple(cell.get(name, "") for name in place)
            values[key] = float(cell["data-value"])
            assert near(cell["text"], values[key])
    assert values == pytest.approx(expected, rel=1e-12)
    assert len(expected) == (5 * 4 + 8) * 3


def test_the_page_is_whole_and_alone(html):
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:image/png;base64,")) or not value
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["aria-label"]
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    # Two views of the first screen, and the sections
    assert sum(tag == "svg" for tag, _ in page.tags) == 2 + 5 + 2 + 1
    names = [a["id"] for _, a in page.tags if "id" in a and "d" not in a]
    targets = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    assert targets <= set(names)
    parts = [a["id"] for tag, a in page.tags if tag == "h3" and "id" in a]
    assert parts == [
        f"g1-{key}"
        for key in ("images", "figures", "reach", "values", "cost", "pareto", "straight", "citing")
    ]
    assert set(parts) <= targets  # the contents list names them all


def test_sections_of_the_page(html):
    text = " ".join(Page(html).text.split())
    for part in (
        "Digits 8×8: which coupling at your NFE? 3 couplings · EDM · pool 1,024 · 200,000 training",
        "lapjv: lower (better) than random at NFE 3 and 5, most at NFE 3: −40 % [−40, −40]",
        "×0.60 [0.60, 0.60]",
        "finds differences that do not exist",
        "were measured at rho 7 only",
        "the mean changes sign between NFE 5 and 13",
        "not FID",
        "dots: single seeds (3)",
        "P_mean",
        "0123456789abcdef",
        "2.13.0",
    ):
        assert part in text, part
    assert "Not included" not in text


def test_sample_grids_are_those_of_the_first_seed_in_order_of_nfe(html):
    alts = [a["alt"] for tag, a in Page(html).tags if tag == "img"]
    assert alts == [
        f"Grid of images generated with {arm}, NFE {nfe}, seed 0"
        for nfe in (5, 13)
        for arm in ("random", "lapjv", "sinkhorn:epsilon=0.05")
    ]


def test_real_images_stand_first_and_once(tmp_path, make):
    for arm in ("random", "lapjv"):
        write_bytes(make(tmp_path, arm, found=FEW).path / "samples" / "real.png", PIXEL)
    alts = [a["alt"] for tag, a in Page(build(tmp_path).html.read_text()).tags if tag == "img"]
    assert alts.index("Grid of real images, test split") == 0
    assert len(alts) == 1 + 2 * 2


def test_what_is_no_png_is_not_embedded(tmp_path, make):
    folder = make(tmp_path, found=FEW)
    write_bytes(folder.path / "samples" / "nfe99.png", b"<svg onload=alert(1)>")
    assert "NFE 99" not in build(tmp_path).html.read_text()


def test_the_same_runs_give_the_same_bytes(study, report, tmp_path):
    again = build(study, tmp_path)
    assert again.html.read_bytes() == report.html.read_bytes()
    assert again.csv.read_bytes() == report.csv.read_bytes()


def test_everything_that_a_run_says_is_text(tmp_path, make):
    evil = "<script>alert(1)</script>"
    make(tmp_path)
    folder = make(tmp_path, f'{evil}"onload="x', data=evil, git_sha=evil, command=f"'{evil}'")
    folder.path.rename(tmp_path / "<script>alert(2)<script>")
    make(tmp_path, "failed").set_status("failed", reason=evil)
    html = build(tmp_path).html.read_text()
    page = Page(html)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert evil not in html
    assert "<script>alert(2)" not in html
    assert page.text.count(evil) > 5
    assert "<script>alert(2)<script>" in page.text
    assert not any("onload" in attributes for _, attributes in page.tags)


def test_groups_have_their_own_sections(tmp_path, make):
    for data in ("digits", "moons"):
        for coupling in ("random", "lapjv"):
            make(tmp_path, coupling, data=data, found=FEW)
    report = build(tmp_path)
    ids = [a["id"] for tag, a in Page(report.html.read_text()).tags if tag == "h2"]
    assert ids == ["warnings", "summary", "others", "config", "provenance"]
    for number in (1, 2):
        page = Page((tmp_path / f"comparison-{number}.html").read_text())
        ids = [a["id"] for tag, a in page.tags if tag == "h2"]
        assert ids == ["warnings", "summary", f"g{number}"]
    assert report.html.parent == report.csv.parent == tmp_path
    assert len(read(tmp_path)[0]) == 4


def test_broken_folders_are_listed(tmp_path, make):
    make(tmp_path, found=FEW)
    (make(tmp_path, "lapjv").path / "metrics.jsonl").write_text("{")
    make(tmp_path, "hungarian").set_status("running")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text('{"model": "resnet"}')
    report = build(tmp_path)
    text = Page(report.html.read_text()).text
    assert "Not included: 3" in text
    assert "broken file" in text
    assert "not finished" in text
    assert "not a run of this project" in text
    assert set(read_csv(report.csv)["coupling"]) == {"random"}


def test_no_finished_run_still_gives_a_page(tmp_path, make):
    make(tmp_path).set_status("failed", reason="out of memory")
    report = build(tmp_path)
    text = Page(report.html.read_text()).text
    assert "No finished run" in text
    assert "failed: out of memory" in text
    assert len(read_csv(report.csv)) == 0


def test_run_ids_narrow_the_report(tmp_path, make):
    names = [
        make(tmp_path, coupling, found=FEW).run_id for coupling in ("random", "lapjv", "hungarian")
    ]
    table = read_csv(build(tmp_path, run_ids=names[:2]).csv)
    assert set(table.run_id) == set(names[:2])


def test_every_panel_is_on_the_page(tmp_path, make):
    """A metric that this package does not know is shown like any other."""
    make(
        tmp_path,
        found=[Measurement("novelty", 0.5, nfe=5, split="test"), Measurement("memory_gb", 2.0)],
    )
    report = build(tmp_path)
    (group,) = groups(read_csv(report.csv))
    cells = Page(report.html.read_text()).cells
    shown = {cell["data-metric"] for cell in cells if "data-metric" in cell}
    assert shown == {panel.metric for panel in group.panels}


def test_metrics_of_samples_are_tables_coloured_by_their_own_good_side(tmp_path, make):
    names = ("fd_classifier", "precision_classifier", "kid_classifier", "copy_rate_pixels")
    for coupling, value in (("random", 0.2), ("lapjv", 0.6)):
        for seed in range(3):
            found = [Measurement(name, value + 0.01 * seed, nfe=5, split="train") for name in names]
            make(tmp_path, coupling, seed, found=found)
    page = Page(build(tmp_path).html.read_text())
    metric = None
    coloured = {}
    for tag, attributes in page.tags:
        metric = attributes.get("data-metric", metric)
        if tag == "small" and "class" in attributes:
            coloured[metric] = attributes["class"]
    assert coloured == {
        "fd_classifier": "ratio worse",
        "precision_classifier": "ratio better",
        "kid_classifier": "ratio worse",
        "copy_rate_pixels": "ratio unclear",
    }
    # Of fd_classifier: the others are tables alone
    assert sum(tag == "svg" for tag, _ in page.tags) == 1
    assert "Higher is better" in page.text
    assert "3 more tables on the samples" in page.text


def test_errors_are_one_line(tmp_path, capsys, make):
    assert main([str(tmp_path / "nowhere")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    make(tmp_path, found=FEW)
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="--out"):
        build(tmp_path, tmp_path / "file" / "out")


def test_command_line(tmp_path, make):
    make(tmp_path / "runs", found=FEW)
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "reports.build",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"report:  {tmp_path / 'report.html'}" in done.stdout
    assert (tmp_path / "results.csv").exists()


def test_importing_is_light():
    heavy = ("pandas", "seaborn", "matplotlib", "torch", "jinja2")
    code = f"import sys, reports.build; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        == "[]"
    )


def test_guidance_and_starts_have_their_own_sections(tmp_path, make, guided_rows, started_rows):
    evil = "<b>truncated</b>:sigma=1"
    found = {m.key: m for m in [*guided_rows("random", 0), *started_rows("random", 0)]}
    more = [
        Measurement("fd_classifier", 1.0, 5, 7.0, "heun", evil, "none", "test", 9),
        Measurement(
            "fd_classifier", 1.0, 9, 7.0, "heun", "gaussian", f"dg-{evil}:weight=1", "test", 9
        ),
    ]
    make(tmp_path, found=[*found.values(), *more])
    page = Page(build(tmp_path).html.read_text())
    ids = [a["id"] for tag, a in page.tags if tag == "h3" and "id" in a]
    assert ids[-3:] == ["g1-guidance", "g1-starts", "g1-citing"]
    ordinary = [a for tag, a in page.tags if tag == "table" and "data-settings" in a]
    assert len(ordinary) == 4
    assert all(a["data-settings"] == "" for a in ordinary)
    assert not any(tag == "b" and "truncated" in str(a) for tag, a in page.tags)
    assert evil in page.text
    assert "Held-out real images: 0.0200." in page.text


@pytest.fixture(scope="module")
def full(tmp_path_factory, make, over_rho):
    """Two arms, three seeds: a first pass over rho, three samplers, profiles. lapjv gains at its
    best rho alone.
    """
    runs = tmp_path_factory.mktemp("full")
    plain = {"start": "gaussian", "guidance": "none"}
    for seed in range(3):
        for arm, shift in (("random", 0), ("lapjv", 1)):
            values = {
                nfe: {7: 40 / nfe + seed, 90: (60 - 30 * shift) / nfe + seed} for nfe in (3, 5, 9)
            }
            found = over_rho(values)
            found += [
                Measurement(
                    "fd_classifier", 90 / nfe, nfe, 7.0, "euler", split="test", n=5000, **plain
                )
                for nfe in (3, 5)
            ]
            nfe = 50 + seed - 20 * shift
            found += [
                Measurement(
                    "fd_classifier",
                    2.5,
                    nfe,
                    None,
                    "dopri5:tolerance=0.001",
                    split="test",
                    n=5000,
                    **plain,
                ),
            ]
            found += [Measurement("local_error_euler", s, sigma=s) for s in (0.1, 1.0)]
            make(runs, arm, seed, found=found)
    return Page(build(runs).html.read_text())


def test_the_page_speaks_of_fixed_and_best_rho(full):
    text = " ".join(full.text.split())
    said = (
        text.index("At rho 7"),
        text.index("Each coupling at its own best rho"),
        text.index("The verdict depends on rho"),
    )
    assert list(said) == sorted(said)
    assert "no clear difference at NFE 3 to 9" in text[said[0] : said[1]]
    assert "lapjv: lower (better) than random at NFE 3 to 9" in text[said[1] : said[2]]
    assert (
        "lapjv at NFE 3 to 9: no clear difference at rho 7, lower (better) at best rho"
        in text[said[2] :]
    )


def test_samplers_are_not_mixed(full):
    tables = [attributes for tag, attributes in full.tags if tag == "table"]
    settings = [
        (a["data-settings"], a["data-schedule"])
        for a in tables
        if a.get("data-metric") == "fd_classifier"
    ]
    assert sorted(settings) == [
        *[("", "best rho")] * 2,
        *[("", "rho 7")] * 2,
        ("sampler euler", "rho 7"),
    ]
    labels = [a["aria-label"] for tag, a in full.tags if tag == "svg"]
    assert not any("NFE from 3 to 5" in label for label in labels if "sampler euler" not in label)
    assert "Adaptive sampler" in full.text
    assert "51.0" in full.text  # mean of 50, 51 and 52 evaluations
    assert any("(local_error_euler) over sigma from 0.1 to 1" in label for label in labels)


def test_the_first_pass_is_a_heat_table_with_the_best_of_each_column_marked(full):
    found = [a for tag, a in full.tags if tag == "td" and "--near" in a.get("style", "")]
    assert len(found) == 2 * 2 * 3  # arms, rhos, NFEs
    assert [a["style"] for a in found if a.get("class") == "best"] == ["--near:1.00"] * 6
    assert "(grid_fd_classifier), 200 images" in full.text
    assert "NFE to reach a target" in full.text


def test_no_heading_stands_over_nothing(tmp_path, make):
    make(tmp_path, found=[Measurement("curvature_fm", 0.1), Measurement("coupling_ms", 1.0)])
    page = Page(build(tmp_path).html.read_text())
    parts = [
        attributes["id"] for tag, attributes in page.tags if tag == "h3" and "id" in attributes
    ]
    assert parts == ["g1-images", "g1-figures", "g1-cost", "g1-straight", "g1-citing"]


def test_that_there_is_no_verdict_is_said_once(tmp_path, make):
    for pool in (64, 256):
        make(
            tmp_path, "lapjv", pool=pool, images=1024 * 64, found=[Measurement("coupling_ms", 1.0)]
        )
    assert build(tmp_path).html.read_text().count("No verdict on quality") == 1


def test_what_is_left_out_is_said_on_the_terminal(tmp_path, make, capsys):
    make(tmp_path)
    (make(tmp_path, "lapjv").path / "config.json").write_text("{")
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert re.search(r"^left out: \S*lapjv\S*: .", said.err)
    assert "report.html" in said.out


def test_a_report_does_not_depend_on_pyarrow(study, tmp_path):
    """Where pyarrow is installed, the type "string" means its arrays, whose masks other columns
    refuse.
    """
    for path in sorted((ROOT / "reports").rglob("*.py")):
        found = re.search(r'astype\([^)]*"string"|: "string"|, "string"\)', path.read_text("utf-8"))
        assert not found, f"{path}: use text.STRINGS"
    pytest.importorskip("pyarrow")
    assert build(study, tmp_path).html.exists()
