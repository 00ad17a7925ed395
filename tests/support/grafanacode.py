"""Grafana's own code in a real Chromium: what a panel of a dashboard shows of the frames that its data source gives.

The packages come from npm, pinned by ``tests/support/grafana/<version>/package-lock.json``, and are bundled with
``tests/support/grafana/display.js``.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from chromium import chromium
from grafana_target import Page, frames

FOLDER: Final = Path(__file__).parent / "grafana"
_LONGEST_S: Final = 280
# Fonts and pictures are left out; two packages cannot be resolved between the releases on npm
_BUNDLE: Final = (
    *("--bundle", "--format=iife", "--platform=browser", "--log-level=error"),
    *("--loader:.svg=dataurl", "--loader:.ttf=empty", "--loader:.woff2=empty"),
    '--define:process.env.NODE_ENV="production"',
)
_ALIASES: Final = (
    "--alias:react-router-dom-v5-compat=react-router-dom",
    "--alias:@grafana/plugin-compat/datasources=../datasources.js",
)


class Grafana:
    """``panel`` and ``menu`` of Grafana's packages of one version."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def panel(self, page: Page, panel: Mapping[str, Any], responses: Sequence[Mapping[str, Any]]) -> Any:
        """What is shown: numbers of a stat, rows of a table, names and colours of the lines."""
        return self._run(
            "const done = arguments[1]; display(arguments[0]).then(done, (error) => done({error: `${error.stack}`}))",
            {**_page(page), "panel": panel, "frames": list(frames(page, panel, responses))},
        )

    def menu(self, page: Page) -> Any:
        """Titles and addresses of the dashboard's links."""
        return self._run("arguments[1](menu(arguments[0]))", _page(page))


def _page(page: Page) -> dict[str, Any]:
    when = {"from": str(page.when.first_ms), "to": str(page.when.last_ms)}
    return {"dashboard": page.dashboard, "chosen": {"datasource": "es", **page.chosen}, "range": when}


def bundled(version: str, directory: Path) -> Path:
    """A page with ``display.js`` and the packages of ``version``, which are installed where they are not."""
    own = FOLDER / version
    if not (own / "node_modules/.package-lock.json").exists():
        install = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps", "--silent")
        subprocess.run(install, cwd=own, check=True, timeout=_LONGEST_S)
    bundle = directory / f"display-{version}.js"
    known = (f"--define:GRAFANA={version}", *(_ALIASES if version == "13" else ()), f"--outfile={bundle}")
    bundler = ("node_modules/.bin/esbuild", "../display.js", *_BUNDLE, *known)
    environment = {"NODE_PATH": str(own / "node_modules"), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    subprocess.run(bundler, cwd=own, check=True, timeout=_LONGEST_S, env=environment)
    page = directory / f"display-{version}.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><script src="{bundle.name}"></script>')
    return page


@contextmanager
def grafana(version: str, directory: Path) -> Iterator[Grafana]:
    """Grafana's packages of ``version`` in a browser."""
    page = bundled(version, directory)
    with chromium() as browser:
        browser.driver.get(page.as_uri())
        browser.driver.set_script_timeout(60)
        yield Grafana(browser.driver.execute_async_script)
