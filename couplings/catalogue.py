"""A catalogue of the couplings: what each solves, its options, cost and paper, read from itself.

The text is the docstring of the class, whose paragraphs `Options:`, `Cost:` and `Source:` are found
by these words; defaults and types are those of the fields, marginals the class variables. So a
coupling of a user's own has its entry too, with whatever its docstring says.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from couplings import plugins, spec
from couplings.contract import Coupling
from couplings.dataset.contract import DatasetCoupling
from couplings.errors import CouplingError, PluginError
from couplings.registry import names

WIDTH = 100
MARK = 11  # letters before the text of a line
SECTIONS = ("Options", "Cost", "Source")
KINDS = {
    "batch": "solved on each pool of n images and n noise samples of d values",
    "dataset": "fitted once on the whole training set of n images",
}
NEEDS_MODEL = "a trained model"
FOLLOWS_MODEL = "a model: the network in training, by using(velocity)"
EXAMPLE_N = (1024, 8192)  # images of a pool
EXAMPLE_D = 3072  # values of a CIFAR-10 image
_ITEM = re.compile(r"    (\w+): (.*)")


@dataclass(frozen=True)
class Option:
    """An option of a coupling: its default, what it takes, as in a spec, and its meaning."""

    name: str
    default: str
    takes: str
    meaning: str


@dataclass(frozen=True)
class Entry:
    """A coupling as the catalogue shows it.

    Attributes:
        name: that a spec begins with.
        kind: `batch` or `dataset`.
        solves: one line.
        text: paragraphs on how it is done.
        options: in the order of the fields, its own first.
        cost: order of time and memory; empty if its docstring does not say.
        source: the paper; empty likewise.
        keeps_noise: True if the noise of the pairs stays standard normal.
        keeps_data: True if every image comes equally often.
        needs: the model that it needs, in words; empty for most.
        memory: for some numbers of images the peak bytes of a solution; empty if it makes no
            estimate.

    """

    name: str
    kind: str
    solves: str
    text: tuple[str, ...]
    options: tuple[Option, ...]
    cost: str
    source: str
    keeps_noise: bool
    keeps_data: bool
    needs: str
    memory: dict[int, int]


def entry(name: str) -> Entry:
    """The entry of a coupling; of a spec, that of its name.

    Raises:
        CouplingError: there is no such coupling.

    """
    name, _ = spec.split_spec(name)
    try:
        module = plugins.load("coupling", name, *plugins.COUPLINGS)
        cls: Any = plugins.class_in("coupling", module, Coupling, DatasetCoupling)
        words = spec.option_words(cls)
    except PluginError as error:
        raise CouplingError(str(error)) from error.__cause__
    # Those of a dataclass without a docstring of its own are its signature.
    own = _paragraphs(cls.__dict__.get("__doc__") or "")
    heads = [paragraph for paragraph in own if _section_of(paragraph) is None]
    meanings = _meanings(cls)
    # Options that all couplings share come last.
    shared = set(spec.option_words(Coupling))
    options = []
    for key in sorted(words, key=lambda key: key in shared):
        takes, default = words[key]
        options.append(Option(key, default, takes, meanings.get(key, "")))
    return Entry(
        name=name,
        kind=cls.kind,
        solves=_first_sentence(module.__doc__) or (_flat(heads[0]) if heads else ""),
        text=tuple(map(_flat, heads)),
        options=tuple(options),
        cost=_section("Cost", own),
        source=_section("Source", own),
        keeps_noise=cls.exact_noise_marginal,
        keeps_data=cls.exact_data_marginal,
        needs=_needs(cls),
        memory=_memory(cls),
    )


def overview() -> str:
    """All couplings of this repository, a few lines each."""
    blocks = []
    for kind, title in KINDS.items():
        blocks.append(f"{kind.capitalize()} couplings, {title}:")
        blocks += [brief(entry(name)) for name in names(kind)]
    return "\n\n".join(blocks)


def brief(found: Entry) -> str:
    """Lines of a coupling in the list: what it solves, cost, marginals, options, paper."""
    options = "  ".join(f"{option.name}={option.default}" for option in found.options)
    rows = {"needs": found.needs} if found.needs else {}
    rows |= {
        "cost": found.cost or "not stated",
        "marginals": _marginals(found),
        "options": options or "none",
        "paper": found.source or "not stated",
    }
    return "\n".join([*_wrapped(f"{found.name}  {found.solves}", 0), *_rows(rows)])


def full(found: Entry) -> str:
    """All that a coupling says about itself, with the meaning of each option."""
    rows = {
        "kind": f"{found.kind} coupling, {KINDS[found.kind]}",
        "needs": found.needs,
        "cost": found.cost or "not stated",
        "memory": ", ".join(
            f"{size / 1e6:,.0f} MB for {n:,} images" for n, size in found.memory.items()
        ),
        "marginals": _marginals(found),
        "paper": found.source or "not stated",
    }
    if found.memory:
        rows["memory"] += f" of {EXAMPLE_D:,} values, at its default options"
    known = {key: words for key, words in rows.items() if words}
    lines = [*_wrapped(f"{found.name}  {found.solves}", 0), *_rows(known)]
    for paragraph in found.text:
        lines += ["", *_wrapped(paragraph, 0)]
    lines += [
        "",
        f"options, as {found.name}:key=value,key=value:" if found.options else "no options",
    ]
    for option in found.options:
        lines.append(f"  {option.name}={option.default}  ({option.takes})")
        lines += _wrapped(option.meaning, 6)
    return "\n".join(lines)


def _marginals(found: Entry) -> str:
    noise = "kept" if found.keeps_noise else "CHANGED"
    data = "kept" if found.keeps_data else "CHANGED"
    return f"noise {noise}, data {data}"


def _rows(rows: dict[str, str]) -> Iterator[str]:
    for key, words in rows.items():
        first, *more = _wrapped(words, MARK + 2)
        yield f"  {key:<{MARK}}{first.strip()}"
        yield from more


def _wrapped(text: str, indent: int) -> list[str]:
    margin = " " * indent
    # Options are kept whole: their lines break between two of them only.
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _needs(cls: Any) -> str:
    """The model that a coupling needs, in words; empty if it needs none."""
    # Each kind of coupling states only its own.
    if getattr(cls, "needs_model", False):
        return NEEDS_MODEL
    return FOLLOWS_MODEL if getattr(cls, "follows_model", False) else ""


def _memory(cls: Any) -> dict[int, int]:
    """Peak bytes of batch couplings at their default options, if they estimate them."""
    if cls.kind != "batch":
        return {}
    coupling = cls()
    sizes = {n: int(coupling.peak_bytes(n, EXAMPLE_D)) for n in EXAMPLE_N}
    return sizes if all(sizes.values()) else {}


def _meanings(cls: type) -> dict[str, str]:
    """Option to meaning, from the docstrings of the class and of those it derives from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for paragraph in _paragraphs(base.__dict__.get("__doc__") or ""):
            if _section_of(paragraph) == "Options":
                found |= _items(paragraph)
    return found


def _items(paragraph: str) -> dict[str, str]:
    """The items `name: meaning` of a paragraph, whose further lines are indented more."""
    items: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines()[1:]:
        match = _ITEM.fullmatch(line)
        if match:
            name = match[1]
            items[name] = match[2]
        elif name:
            items[name] += f" {line.strip()}"
    return items


def _paragraphs(doc: str) -> list[str]:
    return [part.strip("\n") for part in inspect.cleandoc(doc).split("\n\n") if part.strip()]


def _section_of(paragraph: str) -> str | None:
    """The word that a paragraph begins with, if it is a section."""
    word, colon, _ = paragraph.partition(":")
    return word if colon and word in SECTIONS else None


def _section(word: str, paragraphs: Sequence[str]) -> str:
    for paragraph in paragraphs:
        if _section_of(paragraph) == word:
            return _flat(paragraph).removeprefix(f"{word}:").strip().rstrip(".")
    return ""


def _first_sentence(doc: str | None) -> str:
    return _flat(_paragraphs(doc)[0]) if doc and doc.strip() else ""


def _flat(paragraph: str) -> str:
    return " ".join(paragraph.split())
