"""Counts of skipped or unusual files, with one example per kind."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """A kind of finding in words, for one and for many; ``skipped`` if such a file is not read."""

    one: str
    many: str
    skipped: bool = True


HIDDEN = Kind("hidden file or folder", "hidden files or folders")
OTHER = Kind("file that is not an image", "files that are not images")
EMPTY = Kind("empty folder", "empty folders")
CIRCLE = Kind("link back to a folder above it", "links back to folders above them")
UNUSED = Kind("image outside the two splits", "images outside the two splits")
REPEATED = Kind("earlier zip entry of the same name", "earlier zip entries of the same name")
LOST = Kind("label without an image", "labels without an image")
ANIMATED = Kind(
    "animation is read as its first frame", "animations are read as their first frame", False
)
DEEP = Kind(
    "image with 16 bits per channel is read as 8",
    "images with 16 bits per channel are read as 8",
    False,
)
COPY = Kind(
    "held-out image is also a training image", "held-out images are also training images", False
)


@dataclass(frozen=True)
class Remarks:
    """Counts the findings of one reading; the first of a kind is its example."""

    counts: dict[Kind, int] = field(default_factory=dict)
    examples: dict[Kind, str] = field(default_factory=dict)

    def add(self, kind: Kind, example: str) -> None:
        """Count one more."""
        # Counted, not listed: a folder may hold thousands.
        self.counts[kind] = self.counts.get(kind, 0) + 1
        # The first one: files come sorted, so the same folder gives the same line.
        self.examples.setdefault(kind, example)

    def phrases(self) -> tuple[str, ...]:
        """One phrase for each kind, such as ``2 empty folders (a/b)``; the skipped ones first, in
        one phrase.
        """
        skipped = [self._phrase(kind) for kind in self.counts if kind.skipped]
        phrases = [self._phrase(kind) for kind in self.counts if not kind.skipped]
        if skipped:
            phrases.insert(0, f"skipped: {', '.join(skipped)}")
        return tuple(phrases)

    def _phrase(self, kind: Kind) -> str:
        count = self.counts[kind]
        words = kind.one if count == 1 else kind.many
        return f"{count:,} {words} ({printable(self.examples[kind])})"


def printable(name: str) -> str:
    """A file's name as it can be printed in one line: odd characters, such as line breaks, are
    escaped.
    """
    shown = ""
    for letter in name:
        # Line breaks and terminal codes are legal in names of files.
        if not letter.isprintable():
            letter = letter.encode("unicode_escape").decode("ascii")
        shown += letter
    return shown
