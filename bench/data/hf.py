"""Data sets of images of the Hugging Face library ``datasets``, from a local copy.

``--data hf --data-dir FOLDER`` reads a folder of ``save_to_disk``, or one of parquet, arrow or
image files that ``load_dataset`` understands. ``--data hf:name=NAME`` reads a data set of the Hub
that was loaded before, from the cache of the library, or from the one in ``--data-dir``. Nothing is
downloaded, and no code of a data set is run. Tables stay on the disk, where the library maps them;
decoded pixels are held in memory, as those of ``image-folder``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.data._image_files import ImageFile
from bench.data._library import checked_label, missing_library, of_files
from bench.data.contract import DataError, Dataset, Origin

SHAPE = None  # that of the user's images
CLASSES = None

LABELS = ("label", "labels", "fine_label", "class")
TESTS = ("test", "validation", "valid", "val")
NONE = "none"  # in place of a column: no labels


def load(
    data_dir: Path | None = None,
    resolution: int | None = None,
    *,
    name: str | None = None,
    subset: str | None = None,
    image: str | None = None,
    label: str = "auto",
    train: str = "train",
    test: str | None = None,
) -> Dataset:
    """The images as uint8 ``[n, c, h, w]``, h = w.

    Args:
        data_dir: the folder of the data set; with ``name`` the cache of the library.
        resolution: side to bring every image to, in pixels; None leaves them as stored.
        name: of a data set in the cache, such as ylecun/mnist.
        subset: its configuration, if it has several.
        image: the column of images; None takes the only one.
        label: the column of classes, or none; auto takes the first of ``LABELS`` that is there.
        train: the split to train on.
        test: the held-out split; None takes the first of ``TESTS`` that is there, else every 10th
            image of a class is held out.

    Raises:
        DataError: the library or a local copy is missing, a split or a column is not there, or the
            images are refused as those of ``image-folder`` are.

    """
    splits = _splits(_read(data_dir, name, subset), train)
    chosen = _present("split", train, tuple(splits))
    held_out = next((split for split in TESTS if split in splits and split != chosen), None)
    if test is not None:
        held_out = _present("split", test, tuple(splits))
    table = splits[chosen]
    column = _image_column(table, image)
    labels = _label_column(table, label)
    files = _files(table, column, labels, chosen)
    others = None if held_out is None else _files(splits[held_out], column, labels, held_out)
    notes = [f"splits {chosen} and {held_out}"] if held_out else []
    names = () if labels is None else tuple(getattr(table.features[labels], "names", None) or ())
    origin = Origin("none" if labels is None else f"column {labels}", names, tuple(notes))
    return of_files("hf", files, others, resolution, origin)


def _read(data_dir: Path | None, name: str | None, subset: str | None) -> Any:
    """The data set of the library: a table, or several by split."""
    try:
        import datasets
    except (ImportError, RuntimeError) as error:
        raise missing_library("hf", error) from None
    if name is None and data_dir is None:
        raise DataError(
            "--data hf: which one? pass --data-dir FOLDER, as save_to_disk writes it, or"
            " hf:name=NAME"
        )
    if name is None and not Path(data_dir).is_dir():
        raise DataError(f"there is no folder {data_dir}: pass that of the data set as --data-dir")
    try:
        with _offline():
            if name is None:
                return _read_folder(Path(data_dir), subset)
            cache = None if data_dir is None else str(data_dir)
            return datasets.load_dataset(name, subset, cache_dir=cache)
    except Exception as error:  # noqa: BLE001 - the library has dozens of its own
        reason = " ".join(str(error).split())[:160]
        where = name or data_dir
        more = f", {subset!r}" if subset else ""
        way_out = "is it a folder of save_to_disk, or of parquet or image files?"
        if name is not None:
            way_out = (
                f"fetch it: python -c \"import datasets; datasets.load_dataset('{name}'{more})\""
            )
        raise DataError(
            f"--data hf: no local copy of {where} can be read ({reason}); {way_out}"
        ) from None


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the library off the network: a missing copy must not turn into a download."""
    import datasets
    from huggingface_hub import constants

    # Each read the environment variable HF_HUB_OFFLINE when it was imported, which may be long ago.
    places: tuple[Any, ...] = (datasets.config, constants)
    before = [place.HF_HUB_OFFLINE for place in places]
    for place in places:
        place.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _read_folder(folder: Path, subset: str | None) -> Any:
    import datasets

    # Marks of save_to_disk: of several splits, and of one.
    if any((folder / mark).exists() for mark in ("dataset_dict.json", "state.json")):
        return datasets.load_from_disk(str(folder))
    return datasets.load_dataset(str(folder), subset)


def _splits(content: Any, train: str) -> dict[str, Any]:
    """Tables by the name of their split; a single table is the one to train on."""
    return dict(content) if isinstance(content, Mapping) else {train: content}


def _present(what: str, word: str, known: tuple[str, ...]) -> str:
    if word not in known:
        raise DataError(f"--data hf: no {what} {word!r}; there are {', '.join(known) or 'none'}")
    return word


def _image_column(table: Any, image: str | None) -> str:
    """The column of images."""
    import datasets

    features = table.features
    columns = [name for name in features if isinstance(features[name], datasets.Image)]
    if image is not None:
        return _present("column of images", image, tuple(columns))
    if len(columns) != 1:
        there = ", ".join(columns) or f"none, only {', '.join(list(features)[:6])}"
        raise DataError(
            f"--data hf: one column of images is needed, there are {there}; name it with"
            " image=COLUMN (latents and vectors: save them as .npy, and take --data arrays)"
        )
    return columns[0]


def _label_column(table: Any, label: str) -> str | None:
    """The column of classes; None for no labels."""
    # Tables may have a column of labels that are no classes, such as boxes.
    if label == NONE:
        return None
    known = tuple(table.features)
    if label != "auto":
        return _present("column", label, known)
    return next((name for name in LABELS if name in known), None)


def _files(table: Any, column: str, labels: str | None, split: str) -> list[ImageFile]:
    """The rows of a table, whose images are read and decoded one by one."""
    import datasets

    for needed in filter(None, (column, labels)):
        if needed not in table.column_names:
            raise DataError(f"--data hf: split {split} has no column {needed}")
    # The encoded bytes: all data sets of images are decoded by the same code.
    encoded = table.cast_column(column, datasets.Image(decode=False))
    # Columns of numbers are read at once: row by row the library takes minutes for a million.
    numbers = [0] * len(table) if labels is None else list(table[labels])
    files = []
    for row, number in enumerate(numbers):
        where = f"{split}[{row}]"
        read = partial(_bytes, encoded, column, row)
        files.append(ImageFile(where, checked_label(number, f"{where} of hf"), read))
    return files


def _bytes(table: Any, column: str, row: int) -> bytes:
    """The encoded image of a row, which is in the table or in a file that it names."""
    image = table[row][column]
    if image is None:
        raise DataError(f"--data hf: row {row} has no image; filter such rows out of the data set")
    return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
