"""Helpers for all rooms: errors, files, devices, progress bars, the Hub's client, numba decorators."""
