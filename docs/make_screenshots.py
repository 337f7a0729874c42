"""Makes the pictures of docs/images from the embedded data set: the page, the HTML result, rank lists, masks, views.

python docs/make_screenshots.py [--run RUN_DIR] [--data FOLDER]

Without --run it uses the packaged model. Needs Chromium and chromedriver: pip install selenium, apt install
chromium chromium-driver.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
MATCHED = ["--unification", "matched"]
sys.path.insert(0, str(ROOT))


def tool(name: str, *arguments: object) -> None:
    """Runs a command of tools/ in this process."""
    code = runpy.run_path(str(ROOT / "tools" / name))["main"]([str(argument) for argument in arguments])
    if code:
        sys.exit(code)


def open_browser(width: int, height: int) -> Any:
    """A headless Chromium that speaks to nobody but the pages it is shown."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--window-size={width},{height}", f"--user-data-dir={tempfile.mkdtemp()}"),
    ):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def wait_for(browser: Any, selector: str, seconds: float = 600) -> Any:
    """The first element that a selector finds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := browser.find_elements("css selector", selector):
            return found[0]
        time.sleep(0.3)
    sys.exit(f"the page shows no {selector}")


def shoot_result(page: Path, target: Path) -> None:
    """The HTML result of a search."""
    browser = open_browser(1360, 1150)
    browser.get(page.as_uri())
    time.sleep(1)
    browser.save_screenshot(str(target))
    browser.quit()


def shoot_app(index: Path, query: Path, target: Path) -> None:
    """The local page after an upload."""
    command = [sys.executable, str(ROOT / "tools" / "app.py"), "--index", str(index), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = re.findall(r"http://\S+", process.stdout.readline())[0]
        browser = open_browser(1360, 1250)
        try:
            for _ in range(100):
                try:
                    browser.get(address)
                    break
                except Exception:  # not up yet
                    time.sleep(0.5)
            wait_for(browser, "#upload input[type=file]").send_keys(str(query))
            wait_for(browser, "#results .card")
            time.sleep(2)
            browser.save_screenshot(str(target))
        finally:
            browser.quit()
            process.terminate()


def shrink(path: Path) -> None:
    """Fewer colours: a third of the bytes, looking the same."""
    from PIL import Image

    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def best_query(index: Path, model: list[object], data: Path, folder: Path) -> Path:
    """The query that gains most from matching, of those whose occlusion the first match names rightly."""
    import json

    found = folder / "all.json"
    tool("search.py", "query", data / "query", "--index", index, "--json", found, "--other-cameras", *MATCHED, *model)

    def hits(entries: list[dict[str, Any]], pid: str) -> int:
        return sum(entry["pid"] == pid for entry in entries[:8])

    def gain(query: dict[str, Any]) -> tuple[int, float]:
        first = query["unified"][0]
        more = hits(query["unified"], query["pid"]) - hits(query["plain"], query["pid"])
        return more, first["posterior"][first["type"]]

    from oamn_plugin.datasets.embedded import load_truth

    truth = load_truth(data)
    queries = json.loads(found.read_text(encoding="utf-8"))["queries"]
    named = [q for q in queries if q["unified"][0]["type"] == truth[Path(q["query"]).name].type_name != "none"]
    return Path(max(named, key=gain)["query"])


def main() -> None:
    """Makes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder of a training run; default: the packaged model")
    parser.add_argument("--data", type=Path, help="folder of an embedded data set; default: the demo")
    args = parser.parse_args()
    from oamn_plugin.datasets.embedded import ensure

    data = args.data or ensure(size="demo")
    run = args.run
    model = ["--config-file", run / "config.yaml", "--weights", run / "model_final.pth"] if run else []
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = folder / "street"
        tool("search.py", "index", data / "bounding_box_test", "--out", index, *model)
        query = best_query(index, model, data, folder)
        searched = [query, "--index", index, "--topk", 12, "--other-cameras", *model]
        tool("search.py", "query", *searched, *MATCHED, "--html", folder / "result.html")
        shoot_result(folder / "result.html", IMAGES / "search_result.png")
        shoot_app(index, query, IMAGES / "app.png")
        ranks = ["--other-cameras", "--topk", 8, "--out", IMAGES / "ranks.png"]
        tool("visualize.py", "ranks", query, "--index", index, *ranks, *MATCHED, *model)
        tool("visualize.py", "masks", query, "--out", IMAGES / "masks.png", *model)
    views = ["augmentation", data / "bounding_box_train", "--limit", 3, "--out", IMAGES / "augmentation.png"]
    tool("visualize.py", *views)
    for path in IMAGES.glob("*.png"):
        if path.stem in ("search_result", "app", "ranks", "masks", "augmentation"):
            shrink(path)


if __name__ == "__main__":
    main()
