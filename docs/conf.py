"""The site: `bash scripts/docs.sh` builds it."""

import importlib
import os
import re
from importlib.metadata import version as version_of
from pathlib import Path

import sphinx_autosummary_accessors

import oceanvar.accessor

HERE = Path(__file__).parent
ROOT = HERE.parent

project = "oceanvar"
author = "The oceanvar developers"
copyright = f"2026, {author}"  # noqa: A001  the name that Sphinx reads
release = version = version_of("oceanvar")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_autosummary_accessors",
    "sphinx_design",
]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
exclude_patterns = ["package.md", "examples"]
root_doc = "index"
default_role = "py:obj"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# A page may be read on its own in the repository too, where it begins at any level.
suppress_warnings = ["myst.header"]
# DOCS_EXECUTE=0 builds the pages of the gallery without running them, and so without knowing their language.
nb_execution_mode = "off" if os.environ.get("DOCS_EXECUTE") == "0" else "cache"
if nb_execution_mode == "off":
    suppress_warnings.append("myst-nb.lexer")
nb_execution_cache_path = str(ROOT / "build" / "docs_cache")
nb_execution_in_temp = True  # pages write files
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "oceanvar"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_sidebars = {"index": [], "install": [], "quickstart": []}
html_show_sourcelink = False


def setup(app):
    """Links to what lies beside the pages, as on the repository's own view, lead nowhere on the site."""
    app.connect("source-read", _without_links_outside)


def _without_links_outside(app, name, source):
    """Turn links to files outside of docs/ into their text."""
    here = (HERE / name).parent

    def kept(found):
        text, target = found.groups()
        path = target.partition("#")[0]
        if re.match(r"\w+:", target) or not path:
            return found[0]
        place = (here / path).resolve()
        is_page = place.suffix == ".md" and place.is_relative_to(HERE) and place.is_file()
        if is_page or place.suffix == ".png":
            return found[0]
        if (place / "index.md").is_file():
            return f"[{text}]({path.rstrip('/')}/index.md)"
        return text

    source[0] = re.sub(r"(?<!!)\[([^\]\n]*(?:\n[^\]\n]+)?)\]\(([^)\s]+)\)", kept, source[0])


def _write_reference():
    """One page for each wing, with all names that its stub has: complete by construction."""
    folder = HERE / "api"
    wings = sorted(stub.parent for stub in (ROOT / "oceanvar").rglob("__init__.pyi"))
    pages = []
    for wing in wings:
        name = ".".join(wing.relative_to(ROOT).parts)
        module = importlib.import_module(name)
        summary = (module.__doc__ or "").splitlines()[0]
        listed = []
        for each in sorted(module.__all__, key=str.lower):
            public = getattr(module, each)
            if getattr(public, "__module__", None):
                listed.append(f"{public.__module__}.{public.__qualname__}")
        if name == "oceanvar":
            listed = [f"oceanvar.{each.rpartition('.')[2]}" for each in listed]
        page = folder / f"{name.rpartition('.')[2]}.rst"
        title = f"{name}"
        text = "\n".join(
            [
                title,
                "=" * len(title),
                "",
                summary,
                "",
                ".. autosummary::",
                "   :toctree: generated",
                "   :nosignatures:",
                "",
                *(f"   ~{each}" for each in listed),
                "",
            ]
        )
        _write(page, text)
        pages.append(page.stem)
    accessors = []
    for kind, cls in (
        ("Dataset", oceanvar.accessor.DatasetAccessor),
        ("DataArray", oceanvar.accessor.DataArrayAccessor),
        ("DataTree", oceanvar.accessor.DataTreeAccessor),
    ):
        methods = [each for each in dir(cls) if not each.startswith("_")]
        accessors += [
            kind,
            "-" * len(kind),
            "",
            ".. currentmodule:: xarray",
            "",
            ".. autosummary::",
            "   :toctree: generated",
            "   :template: autosummary/accessor_method.rst",
            "   :nosignatures:",
            "",
            *(f"   {kind}.varnet.{each}" for each in methods),
            "",
        ]
    title = "The accessor"
    _write(folder / "accessor.rst", "\n".join([title, "=" * len(title), "", *accessors]))
    first = [each for each in pages if each != "oceanvar"]
    lines = ["# Reference", "", "```{toctree}", "oceanvar", "accessor", *first, "```", ""]
    _write(folder / "index.md", "\n".join(lines))


def _write(path, text):
    """Write what has changed only: Sphinx reads what is newer again."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


_write_reference()
