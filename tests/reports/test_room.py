import re

import pandas as pd
import pytest

from bench.record import write_bytes
from reports import page, room
from reports.build import build
from reports.room import CELLS, CHARTS, FIGURES, PICTURES, Room, pictures

PNG = b"\x89PNG\r\n\x1a\n"


def test_what_found_no_room_is_counted_and_never_made():
    made, share = [], Room(10)

    def maker(size):
        return lambda: made.append(size) or "x" * size

    assert share.keep([maker(4), maker(5), maker(2), maker(1)], len) == ["xxxx", "xxxxx"]
    assert (made, share.refused) == ([4, 5, 2], 2)  # after the first that does not fit nothing is made
    assert Room(3).keep([maker(9), maker(1)], len) == ["x" * 9]  # a comparison shows at least one


def test_pictures_are_shown_for_all_arms_or_none(tmp_path, monkeypatch):
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for path in paths:
        path.write_bytes(bytes(300))  # 400 as base64
    folders = [{"NFE 5": [("a", paths[0]), ("b", paths[1])], "NFE 13": [("a", paths[2])]}, {"NFE 5": [("a", paths[3])]}]
    monkeypatch.setattr(room, "PICTURES", 1200)
    assert pictures(folders) == [{"NFE 5": folders[0]["NFE 5"]}, folders[1]]
    monkeypatch.setattr(room, "PICTURES", 799)
    assert pictures(folders) == [{}, folders[1]]


def test_all_rooms_together_stay_below_the_size_of_a_page():
    assert FIGURES + CHARTS + 150 * CELLS + PICTURES < 6.5e6


@pytest.fixture(scope="module")
def many(tmp_path_factory, make, guided_rows, started_rows):
    """Eight comparisons of four arms with pictures that no page could hold."""
    runs = tmp_path_factory.mktemp("many")
    for pool in (32, 64, 128, 256, 512, 1024, 2048, 4096):
        for arm in ("random", "lapjv", "knn", "greedy"):
            found = None if pool < 4096 else [*started_rows(arm, 0, (5,)), *guided_rows(arm, 0, (9,))]
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
    notes = re.findall(r"Left out, .*? (\d+) figures, (\d+) tables and (\d+) pictures\. Their numbers", html)
    assert len(notes) == 8
    assert sum(int(pictures_left) for *_, pictures_left in notes) == 8 * 4 * 3 - 12
    assert all(int(figures) and int(tables) for figures, tables, _ in notes)
    shown = parsed(html)
    for i in range(1, 9):  # and each comparison shows its first table
        assert any(t["section"] == f"g{i}" and t["h3"] == "Values at each NFE" for t in shown.tables)
    assert pd.read_csv(written.csv)["pool"].nunique() == 8


def test_a_small_page_leaves_nothing_out(study, tmp_path):
    assert "Left out" not in build(study, tmp_path).html.read_text()
