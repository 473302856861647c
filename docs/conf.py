"""Configuration of the documentation site; ``make docs`` builds it."""

import nllgen

project = "nllgen"
author = copyright = "The nllgen authors"
version = release = nllgen.__version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
highlight_language = "none"
smartquotes = False  # options keep their two dashes
myst_heading_anchors = 3  # of links such as science.md#measures, as a code host names them

html_theme = "furo"
html_title = f"nllgen {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
