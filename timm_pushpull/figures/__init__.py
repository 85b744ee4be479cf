"""Analyses of networks and results, their plots, and the report page."""
