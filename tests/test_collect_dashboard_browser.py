"""The researcher's dashboard in Chromium: the link logs in once, and it fits every screen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from browser import chromium as chromium
from browser import needs_browser
from collect_world import Person, make_study, served
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from luab_data.collect.dashboard import login_token
from luab_data.collect.serve import Opened

pytestmark = needs_browser
SCREENS = Path(os.environ["LUAB_SCREENS"]) if "LUAB_SCREENS" in os.environ else None
"""Folder to keep what was seen in, for somebody who looks at it."""


def wait(driver: Any, css: str, text: str = "") -> Any:
    """An element, once it is there and says a text."""
    stale = [StaleElementReferenceException]  # the page draws anew what has changed
    return WebDriverWait(driver, 15, 0.05, stale).until(
        lambda _: next(
            (e for e in driver.find_elements(By.CSS_SELECTOR, css) if text in e.text), None
        )
    )


def work(study: Opened) -> Person:
    """One who finds all, one who finds nothing, and one, who is returned, on the first page."""
    layout = [[20 + 330 * (k % 3), 200 + 360 * (k // 3), 270, 348] for k in range(6)]
    begun = {"type": "resize", "page": 0, "t": 1, "layout": layout, "viewport": [1080, 900],
             "ratio": 1}  # fmt: skip
    path = [
        {"type": "move", "page": 0, "t": 10 * k, "slot": None, "x": 60 + 9 * k, "y": 250 + 5 * k}
        for k in range(90)
    ]
    click = {"type": "click", "slot": 4, "page": 0, "t": 910, "fx": 0.6, "fy": 0.4, "state": True}
    for selected in ([*range(6)], [], None):
        person = Person(study)
        assert person.do(begun, *path, click).status_code == 200
        for page in range(2) if selected is not None else ():
            person.submit(page, {"selected": selected, "failed": []})
    return person


def widest(driver: Any) -> float:
    """How far to the right anything reaches, px."""
    return float(driver.execute_script(
        "return Math.max(document.documentElement.scrollWidth,"
        " ...[...document.querySelectorAll('button, td, select, input, svg')]"
        " .map((e) => e.getBoundingClientRect().right))"
    ))  # fmt: skip


def keep(driver: Any, name: str) -> None:
    if SCREENS is not None:
        driver.save_screenshot(str(SCREENS / f"dashboard-{name}.png"))


def follow(driver: Any, address: str, ann: Person) -> None:
    """Watch somebody at work: what they do appears, and plays from the start."""
    driver.get(f"{address}/researcher")
    wait(driver, "td button").click()
    wait(driver, ".replay .hint", "0.9 s of 0.9 s")
    more = {"type": "click", "slot": 0, "page": 0, "t": 1501, "fx": 0.1, "fy": 0.1, "state": True}
    ann.do(more)
    wait(driver, ".replay .hint", "1.5 s of 1.5 s")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".frame.selected")) == 2
    wait(driver, ".replay button", "Play").click()
    wait(driver, ".replay button", "Stop")
    wait(driver, ".replay button", "Play")
    wait(driver, ".replay .hint", "1.5 s of 1.5 s")


def decide(driver: Any) -> None:
    """Reject the one who found nothing, for a reason; then change the mind about it."""
    button = "[data-session='2'] button[aria-label^=Decide]"
    wait(driver, button)
    press = f'document.querySelector("{button}").click()'  # at once: it may be drawn anew
    driver.execute_script(press)
    reason = driver.find_element(By.CSS_SELECTOR, "dialog [name=reason]")
    assert reason.get_attribute("value").startswith("0 of 6 known pictures")  # as suggested
    reason.clear()
    driver.find_element(By.CSS_SELECTOR, "dialog .main").click()
    assert driver.find_elements(By.CSS_SELECTOR, "dialog[open]")  # a rejection needs a reason
    reason.send_keys("nothing was looked at")
    driver.find_element(By.CSS_SELECTOR, "dialog .main").click()
    cell = "[data-session='2'] [data-name=Decision]"
    wait(driver, cell, "rejected nothing was looked at")
    driver.execute_script(press)
    driver.find_element(By.CSS_SELECTOR, "dialog [value=accept]").click()
    bonus = driver.find_element(By.CSS_SELECTOR, "dialog [name=bonus]")
    bonus.clear()
    bonus.send_keys("0.25")
    driver.find_element(By.CSS_SELECTOR, "dialog .main").click()
    wait(driver, cell, "0.25 USD of bonus")
    wait(driver, ".count", "2.75 USD to pay")


def test_the_link_logs_in_once_and_the_page_fits_its_screen(chromium: Any, tmp_path: Path):
    driver = chromium
    changes = {"usd = 0.0": "usd = 2.5", "expires_minutes = 60": "expires_minutes = 60\n",
               "overlap = 1": "overlap = 2"}  # fmt: skip
    with served(make_study(tmp_path, "browsing", changes=changes)) as (study, address):
        ann = work(study)
        driver.get_log("browser")
        for width in (1400, 390):
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": width, "height": 1400, "deviceScaleFactor": 1, "mobile": width < 500,
            })  # fmt: skip
            driver.get(f"{address}/researcher#{login_token(study.people.secret)}")
            wait(driver, "tbody tr")
            assert driver.current_url == f"{address}/researcher"  # the token is in no history
            badges = [e.text for e in driver.find_elements(By.CSS_SELECTOR, ".badge")]
            assert badges == ["wait", "reject", "accept"]
            assert widest(driver) <= width
            keep(driver, f"{width}")
            driver.find_elements(By.CSS_SELECTOR, "td button")[0].click()
            wait(driver, ".replay .hint", "0.9 s of 0.9 s")
            drawn = driver.execute_script(
                "return [document.querySelectorAll('.replay image').length,"
                " document.querySelectorAll('.frame.selected').length,"
                " document.querySelector('.path').points.numberOfItems]"
            )
            assert drawn == [6, 1, 91]
            assert widest(driver) <= width
            keep(driver, f"replay-{width}")
            driver.get("about:blank")
        follow(driver, address, ann)
        decide(driver)
        driver.get(f"{address}/researcher")  # the cookie is enough
        wait(driver, "#pause", "Pause").click()
        wait(driver, "#said", "nobody new")
        wait(driver, "#logout").click()
        wait(driver, ".login p", "logged out")
        driver.refresh()
        wait(driver, ".login p", "link")
        keep(driver, "login-390")
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        console = [e["message"] for e in driver.get_log("browser")]
        assert [m for m in console if "401" not in m] == []  # no script, no policy complains
