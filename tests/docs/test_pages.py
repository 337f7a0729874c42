"""The documentation holds: its generated page is up to date, its links lead somewhere, its Python blocks run."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from load_script import load_script

from oamn_plugin.benchmark.suite import Method, Suite, load_suite
from oamn_plugin.hosts.fastreid.config import load_config

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NO_RUN = "<!-- no-run -->"
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:src|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^(?P<fence>```+|~~~+)(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*$", re.MULTILINE)
KEPT_OUT = {"datasets", "logs", "log", "output", "build", "dist"}


def page_names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def prose(page: Path) -> str:
    """A page without its code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def links(page: Path) -> Iterator[str]:
    for match in LINK.finditer(prose(page)):
        target = match[1] or match[2]
        if not re.match(r"[a-z][a-z0-9+.-]*:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = set(re.findall(r"(?:id|name)=\"([^\"]+)\"", text))
    for heading in HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def python_blocks(page: Path) -> list[str]:
    """The blocks marked ``python`` that no ``<!-- no-run -->`` stands before."""
    text = page.read_text(encoding="utf-8")
    return [
        # empty lines in front, so that a traceback names the line of the page
        "\n" * (text.count("\n", 0, match.start()) + 1) + match["code"]
        for match in FENCE.finditer(text)
        if match["info"].strip() == "python" and not text[: match.start()].rstrip().endswith(NO_RUN)
    ]


@pytest.mark.parametrize("page", PAGES, ids=page_names(PAGES))
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        place = (page.parent / name) if name else page
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            broken.append(target)
    assert not broken, f"{page.name}: nothing at {', '.join(broken)}"


@pytest.fixture
def clone(tmp_path: Path, embedded_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that looks like a clone and keeps what is written out of it."""
    for entry in ROOT.iterdir():
        if entry.name not in KEPT_OUT and not entry.name.startswith("."):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "crops").symlink_to(next(embedded_root.glob("*/query")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTREID_DATASETS", str(embedded_root))
    return tmp_path


WITH_CODE = [page for page in PAGES if python_blocks(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=page_names(WITH_CODE))
def test_python_blocks_run(page: Path, clone: Path) -> None:
    """The blocks of a page are one program, from top to bottom."""
    blocks = python_blocks(page)
    if any("hosts.fastreid" in block for block in blocks):
        pytest.importorskip("fastreid")
    so_far: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), so_far)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    return load_script(ROOT / "docs" / "make_configuration.py")


def test_the_configuration_page_is_up_to_date(maker: ModuleType) -> None:
    assert maker.main(["--check"]) == 0, "run python docs/make_configuration.py"


def test_the_configuration_page_has_every_key_once(maker: ModuleType) -> None:
    pytest.importorskip("fastreid")
    from oamn_plugin.configurations import flat
    from oamn_plugin.hosts.fastreid.config import add_oamn_config, get_cfg

    before, after = get_cfg(), get_cfg()
    add_oamn_config(after)
    ours = set(flat(after)) - set(flat(before)) | {"MODEL.LOSSES.NAME"}  # the host's, with a default of ours
    shown = re.findall(r"(?:^\| |<br>)`([A-Z][A-Z0-9_.]*)`(?= \||<br>)", maker.render().split("## MODEL.OAMN")[1], re.M)
    assert sorted(shown) == sorted(ours)


def test_defaults_on_the_page_are_those_of_the_code(maker: ModuleType) -> None:
    pytest.importorskip("fastreid")
    from oamn_plugin.hosts.fastreid.config import add_oamn_config, get_cfg

    cfg = get_cfg()
    add_oamn_config(cfg)
    for group in maker.read_keys(maker.CONFIG.read_text(encoding="utf-8")):
        for name, value in group.keys:
            node = cfg
            for part in name.split("."):
                node = node[part]
            assert node == ast.literal_eval(value), name


def test_a_key_without_a_comment_is_refused(maker: ModuleType) -> None:
    source = "def _add_x_keys(cfg):\n    # one\n    cfg.A = 1\n    cfg.B = CfgNode()\n    cfg.B.C = 2\n"
    with pytest.raises(ValueError, match=r"line 5: B\.C has no comment above it"):
        maker.read_keys(source)


def test_a_field_without_a_doc_is_refused(maker: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"Options\.new must have a string"):
        maker.read_field_docs("class Options:\n    new: int = 0\n    other: int = 1\n    'text'\n")
    assert maker.read_field_docs("class Options:\n    pool: int = 0\n    '''a\n    b'''\n") == {"pool": "a b"}


def test_the_counts_of_data_sets_are_those_of_the_code() -> None:
    from oamn_plugin.datasets.catalogue import CATALOGUE
    from oamn_plugin.datasets.embedded import SIZES

    shown = {row[0]: row for row in table_rows(ROOT / "docs" / "datasets.md") if len(row) > 4}
    for name, entry in CATALOGUE.items():
        sizes = [f"{one.pids:,} / {one.images:,}" if one else "-" for one in (entry.train, entry.query, entry.gallery)]
        trains_on = "itself" if entry.trains_on == name else f"`{entry.trains_on}`"
        assert shown[f"`{name}`"][2:] == [trains_on, *sizes]
    for name, size in SIZES.items():
        train, queries = size.train_ids * size.train_images, f"{size.test_ids * size.queries:,}"
        assert shown[f"`{name}`"][1:] == [
            f"{size.train_ids} / {train:,}", str(size.test_ids), queries, queries,
            f"{size.test_ids * size.gallery_images:,}", str(size.cameras), f"{size.height} x {size.width}",
        ]  # fmt: skip


def table_rows(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_tests_and_files_that_the_pages_name_are_there() -> None:
    known = {
        name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    places = [
        ROOT,
        ROOT / "oamn_plugin",
        ROOT / "oamn_plugin/hosts/fastreid",
        ROOT / "tests",
        ROOT / "configs/Market1501",
    ]
    missing = []
    for page in PAGES:
        spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))
        missing += [f"{page.name}: {span}" for span in spans if re.fullmatch(r"test_\w+", span) and span not in known]
        files = [span for span in spans if re.fullmatch(r"[\w./-]+\.(py|yml)", span)]
        missing += [f"{page.name}: {file}" for file in files if not any((place / file).exists() for place in places)]
    assert not missing


def test_the_citation_is_of_this_version() -> None:
    import yaml

    from oamn_plugin import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert (len(citation["references"][0]["authors"]), citation["references"][0]["year"]) == (8, 2021)


def commands(page: Path) -> Iterator[list[str]]:
    """Words of every `oamn ...` line in a page's code blocks that can be run as it stands."""
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        if match["info"].strip() in ("bash", "console", ""):
            for line in match["code"].replace("\\\n", " ").splitlines():
                if line.startswith("oamn "):
                    yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("page", PAGES, ids=page_names(PAGES))
def test_commands_on_the_pages_are_commands(page: Path) -> None:
    """Every command, option and configuration that a page names is there."""
    from oamn_plugin.cli.main import COMMANDS, module_of
    from oamn_plugin.configurations import config_files

    configs = {name.lower() for name in config_files()}
    for name, *words in commands(page):
        assert name in COMMANDS, name
        parser = importlib.import_module(module_of(name)).build_parser()
        parse = parser.parse_intermixed_args if name in ("train", "held-out") else parser.parse_args
        try:
            args = parse(words)
        except SystemExit as error:
            raise AssertionError(f"oamn {name} {shlex.join(words)}") from error
        if name == "train" and len(args.opts) % 2 and not args.opts[0].endswith(".yml"):
            assert args.opts[0].lower() in configs, args.opts[0]


def test_blocks_marked_no_run_are_left_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"```python\na = 1\n```\n{NO_RUN}\n```python\n1 / 0\n```\n```bash\nls\n```\n~~~python\nb = 2\n~~~\n"
    )
    assert [block.strip() for block in python_blocks(page)] == ["a = 1", "b = 2"]


def test_code_is_not_searched_for_links(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('[a](x.md#y "t") `[b](no.md)`\n```\n[c](no.md)\n```\n<img src="p.svg"> [d](https://e.org)\n')
    assert list(links(page)) == ["x.md#y", "p.svg"]


def test_anchors_are_those_of_the_headings(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c, d-e\n```\n# no\n```\n## [Link](x.md) 2\n")
    assert anchors(page) == {"a-b-c-d-e", "link-2"}


def test_the_suite_of_the_benchmark_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    (block,) = (match["code"] for match in FENCE.finditer(text) if match["info"].strip() == "yaml")
    (tmp_path / "suite.yml").write_text(block, encoding="utf-8")
    suite = load_suite(tmp_path / "suite.yml")
    for method in suite.methods:
        load_config(method.config, [*suite.opts, *method.opts])
    keys = {name.strip("` ") for row in re.findall(r"^\| (`.*?) \|", text, re.M) for name in row.split(",")}
    assert {field.name for field in fields(Suite)} <= keys
    assert all(f"`{field.name}" in text for field in fields(Method))
    assert {f"configs/suites/{path.name}" for path in (ROOT / "configs" / "suites").glob("*.yml")} <= keys
