import re
from pathlib import Path

import pytest

from reports.build import build
from reports.summary import summarise
from reports.tables import groups, read_csv

README = Path(__file__).parents[2] / "README.md"


def snippet():
    (found,) = re.findall(r"<!-- claims -->\n```python\n(.*?)```\n<!-- /claims -->", README.read_text(), re.DOTALL)
    return found


@pytest.fixture(scope="module")
def group(tmp_path_factory, make, over_rho):
    """An arm that is lower at NFE 3, unclear at 5 and higher at 9."""
    folder = tmp_path_factory.mktemp("readme")
    for seed, wobble in enumerate((0.0, 0.02, -0.05)):
        make(folder / "runs", "random", seed, found=over_rho({nfe: {7: 40 / nfe + seed} for nfe in (3, 5, 9)}))
        values = {nfe: {7: (40 / nfe + seed) * (level + wobble)} for nfe, level in ((3, 0.6), (5, 1.01), (9, 1.3))}
        make(folder / "runs", "lapjv", seed, found=over_rho(values))
    return groups(read_csv(build(folder / "runs").csv))[0], folder


def test_the_summary_can_be_recomputed_from_the_csv(group, monkeypatch, capsys):
    group, folder = group
    monkeypatch.chdir(folder)
    exec(compile(snippet(), "README.md", "exec"), {})
    said = dict(re.findall(r"lapjv, NFE (\d+): (.*)", capsys.readouterr().out))
    ((_, claim),) = summarise(group).findings[0].views[0].claims
    sentence = claim.replace("−", "-")
    assert set(said) == {"3", "5", "9"}
    for nfe, line in said.items():
        verdict, change = line.split(", ", 1)
        assert re.search(rf"{re.escape(verdict)}( than random)? at NFE {nfe}\b", sentence), (line, sentence)
        if verdict != "no clear difference":
            numbers = re.findall(r"[+-]\d+", change)
            stated = f"NFE {nfe}: {numbers[0]} % [{numbers[1]}, {numbers[2]}]"
            assert stated in sentence, (line, sentence)


def test_it_is_short():
    assert len([line for line in snippet().splitlines() if line and not line.startswith("import")]) <= 10
