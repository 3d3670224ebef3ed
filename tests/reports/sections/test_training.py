"""Training curves and nearest training images on the page."""

import re

import numpy as np
import pytest

from bench.record import write_bytes
from reports.build import build
from reports.sections import training
from reports.tables.runs import read

HEAD = "images,loss,sigma < 0.1,sigma > 3\n"


def curve(level, count=48):
    """A loss that falls as 1 / step from ``level``; the last level had no images at first."""
    lines = []
    for step in range(1, count + 1):
        last = f"{level}" if step > 1 else ""
        lines.append(f"{step * 100},{level / step},{2 * level},{last}")
    return HEAD + "\n".join(lines) + "\n"


@pytest.fixture
def study(tmp_path, make):
    for arm, level in (("random", 2.0), ("lapjv", 1.0)):
        for seed in range(2):
            folder = make(tmp_path, arm, seed)
            write_bytes(folder.path / training.FILE, curve(level + seed).encode())
    return tmp_path


def test_curves_are_means_of_equal_parts_of_the_training(study):
    found = training.curves(read(study)[0])
    assert list(found) == ["loss", "sigma < 0.1", "sigma > 3"]
    own = found["loss"]["lapjv"][1]
    expected = (2.0 / np.arange(1, 49)).reshape(training.POINTS, -1).mean(1)
    np.testing.assert_allclose(list(own.values()), expected)
    assert list(own)[:2] == [200, 400]
    assert found["sigma > 3"]["random"][0][200] == 2.0


def test_seeds_have_the_same_places_where_a_level_had_no_image_at_the_end(tmp_path, make):
    # A check after every 1,600 images, and one after the last step
    for seed, last in enumerate(("6", "")):
        folder = make(tmp_path, seed=seed)
        rows = f"1600,9,1,3\n3200,7,1,4\n4800,6,1,5\n4992,6,1,{last}\n"
        write_bytes(folder.path / training.FILE, (HEAD + rows).encode())
    found = training.curves(read(tmp_path)[0])["sigma > 3"]["random"]
    assert found == {
        0: {1664: 3.0, 3328: 4.0, 4992: 5.5},
        1: {1664: 3.0, 3328: 4.0, 4992: 5.0},
    }


def test_the_page_has_them_folded_with_one_line_a_coupling(study):
    page = build(study).html.read_text()
    assert re.search(r'<details class="part"><summary><h3 id="[^"]*training">Training curves', page)
    for words in ("Training loss over training images", "Denoising error, sigma &gt; 3"):
        assert words in page or words.replace("&gt;", ">") in page


def test_runs_without_a_file_or_with_a_damaged_one_show_nothing(tmp_path, make):
    folder = make(tmp_path)
    assert "Training curves" not in build(tmp_path).html.read_text()
    write_bytes(folder.path / training.FILE, b"images,loss\n1,x\n")
    assert training.curves(read(tmp_path)[0]) == {}


def test_nearest_training_images_are_apart_from_the_matrix_and_say_in_what_features(
    tmp_path, make, study
):
    png = next(tmp_path.glob("*lapjv*seed0*/samples/nfe5.png")).read_bytes()
    for folder in tmp_path.glob("*-seed0-*"):
        write_bytes(folder / "samples" / "nearest-classifier.png", png)
    page = build(study).html.read_text()
    assert page.count("above their nearest training images") == 2
    assert "by Euclidean distance in classifier features" in page
    assert "nearest-classifier" not in page
