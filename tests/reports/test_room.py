import re
from dataclasses import replace

import pandas as pd
import pytest

from bench.record import Measurement, write_bytes
from reports import page, room
from reports.build import build
from reports.room import CELLS, CHARTS, FIGURES, PICTURES, Room, pictures

PNG = b"\x89PNG\r\n\x1a\n"


def test_after_what_found_no_room_nothing_is_made_and_all_is_counted():
    made, share = [], Room(10)

    def maker(size):
        return lambda: made.append(size) or "x" * size

    assert share.keep([maker(4), maker(5), maker(2), maker(1)], len) == ["xxxx", "xxxxx"]
    assert (made, share.refused) == ([4, 5, 2], 2)
    assert Room(3).keep([maker(9), maker(1)], len) == ["x" * 9]  # a comparison shows at least one


def test_pictures_are_shown_for_all_arms_or_none(tmp_path, monkeypatch):
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for path in paths:
        path.write_bytes(bytes(300))  # 400 as base64
    folders = [
        {"NFE 5": [("a", paths[0]), ("b", paths[1])], "NFE 13": [("a", paths[2])]},
        {"NFE 5": [("a", paths[3])]},
    ]
    monkeypatch.setattr(room, "PICTURES", 1200)
    assert pictures(folders) == [{"NFE 5": folders[0]["NFE 5"]}, folders[1]]
    monkeypatch.setattr(room, "PICTURES", 799)
    assert pictures(folders) == [{}, folders[1]]


def test_all_rooms_together_stay_below_the_size_of_a_page():
    assert FIGURES + 2 * CHARTS + 150 * CELLS + PICTURES < 7e6


@pytest.fixture(scope="module")
def many(tmp_path_factory, make, guided_rows, started_rows):
    """Eight comparisons of four arms with pictures that no page could hold."""
    runs = tmp_path_factory.mktemp("many")
    for pool in (32, 64, 128, 256, 512, 1024, 2048, 4096):
        for arm in ("random", "lapjv", "knn", "greedy"):
            found = (
                None if pool < 4096 else [*started_rows(arm, 0, (5,)), *guided_rows(arm, 0, (9,))]
            )
            folder = make(runs, arm, pool=pool, found=found)
            for nfe in (5, 13, 35):
                write_bytes(folder.path / "samples" / f"nfe{nfe}.png", PNG + bytes(60_000))
    return runs


def test_a_big_page_is_bounded_and_says_what_is_left_out(many, tmp_path, monkeypatch, parsed):
    sizes = {"FIGURES": 200_000, "CELLS": 400, "CHARTS": 100_000}
    for name, size in sizes.items():
        monkeypatch.setattr(page, name, size)
    written = build(many, tmp_path)
    html = written.html.read_text()
    assert len(html.encode()) < 1.15 * PICTURES + 8 * 90_000 + 400 * 150
    assert html.count("<img") == 12  # three comparisons' four, of 80 kB each
    notes = re.findall(
        r"Left out, .*? (\d+) figures, (\d+) tables and (\d+) pictures\. Their numbers", html
    )
    assert len(notes) == 8
    assert sum(int(pictures_left) for *_, pictures_left in notes) == 8 * 4 * 3 - 12
    assert all(int(figures) and int(tables) for figures, tables, _ in notes)
    shown = parsed(html)
    for i in range(1, 9):  # and each comparison shows its first table
        assert any(
            t["section"] == f"g{i}" and t["h3"] == "Values at each NFE" for t in shown.tables
        )
    assert pd.read_csv(written.csv)["pool"].nunique() == 8


def test_the_values_have_room_before_the_first_pass_and_other_samplers(
    tmp_path, make, over_rho, monkeypatch, parsed
):
    values = {nfe: {rho: (1 + rho) / nfe for rho in (3, 7, 16)} for nfe in (3, 5, 9)}
    found = over_rho(values)
    euler = [replace(m, sampler="euler") for m in found if not m.metric.startswith("grid_")]
    for arm in ("random", "lapjv"):
        make(tmp_path, arm, found=[*found, *euler])

    def euler_values(table):
        return table["h3"] == "Values at each NFE" and "euler" in table["caption"]

    monkeypatch.setattr(page, "CELLS", 13)  # two of 2 arms x 3 NFE
    shown = parsed(build(tmp_path).html.read_text()).tables
    assert any(t["h3"] == "Values at each NFE" for t in shown)
    assert not any(t["class"] == "heat" or euler_values(t) for t in shown)
    # Five such, and the pass of 2 arms x 3 rho x 3 NFE
    monkeypatch.setattr(page, "CELLS", 30 + 18 + 5)
    shown = parsed(build(tmp_path).html.read_text()).tables
    assert any(t["class"] == "heat" for t in shown)
    assert not any(map(euler_values, shown))


def test_charts_of_pools_that_find_no_room_are_counted(tmp_path, make, monkeypatch):
    for pool in (64, 128):
        make(tmp_path, pool=pool, found=[Measurement("curvature_fm", 1.0)])
    found = page.pools
    monkeypatch.setattr(page, "pools", lambda rows: 3 * found(rows))
    assert "figures of pools" not in build(tmp_path).html.read_text()
    monkeypatch.setattr(page, "CHARTS", 8)
    assert (
        "Left out, so that this page stays small: 2 figures of pools."
        in build(tmp_path).html.read_text()
    )


def test_a_small_page_leaves_nothing_out(study, tmp_path):
    assert "Left out" not in build(study, tmp_path).html.read_text()
