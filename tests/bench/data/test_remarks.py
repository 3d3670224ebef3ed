import pytest

from bench.data._remarks import ANIMATED, EMPTY, HIDDEN, Remarks, printable


def test_kinds_are_counted_with_their_first_example_and_what_is_skipped_comes_first():
    remarks = Remarks()
    for kind, example in ((ANIMATED, "x.gif"), (HIDDEN, ".git"), (EMPTY, "a"), (HIDDEN, ".b")):
        remarks.add(kind, example)
    skipped = "skipped: 2 hidden files or folders (.git), 1 empty folder (a)"
    assert remarks.phrases() == (skipped, "1 animation is read as its first frame (x.gif)")


def test_nothing_met_is_nothing_said():
    assert Remarks().phrases() == ()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\u00fc b.png", "\u00fc b.png"),
        ("a\nb", r"a\nb"),
        ("\udce9.png", r"\udce9.png"),
        ("a\x1b[2J", r"a\x1b[2J"),
    ],
)
def test_names_are_printed_in_one_line_whatever_they_hold(name, shown):
    assert printable(name) == shown
    printable(name).encode()
