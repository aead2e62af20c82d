"""Chromium, as somebody who reads a page has it: what it shows, what it complains of, and what it asks servers for.

Chromium and its driver are Debian's; axe is npm's. `python -m lab install --extras` brings all of them.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from lab.layout import layout
from lab.npm import AXE

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
DESKTOP, PHONE = 1280, 360  # CSS pixels; the narrowest phones that are still sold have 360
_HEIGHT = 800
_SERIOUS = ("serious", "critical")
_FLAGS = (
    "--headless=new",
    # Root may not have Chromium's own sandbox, and the lab needs root. What is opened comes from this machine alone.
    "--no-sandbox",
    "--disable-dev-shm-usage",  # in containers it is too small
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    # Nothing but this machine can be reached, even where a page tried.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--force-color-profile=srgb",  # pictures of one page are the same everywhere
)


@dataclass(frozen=True)
class Look:
    """How a page is looked at: how wide, light or dark, on a screen or on paper, in forced colours or not."""

    width: int = DESKTOP
    scheme: str = "light"
    media: str = "screen"
    forced: bool = False

    @property
    def name(self) -> str:
        """For the name of a test."""
        return "-".join([str(self.width), self.scheme, self.media, *(["forced"] if self.forced else [])])


LOOKS = (
    Look(), Look(scheme="dark"), Look(PHONE), Look(PHONE, "dark"), Look(media="print"), Look(forced=True),
)  # fmt: skip


@dataclass
class Browser:
    """One window. What it has complained of and asked for is of the page that was opened last."""

    driver: webdriver.Chrome
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, url: str, look: Look = Look(), headers: Mapping[str, str] | None = None) -> None:
        """Open a page, and wait until it is there."""
        self.driver.get("about:blank")
        self.look(look)
        self.cdp("Network.setExtraHTTPHeaders", headers=dict(headers or {}))
        self.listen()
        self.complaints, self.requests = [], []
        self.driver.get(url)
        self.listen()

    def look(self, look: Look) -> None:
        """Look at what is open in another way."""
        features = {"prefers-color-scheme": look.scheme, "forced-colors": "active" if look.forced else "none"}
        named = [{"name": name, "value": value} for name, value in features.items()]
        self.cdp("Emulation.setEmulatedMedia", media=look.media, features=named)
        size = {"width": look.width, "height": _HEIGHT, "deviceScaleFactor": 1, "mobile": look.width == PHONE}
        self.cdp("Emulation.setDeviceMetricsOverride", **size)

    def cdp(self, command: str, **given: Any) -> dict[str, Any]:
        """A command of Chromium's own protocol."""
        found: dict[str, Any] = self.driver.execute_cdp_cmd(command, given)
        return found

    def ask(self, expression: str) -> Any:
        """What an expression comes to in the page; a page that may run no script of its own is asked all the same."""
        answer = self.cdp("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    @property
    def text(self) -> str:
        """What a reader sees."""
        return str(self.ask("document.body.innerText"))

    def serious(self) -> list[str]:
        """What axe finds serious or critical: the rule, and where.

        A page that is served under a policy of `sandbox` has no timers, for which axe waits: open it from a file.
        """
        # Where no style names a ground, axe takes it for white, in the dark too; so it is told what is painted there.
        self.ask(
            "if (![document.documentElement, document.body].some("
            "e => getComputedStyle(e).backgroundColor != 'rgba(0, 0, 0, 0)'))"
            " document.documentElement.style.backgroundColor = 'Canvas'"
        )
        if not self.ask("typeof axe == 'object'"):
            self.ask(AXE.path(layout()).read_text(encoding="utf-8") + "; 0")
        found = self.ask("axe.run(document, {resultTypes: ['violations']}).then(done => done.violations)")
        return [
            f"{each['id']}: {node['html'][:200]}: {node.get('failureSummary', '')}"
            for each in found
            for node in each["nodes"]
            if each["impact"] in _SERIOUS
        ]

    def picture(self, file: Path, look: Look, *, height: int) -> None:
        """A picture of the top of the page, `height` CSS pixels high, or less where it ends before."""
        self.look(look)
        whole = int(self.ask("Math.ceil(document.documentElement.getBoundingClientRect().height)"))
        clip = {"x": 0, "y": 0, "width": look.width, "height": min(height, whole), "scale": 1}
        shot = self.cdp("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def listen(self) -> None:
        """Take in what it has complained of and asked for since."""
        self.complaints += [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium of its own, without any state."""
    os.environ["SE_OFFLINE"] = "true"  # Selenium must not fetch a browser or a driver of its own
    for name in ("no_proxy", "NO_PROXY"):  # the driver is on this machine, whatever leads out of it
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1"]))
    options = Options()
    options.binary_location = CHROMIUM
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a process."""
    with chromium() as made:
        yield made


def columns(browser: Browser, name: str) -> Sequence[Sequence[str]]:
    """The cells of the tables in the section of that name, row by row, as a reader sees them."""
    found: list[list[str]] = browser.ask(
        f"[...document.querySelectorAll('section[aria-labelledby={json.dumps(name)}] tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )
    return found
