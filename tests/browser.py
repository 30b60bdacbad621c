"""Chromium for tests of pages, started once a file; the tests skip loudly where it is not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
_DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (_BROWSER and _DRIVER),
    reason="no chromium or chromedriver: apt-get install chromium chromium-driver",
)
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def chromium_options(profile: Path) -> dict[str, Any]:
    """What webdriver.Chrome takes."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(_BROWSER)
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return {"options": options, "service": Service(str(_DRIVER))}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    driver = webdriver.Chrome(**chromium_options(tmp_path_factory.mktemp("profile")))
    driver.set_script_timeout(30)
    yield driver
    driver.quit()
