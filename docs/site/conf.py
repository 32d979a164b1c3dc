"""Sphinx's settings; ``make docs`` runs it over the folder that ``stage.py`` lays out.

The reference is read from the source text (autoapi): neither TensorFlow nor kdet is imported.
"""

import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

project = "kdet"
author = "The kdet developers"
release = re.search(
    r'__version__ = "(.+)"', (ROOT / "kdet" / "__init__.py").read_text(encoding="utf-8")
).group(1)
version = release

extensions = ["myst_nb", "autoapi.extension", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
# tests/docs/test_notebooks.py runs the notebooks
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "strikethrough"]
myst_heading_anchors = 4
# other renderers strike text out too; the warning is about output that is not HTML
suppress_warnings = ["myst.strikethrough"]

# an attribute that a class describes is not described again where it is a property
napoleon_use_ivar = True

html_theme = "furo"
html_title = "kdet"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_js_files = ["zoo.js"]
html_show_sourcelink = False

autoapi_dirs = [str(ROOT / "kdet")]
autoapi_root = "docs/api"
autoapi_add_toctree_entry = False
autoapi_member_order = "groupwise"
autoapi_python_class_content = "both"
autoapi_options = ["members", "show-inheritance", "show-module-summary", "imported-members"]
autoapi_ignore = ["*/kdet/cli/*"]

# single backticks name code, as in Markdown
default_role = "code"

# Modules that users import from besides the packages' own names.
PUBLIC_MODULES = {
    *("kdet", "kdet.config", "kdet.contract", "kdet.errors", "kdet.registry", "kdet.results", "kdet.targets"),
    *("kdet.typing", "kdet.zoo", "kdet.export.saved_model", "kdet.export.tflite", "kdet.visualize"),
}
ROOMS = {
    path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("kdet/**/__init__.py")
}


def skip(app, what, name, obj, skipped, options):
    """Leaves out the modules behind a package's public names; those names stand on the package's page."""
    if what in ("module", "package"):
        return name not in PUBLIC_MODULES | ROOMS
    return skipped


def setup(app):
    app.connect("autoapi-skip-member", skip)
