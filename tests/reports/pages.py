"""A parser of reports: tags, text, tables, cells and list items, each with its place."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "wbr", "path", "use", "rect"}
_TEXTS = ("td", "th", "li", "h3", "h4", "caption")


def code(title):
    """``fd_classifier, test`` of a title in words, which has the code name in brackets."""
    return re.sub(r"^[^()]*\(([\w.]+_[\w.]+|w2)\)", r"\1", title)


class Page(HTMLParser):
    """One or several pages of HTML; all tags must be closed.

    Attributes:
        tags: all tags with their attributes.
        text: all text but styles and scripts.
        tables: section, headings, ``class``, ``caption`` and ``rows``, lists of cells of which the
            first is the head; a ``<small>`` within a cell is set off by ``|``.
        items: section, headings and ``text`` of list items.
        cells: of each cell of a table, its attributes and those of the elements around it, the head
            of its row, its ``text``, and the texts of ``small`` elements in it.

    """

    def __init__(self, *html):
        super().__init__()
        self.tags = []
        self.text = ""
        self.tables = []
        self.items = []
        self.cells = []
        self._place = dict.fromkeys(("section", "h3", "h4", "view"), "")
        self._open = []
        self._head = ""
        self._into = None  # the tag whose text is collected, and the text
        for one in html:
            self.feed(one)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append((tag, attributes))
        if tag == "section":
            self._place = {
                **dict.fromkeys(self._place, ""),
                "section": attributes["aria-labelledby"],
            }
        elif tag == "table":
            kind = attributes.get("class", "")
            self.tables.append({**self._place, "class": kind, "caption": "", "rows": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag == "td":
            self._begin_cell()
        if tag == "small" and self._within("td"):
            self.cells[-1]["small"].append("")
        if tag == "small" and self._into:
            self._into[1].append(" | ")
        elif tag in _TEXTS or (tag == "p" and attributes.get("class") == "view"):
            self._into = (tag, [])

    def _begin_cell(self):
        around = {}
        for _, attributes in self._open:
            around |= attributes
        self.cells.append({**around, "head": self._head, "text": "", "small": []})

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop()[0] == tag, tag
        if not self._into or self._into[0] != tag:
            return
        text = "".join(self._into[1]).strip()
        self._into = None
        if tag in ("td", "th"):
            text = code(text) if tag == "th" else text
            self.tables[-1]["rows"][-1].append(text)
            self._head = text if tag == "th" else self._head
        elif tag == "li":
            self.items.append({**self._place, "text": text})
        elif tag == "caption":
            self.tables[-1]["caption"] = code(text)
        else:
            below = {"h3": {"h4": "", "view": ""}, "h4": {"view": ""}}
            self._place |= below.get(tag, {})
            self._place["view" if tag == "p" else tag] = code(text)

    def handle_data(self, data):
        if self._into:
            self._into[1].append(data)
        if self._within("td"):
            if self._within("small"):
                self.cells[-1]["small"][-1] += data
            else:
                self.cells[-1]["text"] += data
        if not self._open or self._open[-1][0] not in ("style", "script"):
            self.text += data

    def _within(self, tag):
        return any(name == tag for name, _ in self._open)


def site(entry):
    """The entry page and those of the comparisons next to it, the summary from the entry only."""
    pages = sorted(entry.parent.glob("comparison-*.html"))
    summary = re.compile(r'<section aria-labelledby="summary">.*?</section>', re.DOTALL)
    others = [summary.sub("", page.read_text()) for page in pages]
    return Page(entry.read_text(), *others)
