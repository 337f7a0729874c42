"""The page in a real browser: an image in, both rankings out, errors in words, nothing reachable but what was given."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from run_tool import TOOLS, run_tool
from search_runs import make_run, model_options

from oamn_plugin.cli.app import Session, build_parser, serve
from oamn_plugin.errors import ExpectedError

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1100"),
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
pytest.importorskip("gradio")
webdriver = pytest.importorskip("selenium.webdriver")


@pytest.fixture(scope="module")
def world(embedded_root, tmp_path_factory):
    """The address of a running page, and the data set it searches."""
    folder = tmp_path_factory.mktemp("app")
    run = make_run(folder / "model", embedded_root)
    other = make_run(folder / "stranger", embedded_root, seed=1)
    data = next(embedded_root.glob("OccludedPedestrians-tiny*"))
    for model, place in ((run, "gallery"), (other, "other/gallery")):
        index = ["index", data / "bounding_box_test", "--out", folder / place, "--types", "none"]
        assert run_tool("search.py", *index, *model_options(model)).code == 0
    indexes = [folder / "gallery", folder / "other" / "gallery"]
    command = [sys.executable, TOOLS / "app.py", "--index", *indexes, "--port", "0"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, "TMPDIR": str(folder)}) as process:  # fmt: skip
        try:
            assert process.stdout
            address = next(iter(re.findall(r"http://\S+", process.stdout.readline())))
            wait_until(lambda: answers(address))
            yield address, data
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def wait_until(condition, seconds: float = 60):
    """The condition's first true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # the page is still being drawn
            if value := condition():
                return value
        time.sleep(0.2)
    raise AssertionError("the page did not get there in time")


def answers(address: str) -> bool:
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(address, timeout=5).status == 200
    return False


def upload(browser, address: str, path: Path) -> None:
    browser.get(address)
    wait_until(lambda: browser.find_elements("css selector", "#upload input[type=file]"))[0].send_keys(str(path))


def test_an_image_gives_both_rankings(world, browser):
    address, data = world
    query = sorted((data / "query").glob("*.jpg"))[0]
    upload(browser, address, query)
    wait_until(lambda: len(browser.find_elements("css selector", "#results .card")) == 20)
    headings = [one.text.splitlines()[0] for one in browser.find_elements("css selector", "#results h3")]
    assert headings == ["Unified", "Plain"]
    results = browser.find_element("css selector", "#results")
    assert query.name in results.text
    assert "confidence" in results.text or "not occluded" in results.text
    broken = "return [...document.images].filter(i => i.complete && !i.naturalWidth).length"
    assert browser.execute_script(broken) == 0


def test_nothing_leaves_the_computer(world, browser):
    address, _ = world
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert any(url.startswith(address) for url in asked)
    own = (address, "data:", "blob:", "chrome:", "about:")
    assert not [url for url in asked if not url.startswith(own)]


def test_a_file_that_is_no_image(world, browser, tmp_path):
    address, _ = world
    (tmp_path / "holiday.jpg").write_text("<script>alert(1)</script>")
    upload(browser, address, tmp_path / "holiday.jpg")
    problem = wait_until(lambda: browser.find_element("css selector", "#results .problem").text)
    assert problem.startswith("cannot read the image 'holiday.jpg': not an image of a known format")


def test_two_galleries_of_one_name_are_both_there_each_with_its_model(world, browser):
    address, data = world
    upload(browser, address, sorted((data / "query").glob("*.jpg"))[0])
    wait_until(lambda: "model/model_final.pth" in browser.find_element("css selector", "#results .model").text)
    wait_until(lambda: browser.find_element("css selector", "#gallery input")).click()
    choice = "//ul[@role='listbox']//*[normalize-space(text())='other/gallery']"
    wait_until(lambda: browser.find_element("xpath", choice)).click()
    wait_until(lambda: "stranger/model_final.pth" in browser.find_element("css selector", "#results .model").text)


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Host": "evil.example:7860"}]
)
def test_other_names_and_other_sites_get_nothing(world, headers):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(urllib.request.Request(world[0], headers=headers), timeout=20)
    assert error.value.code == 403


@pytest.mark.parametrize("path", ["/etc/passwd", str(TOOLS.parent / "README.md"), str(TOOLS / "app.py")])
def test_other_files_cannot_be_read(world, path):
    address, _ = world
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{address}/gradio_api/file={path}", timeout=20)
    assert error.value.code in (403, 404)


def test_other_files_cannot_be_searched_for(world):
    address, data = world
    path = str(sorted((data / "query").glob("*.jpg"))[0])
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, "gallery", 5]}
    request = urllib.request.Request(
        f"{address}/gradio_api/call/search", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    event = json.loads(urllib.request.urlopen(request, timeout=20).read())["event_id"]
    with urllib.request.urlopen(f"{address}/gradio_api/call/search/{event}", timeout=60) as answer:
        text = answer.read().decode()
    assert "event: error" in text
    assert "card" not in text


def test_only_this_computer_reaches_it(world):
    address, _ = world
    assert address.startswith("http://127.0.0.1:")
    port = int(address.rsplit(":", 1)[1].strip("/"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells which address the network would see
        except OSError:
            pytest.skip("this computer has no network")
        outside = probe.getsockname()[0]
    if outside.startswith("127."):
        pytest.skip("this computer has no network")
    with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
        socket.create_connection((outside, port), timeout=3)


def test_a_port_that_was_taken_meanwhile_was_told_in_gradios_words():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        args = build_parser().parse_args(["--port", str(taken.getsockname()[1])])
        with pytest.raises(ExpectedError, match="Try again, or with another --port"):
            serve(Session({"gallery": Path("gallery")}, {}), args)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", "{tmp}"], "is no gallery index"),
        (["--run", "{tmp}"], "it has no config.yaml"),
        (["--port", "70000"], "--port must lie between 0"),
        (["--port", "-1"], "--port must lie between 0"),
        (["--port", "{port}"], "Choose another --port"),
    ],
)
def test_errors_are_one_line_and_nothing_is_printed_before(world, tmp_path, arguments, message):
    port = world[0].rsplit(":", 1)[1].strip("/")
    result = run_tool("app.py", *[word.format(tmp=tmp_path, port=port) for word in arguments])
    assert (result.code, result.out, len(result.err.strip().splitlines())) == (2, "", 1)
    assert message in result.err
