"""HTML as a browser reads it: its tags, its labels and its text; and that nothing in it could act."""

import html.parser
import re

MARKUP = "<script>alert(1)</script> & \"quoted\" <img src=x onerror='boo'> | a | b |"
PICTURED = str.maketrans({"\x07": "␇", "\x1b": "␛", "\x00": "␀", "\x7f": "␡", "\x85": "\ufffd", "\r": "␍"})
TAGS = {"br", "code", "div", "em", "hr", "img", "li", "ol", "p", "pre", "span", "strong", "ul", "blockquote"}
TAGS |= {"caption", "table", "tbody", "td", "th", "thead", "tr", "h1", "h2", "h3", "h4", "h5", "h6"}
TAGS |= {"details", "progress", "section", "style", "summary"}
ATTRIBUTES = {"alt", "aria-label", "aria-labelledby", "class", "dir", "id", "max", "open", "role", "start", "style"}
ATTRIBUTES |= {"border", "colspan", "scope", "src", "tabindex", "value"}
VOID = {"br", "hr", "img"}


class Reader(html.parser.HTMLParser):
    """What a browser would find in a piece of HTML.

    ``tags`` and ``attributes`` are their names; ``text`` is what is read, ``typeset`` the part of it that MathJax would
    change, ``named`` each element with a label: (its role or tag, the label, its text).
    """

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.images, self.styles = set(), set(), [], ""
        self.text = self.typeset = ""
        self.named = []
        self.open = []  # of each open tag: its name, whether MathJax stays out, and its place in ``named``
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.add(tag)
        self.attributes |= given.keys()
        self.styles += given.get("style") or ""
        if tag == "img":
            self.images.append(given)
        place = None
        if "aria-label" in given:
            place = len(self.named)
            self.named.append((given.get("role") or tag, given["aria-label"], ""))
        if tag not in VOID:
            ignored = "mathjax_ignore" in (given.get("class") or "").split() or (self.open and self.open[-1][1])
            self.open.append((tag, bool(ignored), place))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "style":
            self.styles += data
            return
        self.text += data
        self.typeset += "" if self.open and self.open[-1][1] else data
        for _, _, place in self.open:
            if place is not None:
                role, label, text = self.named[place]
                self.named[place] = role, label, text + data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    handle_decl = handle_pi = unknown_decl = handle_comment

    def labels(self, role):
        """The labels of all elements with this role or tag, in the order of the page."""
        return [label for found, label, _ in self.named if found == role]

    def inside(self, label):
        """The text of the element with this label."""
        (text,) = (text for _, found, text in self.named if found == label)
        return text


def report(settings):
    """All that ``setup()`` reports, what is folded included: the sentences, then a line for each row."""
    card = settings._card()
    return "\n".join([str(card), *(f"{name}  {found}" for name, found in card.rows)])


def read(source):
    """Read HTML of ours: it has to be balanced, MathJax has to leave it alone, and nothing in it may act."""
    found = Reader(source)
    assert found.open == []
    assert not found.typeset.strip(), found.typeset
    assert found.tags <= TAGS, found.tags - TAGS
    assert found.attributes <= ATTRIBUTES, found.attributes - ATTRIBUTES
    assert all(image["src"].startswith("data:image/png;base64,") for image in found.images)
    assert "url(" not in found.styles
    assert "@import" not in found.styles
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", found.text)
    return found
