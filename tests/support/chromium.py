"""A real Chromium without a window, driven through Debian's chromedriver, and what a report looks like in it."""

import base64
import html
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from shipper.view import unit_formats
from shipper.view.dashboards.ask import Answer, Span
from shipper.view.dashboards.model import Panel, View

_ARGUMENTS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1920,1080", "--hide-scrollbars"),
    # A mouse, as on a desk: without one the buttons of a chart never hide
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
)
_SIZE: Final = {"width": 1920, "height": 1080, "deviceScaleFactor": 1, "mobile": False}
_PATIENCE_S: Final = 180  # a page of several hosts takes over a minute on a busy machine

# What stands in each panel, as drawn: points in plotly's own computed data, numbers in the cells of the document
_READ: Final = """
const number = (text) => text === "" || text === "None" ? null : Number(text);
const points = (trace) => trace[0].trace.type === "heatmap"
  ? {heat: trace[0].z, names: trace[0].trace.y, x: trace[0].x}
  : {name: trace[0].trace.meta, points: trace.filter((one) => typeof one.x === "number" && typeof one.y === "number")
      .map((one) => [one.x, one.s ?? one.y])};
return [...document.querySelectorAll(".board")].map((board) => [...board.querySelectorAll(".panel")].map((panel) => {
  const plot = panel.querySelector(".plot");
  return {
    title: panel.querySelector("h3").textContent,
    empty: panel.querySelector(".empty") !== null,
    names: [...panel.querySelectorAll(".numbers small")].map((one) => one.textContent),
    course: panel.querySelector(".course")?.getBoundingClientRect().height ?? 0,
    numbers: [...panel.querySelectorAll(".numbers b")].map((one) => number(one.dataset.value)),
    rows: [...panel.querySelectorAll("tbody tr")].map((row) =>
      [row.cells[0].textContent, [...row.cells].slice(1).map((cell) => number(cell.dataset.value))]),
    suffix: plot && (plot.layout.yaxis.ticksuffix ?? plot.data[0].colorbar.ticksuffix),
    traces: plot && plot.calcdata.filter((one) => one[0].trace.meta !== "marks").map(points),
    shapes: plot ? plot.querySelectorAll("path.js-line[d], .heatmaplayer image, .scatterlayer .point").length : 0,
  };
}));
"""


class Browser:
    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        """And wait until all is drawn."""
        self.driver.get(path.as_uri())
        over = "const root = document.documentElement; return root.dataset.drawn || !trouble.hidden"
        WebDriverWait(self.driver, _PATIENCE_S).until(lambda driver: driver.execute_script(over))

    def new_tab(self) -> str:
        """Open it and turn to it; its handle."""
        self.driver.switch_to.new_window("tab")
        self.command("Emulation.setDeviceMetricsOverride", **_SIZE)
        return self.driver.current_window_handle

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str) -> Any:
        return WebDriverWait(self.driver, _PATIENCE_S).until(lambda _: self.run(script))

    def command(self, name: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)

    def prefers(self, scheme: str) -> None:
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def hover(self, selector: str) -> None:
        """The mouse over the middle of the first that ``selector`` names."""
        box = self.run("return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()", selector)
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def pdf(self) -> bytes:
        made = self.command("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(made["data"])

    @property
    def console(self) -> list[Any]:
        return list(self.driver.get_log("browser"))  # type: ignore[no-untyped-call]

    @property
    def boards(self) -> list[list[dict[str, Any]]]:
        return list(self.run(_READ))


@contextmanager
def chromium() -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for one in _ARGUMENTS:
        options.add_argument(one)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", _SIZE)
        yield Browser(driver)
    finally:
        driver.quit()


def answer(panel: Panel, when: Span, seen: dict[str, Any]) -> Answer:
    """What ``seen``, one of ``Browser.boards``' panels, says; lines below zero with their own sign."""
    if panel.view is View.STAT:
        if panel.split:
            return Answer(rows={name: [value] for name, value in zip(seen["names"], seen["numbers"], strict=True)})
        titles = [metric.label or panel.title for metric in panel.metrics]
        return Answer(numbers=dict(zip(titles, seen["numbers"], strict=True)))
    if panel.view is View.TABLE:
        return Answer(rows=dict(seen["rows"]))
    factor = _factor(panel.unit, seen["suffix"].strip())
    times = list(when.buckets)
    found = Answer(times=times)
    for i, trace in enumerate(seen["traces"]):
        if "heat" in trace:
            for name, line in zip(trace["names"], trace["heat"], strict=True):
                found.series[html.unescape(name)] = [None if one is None else one * factor for one in line]
            continue
        line = found.series.setdefault(trace["name"], [None] * len(times))
        sign = -1 if panel.metrics[i % len(panel.metrics)].mirrored else 1
        for ms, value in trace["points"]:
            line[times.index(ms)] = sign * value * factor
    return found


def _factor(unit: str, suffix: str) -> float:
    return next(one.factor for one in unit_formats.SCALES[unit] if one.suffix == suffix)
