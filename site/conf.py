"""The documentation site: README, docs/ and the executed notebooks, as they are in the repository (`make site`).

Nothing is executed. A page asks no other machine for anything: the theme's files are local, formulas are MathML, and
badges, which are pictures from elsewhere, are left out.
"""

import re
import shutil
import tomllib
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

ROOT = Path(__file__).parents[1]

project = "Mixture of Agents: a lesson"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
root_doc = "README"
PAGES = ["*.md", "docs/*.md", "benchmarks/README.md", "moa_helpers/data/SOURCES.md"]
include_patterns = [*PAGES, "notebooks/*.ipynb", "notebooks/real/*.ipynb"]
extensions = ["myst_nb"]
nb_execution_mode = "off"
nb_merge_streams = True
myst_heading_anchors = 4  # as GitHub names them
myst_enable_extensions, myst_dmath_allow_digits = ["dollarmath"], False  # "$1 or $2" is no formula
myst_links_external_new_tab = False

html_theme = "furo"
html_title = project
html_static_path = ["static"]
html_css_files = ["lesson.css"]
html_show_sphinx = html_show_copyright = False
html_copy_source = False
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
html_math_renderer = "mathml"

CONTENTS = """
```{toctree}
:hidden:
:caption: The lesson
:glob:

notebooks/*
notebooks/real/*
```

```{toctree}
:hidden:
:caption: Using it

docs/when-to-use
docs/cheat-sheet
docs/reference
docs/going-live
docs/conversations
docs/many-questions
docs/serve
docs/colab
docs/glossary
```

```{toctree}
:hidden:
:caption: The project

benchmarks/README
moa_helpers/data/SOURCES
CONTRIBUTING
SECURITY
CHANGELOG
```
"""


def as_on_the_site(app, docname, source):
    """Leave out the badges, and put the menu behind the README, which on GitHub does without."""
    source[0] = re.sub(r"\[!\[[^]]*\]\(https?:[^)]*\)\]\([^)]*\)", "", source[0])
    if docname == root_doc:
        source[0] += CONTENTS


def math(translator, node):
    """Write a formula as MathML, which browsers lay out by themselves."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    translator.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode


def add_index(app, problem):
    """Open the README under the address of the folder, too."""
    if problem is None:
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app):
    """Tell Sphinx of the three functions above."""
    app.connect("source-read", as_on_the_site)
    app.connect("build-finished", add_index)
    app.add_html_math_renderer("mathml", inline_renderers=(math, None), block_renderers=(math, None))
