"""The report: results as one self-contained HTML page that needs neither a server nor the network."""

from timm_pushpull.figures.report.html_page import TITLE, render

__all__ = ["TITLE", "render"]
