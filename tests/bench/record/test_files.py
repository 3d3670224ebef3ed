import hashlib
import json
import threading
import time
from dataclasses import dataclass

from bench.record import digest, flatten, locked, made_once, unknown, write_bytes, write_csv


def test_a_file_is_made_once(tmp_path):
    path = tmp_path / "cache" / "file"
    made = []

    def make():
        made.append(1)
        write_bytes(path, b"content")

    made_once(path, make)
    made_once(path, make)
    assert made == [1]
    assert path.read_bytes() == b"content"


def test_a_file_that_cannot_be_used_is_made_again(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    made_once(path, lambda: write_bytes(path, b"new"), lambda path: path.read_bytes() == b"new")
    assert path.read_bytes() == b"new"


def test_who_waited_for_the_lock_looks_again(tmp_path):
    path = tmp_path / "file"
    made = []
    with locked(path):
        waiting = threading.Thread(target=made_once, args=(path, lambda: made.append(1)))
        waiting.start()
        time.sleep(0.3)
        write_bytes(path, b"made meanwhile")
    waiting.join()
    assert made == []


def test_a_file_of_a_cache_is_readable_as_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_bytes(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_digest_does_not_depend_on_the_order_of_keys():
    content = {"b": [1, None], "a": {"x": 0.5}}
    text = json.dumps(content, sort_keys=True)
    assert (
        digest({"a": {"x": 0.5}, "b": [1, None]}) == hashlib.sha256(text.encode()).hexdigest()[:10]
    )
    compact = '{"a":{"x":0.5},"b":[1,null]}'
    expected = hashlib.sha256(compact.encode()).hexdigest()[:16]
    assert digest(content, digits=16, compact=True) == expected


@dataclass
class Row:
    name: str
    value: float | None = None


def test_a_table_has_its_columns_even_without_rows(tmp_path):
    write_csv(tmp_path / "a.csv", Row, [])
    assert (tmp_path / "a.csv").read_text() == "name,value\n"
    write_csv(tmp_path / "a.csv", Row, [Row('x,"y"', 0.1), Row("z")])
    assert (tmp_path / "a.csv").read_text() == 'name,value\n"x,""y""",0.1\nz,\n'


def test_nested_dictionaries_have_dotted_keys():
    assert flatten({"a": {"b": {"c": 1}, "d": []}, "e": None}) == {"a.b.c": 1, "a.d": [], "e": None}


def test_an_unknown_word_is_answered_with_the_nearest():
    line = "unknown preset 'digist': did you mean digits? known: digits, moons"
    assert unknown("preset", "digist", ("digits", "moons")) == line
    assert unknown("preset", "zzz", ["moons"]) == "unknown preset 'zzz': known: moons"
