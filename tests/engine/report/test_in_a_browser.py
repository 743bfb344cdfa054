"""The pages as people meet them: opened from the disk in a real Chromium, with its console and its network watched."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attention_dmfnet.files.cases import ScanFile
from attention_dmfnet.files.image_io import write_labels, write_volume
from attention_dmfnet.report.afterwards import report_cases
from attention_dmfnet.report.run_report import RunReport

from evaluation.organs import ORGANS
from tests.engine.tiny import block_phantom

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    # WebGL 2 without a graphics card
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,900",
)
READY_WITHIN_S = 600.0
"""Shaders are compiled and drawn by the processor here, which other tests may keep busy."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on three cases, one of which has no label map."""
    scans, outputs = tmp_path_factory.mktemp("scans"), tmp_path_factory.mktemp("outputs")
    ct, labels = block_phantom()
    cases = [scans / name for name in ("a #1 50% ü_0000.nii.gz", "b.nii.gz", "c.nii.gz")]
    for path, name in zip(cases, ("a #1 50% ü", "b"), strict=False):
        write_volume(ct, path)
        labels.array[0:2] = 0 if name == "b" else 3
        write_labels(labels, outputs / f"{name}.nii.gz")
    write_volume(ct, cases[2])
    report = RunReport({organ: label for label, organ in enumerate(ORGANS, start=1)}, "0.0.0")
    report.finish(list(report_cases([ScanFile(path) for path in cases], outputs, report)), outputs)
    return outputs


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        reason = "no Chromium here: apt-get install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    chromium = _begun(binary, driver, tmp_path_factory)
    try:
        # what a page computes may take longer than the half a minute that is allowed otherwise
        chromium.set_script_timeout(READY_WITHIN_S)
        chromium.set_page_load_timeout(READY_WITHIN_S)
        chromium.get("about:blank")
        yield chromium
    finally:
        chromium.quit()


def _begun(binary: str, driver: str, folders: pytest.TempPathFactory, tries: int = 5) -> Any:
    """Both have a minute at most to begin, whatever is set: on a busy machine they are begun again."""
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service

    for left in reversed(range(tries)):
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in (*FLAGS, f"--user-data-dir={folders.mktemp('profile')}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        try:
            return webdriver.Chrome(options=options, service=Service(driver))
        except WebDriverException:
            if not left:
                raise
    return None


def _open(browser: Any, path: Path) -> None:
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(path.as_uri())


def _open_case(browser: Any, pages: Path, name: str = "b") -> None:
    _open(browser, pages / "report" / f"{name}.html")
    state = _once(lambda: browser.execute_script("return document.documentElement.dataset.viewer"))
    assert state == "ready", browser.execute_script("return document.getElementById('said').textContent")


def _once(what: Callable[[], Any]) -> Any:
    """What ``what()`` returns as soon as that is true, whichever page is there by then."""
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException

    until = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            found = what()
        # the page of before is gone, or the next one's elements are not there yet
        except (NoSuchElementException, StaleElementReferenceException):
            found = None
        if found:
            return found
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def _arrives(browser: Any, heading: str) -> None:
    """A link was followed: wait for the page with this heading."""
    _once(lambda: _element(browser, "h1").text == heading)


def _errors(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def _requests(browser: Any) -> list[str]:
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"]


def _picture(browser: Any, view: str = "planes") -> int:
    """A number that changes with the pixels of a canvas."""
    seen: int = browser.execute_script(
        """
        const viewer = window.report[arguments[0]], gl = viewer.gl;
        viewer.drawScene();
        const pixels = new Uint8Array(4 * gl.drawingBufferWidth * gl.drawingBufferHeight);
        gl.readPixels(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
        return pixels.reduce((sum, value, i) => (sum * 31 + value * (i % 251 + 1)) % 1000000007, 0);
        """,
        view,
    )
    return seen


def _element(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def test_a_case_opens_from_the_disk_without_an_error_and_nothing_is_asked_of_a_network(
    browser: Any, pages: Path
) -> None:
    _open_case(browser, pages)
    assert _errors(browser) == []
    requests = _requests(browser)
    assert requests[0] == (pages / "report" / "b.html").as_uri()
    assert {url.partition(":")[0] for url in requests[1:]} <= {"data", "blob"}


def test_what_a_page_tries_to_send_is_stopped_by_its_policy(browser: Any, pages: Path) -> None:
    for path in (pages / "report.html", pages / "report" / "b.html"):
        _open(browser, path)
        stopped = browser.execute_async_script(
            """
            const done = arguments[0], stopped = [];
            document.addEventListener("securitypolicyviolation", (event) => {
              stopped.push(event.effectiveDirective);
              if (stopped.length === 4) done(stopped);
            });
            new Image().src = "https://example.org/image";
            fetch("https://example.org/fetch").catch(() => 0);
            const script = document.createElement("script");
            script.textContent = "window.foreign = 1";
            document.body.append(script);
            const form = document.createElement("form");
            form.action = "https://example.org/form";
            document.body.append(form);
            form.submit();
            """
        )
        assert sorted(stopped) == ["connect-src", "form-action", "img-src", "script-src-elem"]
        assert browser.execute_script("return window.foreign") is None


@pytest.mark.parametrize("view", ["planes", "solid"])
def test_an_organ_that_is_switched_off_goes_and_comes_back(browser: Any, pages: Path, view: str) -> None:
    _open_case(browser, pages)
    whole = _picture(browser, view)
    box = _element(browser, "#organs input[value='1']")
    box.click()
    without = _picture(browser, view)
    assert without != whole
    box.click()
    assert _picture(browser, view) == whole
    _element(browser, "#organs button[value='none']").click()
    assert _picture(browser, view) not in (whole, without)
    _element(browser, "#organs button[value='all']").click()
    assert _picture(browser, view) == whole


def test_slices_scroll_by_slider_key_and_wheel(browser: Any, pages: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    _open_case(browser, pages)
    seen = [_picture(browser)]
    slider = _element(browser, "#axial")
    at = int(slider.get_property("value"))
    # the arrow key on a slider is what a keyboard has
    slider.send_keys("\ue014")
    assert int(slider.get_property("value")) == at + 1
    seen.append(_picture(browser))
    place = _element(browser, "#place").text
    canvas = _element(browser, "#planes")
    corner = ScrollOrigin.from_element(canvas, -canvas.size["width"] // 4, -canvas.size["height"] // 4)
    ActionChains(browser).scroll_from_origin(corner, 0, 120).perform()
    _once(lambda: _element(browser, "#place").text != place)
    seen.append(_picture(browser))
    assert len(set(seen)) == 3


def test_the_place_under_the_cross_is_told_with_its_hu_and_organ(browser: Any, pages: Path) -> None:
    _open_case(browser, pages)
    # it begins in the largest organ's middle; organ n of the phantom has -200 + 50 n HU
    where, hu, organ = _element(browser, "#place").text.split(" · ")
    assert where.startswith("LPS ")
    label = ORGANS.index(organ) + 1
    expected = -200 + 50 * label
    if expected > 308:
        assert hu == "308 or more HU"
    else:
        assert abs(int(hu.split()[0]) - expected) <= 2


def _column(browser: Any, number: int) -> list[str]:
    cells = browser.find_elements("css selector", f"tbody tr > :nth-child({number})")
    return [cell.text for cell in cells]


def test_the_tables_sort_by_mouse_and_keyboard(browser: Any, pages: Path) -> None:
    _open_case(browser, pages)
    heading = _element(browser, "thead th:nth-child(2)")
    assert _column(browser, 1)[0] == "liver"
    _element(browser, "thead th:nth-child(2) button").click()
    volumes = [float(text) for text in _column(browser, 2)]
    assert volumes == sorted(volumes)
    assert heading.get_attribute("aria-sort") == "ascending"
    _element(browser, "thead th:nth-child(2) button").send_keys("\ue007")
    assert [float(text) for text in _column(browser, 2)] == volumes[::-1]
    assert heading.get_attribute("aria-sort") == "descending"


def test_the_index_lists_every_case_and_leads_to_its_page(browser: Any, pages: Path) -> None:
    _open(browser, pages / "report.html")
    assert _column(browser, 1) == ["a #1 50% ü", "b", "c"]
    assert "there is no label map" in _column(browser, 3)[2]
    _element(browser, "thead th:nth-child(3) button").click()
    _element(browser, "thead th:nth-child(1) button").click()
    _element(browser, "thead th:nth-child(1) button").click()
    assert _column(browser, 1) == ["c", "b", "a #1 50% ü"]
    _element(browser, "tbody a").click()
    _arrives(browser, "b")
    browser.back()
    _arrives(browser, "3 cases")
    # by its name: whether the page is still sorted is the browser's to decide
    browser.find_element("link text", "a #1 50% ü").click()
    _arrives(browser, "a #1 50% ü")
    _element(browser, "nav a").click()
    _arrives(browser, "3 cases")
    assert _errors(browser) == []


def test_a_screen_reader_finds_a_name_for_everything(browser: Any, pages: Path) -> None:
    _open_case(browser, pages)
    nameless = browser.execute_script(
        """
        const label = (e) => e.getAttribute("aria-label") || e.alt || e.textContent || e.labels?.[0]?.textContent;
        const named = (e) => (label(e) || "").trim();
        return [...document.querySelectorAll("img, canvas, button, input, [role=img], th, a")]
          .filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80));
        """
    )
    assert nameless == []


def test_the_window_says_its_hu(browser: Any, pages: Path) -> None:
    _open_case(browser, pages)
    before = _picture(browser)
    slider = _element(browser, "#window-low")
    slider.send_keys("\ue014")
    assert _element(browser, "[data-of=window-low]").text == slider.get_property("value") == "-159"
    slider.send_keys("\ue00e")
    assert _picture(browser) != before
    assert _errors(browser) == []


def test_the_page_is_dark_where_people_want_it_dark(browser: Any, pages: Path) -> None:
    _open(browser, pages / "report.html")
    backs = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        shown = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        backs.append(sum(int(part) for part in shown.strip("rgb()").split(",")) / 3)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert backs[0] > 200
    assert backs[1] < 60


def test_a_page_stays_below_4_mb(pages: Path) -> None:
    assert all(path.stat().st_size < 4_000_000 for path in (pages / "report").iterdir())
