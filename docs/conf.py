"""Documentation site: `make docs` builds it, with warnings as errors and without network."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS / "_ext"), str(ROOT)]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

project = "BitX"
author = "the authors of BitX"
project_copyright = author
version = release = PROJECT["version"]

extensions = [
    "api_pages",
    "api_types",
    "repository_links",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.githubpages",  # .nojekyll: folders that begin with _ are served
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
exclude_patterns = ["README.md", "gallery", "example-accelerator/*.egg-info"]
nitpicky = True
default_role = "py:obj"  # of docstrings; Markdown has none
suppress_warnings = ["config.cache"]

# Pages are read in a browser of the repository, too. So they hold plain Markdown; only index pages have
# directives.
myst_heading_anchors = 4

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": None,
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "remove_config_comments": True,
    "matplotlib_animations": False,
    "reset_modules": ("matplotlib",),
    "image_srcset": ["2x"],
    "write_computation_times": False,
}

html_theme = "furo"
pygments_style = "default"
pygments_dark_style = "monokai"
html_title = f"BitX {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
# A summary would be fetched page by page, which browsers refuse to pages that are opened from a disk.
html_show_search_summary = False
html_theme_options = {"navigation_with_keys": False}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
