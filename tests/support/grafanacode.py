"""Grafana's own code in a real Chromium: what a panel shows of the frames that its data source gives, and its drawing.

The packages come from npm, pinned by ``tests/support/grafana/<version>/package-lock.json``, and are bundled with
``tests/support/grafana/page.js``, once for all clones: the bundle is in ~/.cache/shipper-tests.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any, Final

from chromium import Browser, chromium
from grafana_target import Page, frames
from sharing import held

FOLDER: Final = Path(__file__).parent / "grafana"
VERSIONS: Final = ("11", "13")
_LONGEST_S: Final = 280
_BUNDLE: Final = (
    *("--bundle", "--format=iife", "--platform=browser", "--log-level=error", "--alias:@shipper/table=./table.js"),
    *("--loader:.svg=dataurl", "--loader:.ttf=empty", "--loader:.woff=empty", "--loader:.woff2=dataurl"),
    '--define:process.env.NODE_ENV="production"',
)
# Two packages cannot be resolved between the releases on npm
_ALIASES: Final = (
    "--alias:react-router-dom-v5-compat=react-router-dom",
    "--alias:@grafana/plugin-compat/datasources=../datasources.js",
)


Responses = Sequence[Mapping[str, Any]]
_THEN: Final = "(arguments[0]).then(arguments[1], (error) => arguments[1]({error: `${error.stack}`}))"
_DISPLAY: Final = f"displays{_THEN}"
_DRAW: Final = f"draw{_THEN}"


@dataclass(frozen=True)
class Drawn:
    """A dashboard as it is drawn: its height in pixels, and by panel title the texts and sizes of ``draw.js``."""

    height: int
    panels: Mapping[str, Mapping[str, Any]]


class Grafana:
    """Grafana's packages of one version."""

    def __init__(self, version: str, browser: Browser) -> None:
        self.version = version
        self._browser = browser
        self._run = browser.driver.execute_async_script

    def panel(self, page: Page, panel: Mapping[str, Any], responses: Responses) -> Any:
        """What is shown: numbers of a stat, rows of a table, names and colours of the lines."""
        return self.panels(page, [panel], {panel["title"]: responses})[panel["title"]]

    def panels(
        self, page: Page, panels: Sequence[Mapping[str, Any]], responses: Mapping[str, Responses]
    ) -> dict[str, Any]:
        """What is shown of each of ``panels``, by title."""
        framed = [{"panel": one, "frames": list(frames(one, responses[one["title"]]))} for one in panels]
        shown = self._run(_DISPLAY, {**_page(page), "panels": framed})
        assert isinstance(shown, list), shown["error"]
        return {one["title"]: of for one, of in zip(panels, shown, strict=True)}

    def menu(self, page: Page) -> Any:
        """Titles and addresses of the dashboard's links."""
        return self._run("arguments[1](menu(arguments[0]))", _page(page))

    def intervals_ms(self, page: Page) -> dict[str, int]:
        """The width of the time buckets of each chart, by title."""
        panels = [one for one in page.panels if one["type"] == "timeseries"]
        wanted = [{"interval": one["interval"], "maxDataPoints": one["maxDataPoints"]} for one in panels]
        found = self._run("arguments[1](intervals(arguments[0]))", {**_page(page), "panels": wanted})
        return {one["title"]: int(width) for one, width in zip(panels, found, strict=True)}

    def draw(self, page: Page, responses: Mapping[str, Responses], width: int, theme: str = "dark") -> Drawn:
        """Draw the whole dashboard, as wide as a window of ``width`` pixels. ``responses``: by panel title."""
        panels = [
            {"panel": panel, "frames": list(frames(page.whole(panel), responses[panel["title"]]))}
            if panel["type"] not in ("row", "text")
            else {"panel": panel, "frames": []}
            for panel in page.dashboard["panels"]
        ]
        self._size(width, 1080)
        done = self._run(_DRAW, {**_page(page), "panels": panels, "width": width, "theme": theme})
        assert "error" not in done, done["error"]
        titles = {str(one["panel"]["id"]): one["panel"]["title"] for one in panels}
        return Drawn(done["height"], {titles[id_]: shown for id_, shown in done["panels"].items()})

    def picture(self, path: Path, width: int, height: int) -> None:
        """What is drawn, as PNG."""
        self._size(width, height)
        self._browser.driver.save_screenshot(str(path))

    def _size(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _page(page: Page) -> dict[str, Any]:
    when = {"from": str(page.when.first_ms), "to": str(page.when.last_ms)}
    return {"dashboard": page.dashboard, "chosen": {"datasource": "es", **page.chosen}, "range": when}


def bundled(version: str) -> Path:
    """A page with ``page.js`` and the packages of ``version``; made where it is not, or of other sources."""
    own = FOLDER / version
    sources = [*sorted(FOLDER.glob("*.js")), *(own / name for name in ("package-lock.json", "table.js"))]
    known = hashlib.sha256(b"".join([repr(_BUNDLE + _ALIASES).encode(), *(one.read_bytes() for one in sources)]))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shipper-tests"
    cache.mkdir(parents=True, exist_ok=True)
    made = cache / f"grafana-{version}-{known.hexdigest()[:16]}"
    with held(made.with_suffix(".lock")):  # several workers may need it at once
        if not (made / "page.html").exists():
            _install(own)
            _bundle(version, own, made)
    return made / "page.html"


def _install(own: Path) -> None:
    if not (own / "node_modules/.package-lock.json").exists():
        install = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps", "--silent")
        subprocess.run(install, cwd=own, check=True, timeout=_LONGEST_S)


def _bundle(version: str, own: Path, directory: Path) -> None:
    known = (f"--define:GRAFANA={version}", *(_ALIASES if version == "13" else ()), f"--outfile={directory}/page.js")
    bundler = ("node_modules/.bin/esbuild", "../page.js", *_BUNDLE, *known)
    environment = {"NODE_PATH": str(own / "node_modules"), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    subprocess.run(bundler, cwd=own, check=True, timeout=_LONGEST_S, env=environment)
    style = '<link rel="stylesheet" href="page.css">'
    text = f'<!doctype html><meta charset="utf-8">{style}<body><script src="page.js"></script>'
    (directory / "page.html").write_text(text)  # last: with it the folder is complete


@contextmanager
def grafana(version: str) -> Iterator[Grafana]:
    """Grafana's packages of ``version`` in a browser."""
    page = bundled(version)
    with chromium() as browser:
        browser.driver.get(page.as_uri())
        browser.driver.set_script_timeout(60)
        yield Grafana(version, browser)


def main() -> None:
    """Bundle both versions ahead of the tests, whose writes to the disk make npm ten times slower."""
    for version in VERSIONS if which("npm") else ():
        bundled(version)


if __name__ == "__main__":
    main()
