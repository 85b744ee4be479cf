"""A real browser without a window, for pages: Chromium of the system, driven by Playwright."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("playwright.sync_api")  # so that a test module that imports this one is skipped
from playwright.sync_api import Browser, Page, expect, sync_playwright

__all__ = ["Browser", "Page", "chromium", "complaints", "expect", "until"]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running Chromium; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("needs chromium, or google-chrome")
    with sync_playwright() as driver:
        # As root, and in containers, Chromium's own sandbox does not start.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def complaints(page: Page) -> list[str]:
    """A list that fills with the page's console errors and uncaught exceptions from here on."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def until(page: Page, expression: str, seconds: float = 30) -> None:
    """Wait until a JavaScript expression is true, also where a page's own policy forbids Playwright's way of asking."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"not true after {seconds:g} s: {expression}"
        page.wait_for_timeout(20)
