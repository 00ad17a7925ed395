"""``make docs``: Sphinx makes build/docs from the Markdown of the whole repository, which reads as well where it is."""

from shipper import __version__

project = "shipper"
copyright = "the authors of metrics-shipper"  # noqa: A001 – Sphinx' name
version = release = __version__
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
include_patterns = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    *(
        "docs/*.md",
        "docs/**/*.md",
        "units/*.md",
        "dashboards/*.md",
        "mappings/*.md",
        "bench/*.md",
        "tests/fault/README.md",
    ),
]
root_doc = "docs/index"
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
html_theme = "furo"
html_title = f"shipper {__version__}"
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # ES|QL, and examples with an ellipsis
