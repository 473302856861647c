"""Configuration of the documentation site; ``make docs`` builds it."""

import nllgen

project = "nllgen"
author = copyright = "The nllgen authors"
version = release = nllgen.__version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
highlight_language = "none"
myst_heading_anchors = 3  # of links such as science.md#measures, as a code host names them

html_theme = "furo"
html_title = f"nllgen {release}"
html_copy_source = False
