import math
import re
from xml.etree import ElementTree

import pytest

from bench.record import Measurement
from reports.figures import panels as figures
from reports.figures import style
from reports.tables.groups import groups
from reports.tables.tidy import read_runs


def panel_of(runs, metric, split=None):
    (group,) = groups(read_runs(runs))
    return next(p for p in group.panels if (p.metric, p.split) == (metric, split))


def draw(panel):
    look = style.looks(panel.rows.coupling)
    return figures.curve([panel], look) if panel.over else figures.bars(panel, look)


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


def test_curve_shows_arms_nfes_and_axes(study):
    svg = str(draw(panel_of(study, "fd_classifier", "test")))
    shown = texts(svg)
    assert {
        "random",
        "lapjv",
        "sinkhorn:epsilon=0.05",
        "NFE (log)",
        "(fd_classifier) (log)",
        "3",
        "5",
        "13",
        "35",
    } <= set(shown)
    assert "$" not in "".join(shown)
    assert "http" not in svg
    assert re.search(
        r'<svg viewBox="[^"]+" style="--inches: 3.9" role="img" aria-label="Line chart of'
        r' [^"]*\(fd_classifier\), test',
        svg,
    )
    assert not re.search(r"<g [^>]*id=", svg)


def test_height_on_the_page_follows_the_means(study):
    """The line through the means of lapjv crosses that of random between NFE 5 and 13, as the fakes
    do.
    """
    panel = panel_of(study, "truncation_error")
    look = style.looks(panel.rows.coupling)
    paths = ElementTree.fromstring(str(figures.curve([panel], look))).iter("path")
    lines = {}
    for path in paths:
        colour = re.search(r"stroke: ([^;]+)", path.get("style", ""))
        points = re.findall(r"[ML] (\S+) (\S+)", path.get("d"))
        if colour and "fill: none" in path.get("style") and len(points) == 4:
            lines[colour.group(1)] = [float(y) for _, y in points]
    random, lapjv = lines["var(--baseline, #444)"], lines[look["lapjv"].colour.lower()]
    # Down is larger y
    assert [a > b for a, b in zip(lapjv, random, strict=True)] == [True, True, False, False]
    shift = (lapjv[0] - random[0]) / (lapjv[2] - random[2])  # both axes are logarithmic
    assert shift == pytest.approx(math.log(0.6) / math.log(1.25), rel=1e-3)


def test_bars(study):
    svg = str(draw(panel_of(study, "curvature_fm")))
    assert {"random", "lapjv", "Path curvature"} <= set(texts(svg))
    assert 'aria-label="Bar chart of Path curvature (curvature_fm)' in svg


def test_the_same_runs_give_the_same_figure(study):
    for metric in ("truncation_error", "curvature_fm"):
        assert draw(panel_of(study, metric)) == draw(panel_of(study, metric))


def test_names_are_text_not_markup_or_mathematics(tmp_path, make):
    name = '<script>alert(1)</script>$x^2$&"'
    make(tmp_path)
    make(tmp_path, name)
    for metric in ("truncation_error", "curvature_fm"):
        svg = str(draw(panel_of(tmp_path, metric)))
        assert "<script" not in svg
        assert name in "".join(texts(svg))


def test_looks_are_fixed_and_distinct():
    names = [f"c{i:02}" for i in range(40)]
    look = style.looks(["random", *names])
    assert len({(one.colour, one.marker, str(one.line)) for one in look.values()}) == 41
    assert len({one.colour for one in look.values()}) == 41
    assert style.looks([*names[::-1], "random"]) == look
    assert "random" in style.looks(["lapjv"])


@pytest.mark.parametrize("seeds", [1, 3, 6])
def test_caption_says_what_the_marks_are(tmp_path, make, seeds):
    for seed in range(seeds):
        make(
            tmp_path,
            seed=seed,
            found=[Measurement("truncation_error", 1.0 + seed, nfe=n) for n in (3, 5)],
        )
    panel = panel_of(tmp_path, "truncation_error")
    svg = str(draw(panel))
    expected = {
        1: "(one seed, no spread)",
        3: "dots: single seeds (3)",
        6: "bands: lowest to highest of up to 6 seeds",
    }
    assert expected[seeds] in figures.caption([panel])
    assert ("fill-opacity: 0.18" in svg) == (seeds == 6)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_what_a_logarithmic_axis_cannot_show_is_left_out(tmp_path, make, value):
    make(
        tmp_path,
        found=[Measurement("truncation_error", value, nfe=3), Measurement("coupling_ms", value)],
    )
    for metric in ("truncation_error", "coupling_ms"):
        svg = draw(panel_of(tmp_path, metric))
        assert f"({metric})" in " ".join(texts(str(svg)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (200_000, "200,000"),
        (1e-6, "1e-6"),
        (1e12, "1e12"),
        (0.05, "0.05"),
        (0, "0"),
        (-3e-7, "-3e-7"),
        (1000, "1,000"),
    ],
)
def test_ticks_are_written_as_a_person_would(value, text):
    assert style.tick_text(value) == text


def test_a_value_of_nearly_nothing_leaves_no_empty_decades_above(tmp_path, make):
    make(
        tmp_path,
        found=[
            Measurement("truncation_error", v, nfe=n) for n, v in ((3, 1.0), (5, 0.1), (9, 1e-280))
        ],
    )
    panel = panel_of(tmp_path, "truncation_error")
    assert figures.caption([panel]).endswith(
        "Values below a millionth of the highest one are cut off."
    )
    ticks = [float(t) for t in texts(str(draw(panel))) if "e-" in t or "." in t]
    assert min(ticks) >= 1e-7
    assert max(ticks) <= 1


def lines(svg, count):
    """Points of the drawn lines with ``count`` points, by colour, in order of appearance."""
    found = {}
    for path in ElementTree.fromstring(svg).iter("path"):
        colour = re.search(r"stroke: ([^;]+)", path.get("style", ""))
        points = re.findall(r"[ML] (\S+) (\S+)", path.get("d"))
        if colour and "fill: none" in path.get("style") and len(points) == count:
            found.setdefault(colour.group(1), []).append([(float(x), float(y)) for x, y in points])
    return found


def test_fixed_and_best_rho_stand_side_by_side_on_one_scale(tmp_path, make, over_rho):
    make(tmp_path, found=over_rho({3: {7: 4.0, 90: 2.0}, 9: {7: 3.0, 90: 1.0}}))
    (group,) = groups(read_runs(tmp_path))
    shared = [p for p in group.panels if p.metric == "fd_classifier" and p.split == "test"]
    svg = str(figures.curve(shared, style.looks(["random"])))
    assert {"rho 7", "best rho"} <= set(texts(svg))
    fixed, best = lines(svg, 2)["var(--baseline, #444)"]
    assert fixed[0][0] < best[0][0]  # the best rho on the right
    # ln 4, ln 3, ln 2 and ln 1 on one vertical axis
    step = (best[0][1] - fixed[0][1]) / math.log(2)
    assert best[1][1] - fixed[1][1] == pytest.approx(step * math.log(3), rel=1e-3)


@pytest.mark.parametrize("seeds", [2, 5])
def test_a_profile_is_drawn_against_sigma_with_a_band(tmp_path, make, seeds):
    for seed in range(seeds):
        found = [
            Measurement("target_variance", (1 + seed) * s, sigma=s)
            for s in (0.01, 0.1, 10.0, 100.0)
        ]
        make(tmp_path, seed=seed, found=found)
    (group,) = groups(read_runs(tmp_path))
    (panel,) = group.profiles
    svg = str(draw(panel))
    (points,) = lines(svg, 4)["var(--baseline, #444)"]
    (x0, y0), (x1, y1), (x2, y2), _ = points
    assert (x2 - x1) / (x1 - x0) == pytest.approx(2, rel=1e-3)  # two decades against one
    assert (y2 - y1) / (y1 - y0) == pytest.approx(2, rel=1e-3)
    assert {"noise level sigma (log)", "(target_variance) (log)", "0.01", "10"} <= set(texts(svg))
    assert ("fill-opacity: 0.18" in svg) == (seeds > 1)
    assert "over sigma from 0.01 to 100" in svg


NAMES = ("gradient_variance", "validation_loss_edm_independent", "features_of_a_very_long_name" * 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1.0, 1e-5, 2e6])
def test_every_letter_of_an_axis_is_within_the_figure(tmp_path, make, name, scale):
    """However wide the ticks and long the name, also of features that a user named."""
    profile = [Measurement(name, scale * v, sigma=s) for s, v in ((0.1, 9.0), (5.0, 1.0))]
    curve = [
        Measurement(f"fd_{name}", scale * v, nfe=n, split="test") for n, v in ((3, 9.0), (5, 1.0))
    ]
    for rows, kind in ((curve, "panels"), (profile, "profiles")):
        make(tmp_path / kind, found=rows)
        (group,) = groups(read_runs(tmp_path / kind))
        figure = figures.curve_drawing(getattr(group, kind), style.looks(["random"]))
        outside = [text for text, box in boxes(figure) if not inside(box, figure.bbox)]
        assert outside == []
        (axes,) = figure.axes
        label, *ticks = axes.yaxis.label, *axes.get_yticklabels()
        low, high = axes.get_ylim()
        boxes_of_ticks = [
            t.get_window_extent() for t in ticks if low <= t.get_position()[1] <= high
        ]
        assert boxes_of_ticks
        assert all(label.get_window_extent().x1 <= box.x0 for box in boxes_of_ticks)


def boxes(figure):
    """Every text that is drawn, with its place in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    shown = [
        text
        for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))
        if text.get_text()
    ]
    axes = figure.axes[0]
    limits = {0: axes.get_xlim(), 1: axes.get_ylim()}
    hidden = [
        tick
        for which, labels in ((0, axes.get_xticklabels()), (1, axes.get_yticklabels()))
        for tick in labels
        if not limits[which][0] <= tick.get_position()[which] <= limits[which][1]
    ]
    return [
        (text.get_text(), text.get_window_extent())
        for text in shown
        if text not in hidden and text.get_visible()
    ]


def inside(box, outer):
    return outer.x0 <= box.x0 and box.x1 <= outer.x1 and outer.y0 <= box.y0 and box.y1 <= outer.y1


@pytest.mark.parametrize("values", [(3.2, 8.1), (2.7, 4.4), (11.0, 35.0), (2.0, 150.0)])
def test_a_logarithmic_axis_has_ticks_enough_to_read_a_value(tmp_path, make, values):
    make(
        tmp_path,
        found=[
            Measurement("truncation_error", v, nfe=n) for n, v in zip((3, 5), values, strict=True)
        ],
    )
    figure = figures.curve_drawing(
        [panel_of(tmp_path, "truncation_error")], style.looks(["random"])
    )
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert 3 <= len([tick for tick in axes.yaxis.get_majorticklocs() if low <= tick <= high]) <= 8
