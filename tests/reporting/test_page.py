from __future__ import annotations

import pytest

from oamn_plugin.reporting.page import Section, data_uri, render_markdown, render_page, slug


def test_text_is_escaped_everywhere() -> None:
    page = render_page("<i>", "<i>", [Section("<i>", ["<i>"], bullets=["<i>"])], footer="<i>")
    assert "<i>" not in page


def test_words_between_asterisks_are_bold_and_escaped() -> None:
    page = render_page("T", "lead", [Section("S", bullets=["**a's <i>**: b", "oamn train 'a/**/b' **c**"])])
    assert "<li><strong>a&#39;s &lt;i&gt;</strong>: b</li>" in page
    assert "<li>oamn train &#39;a/**/b&#39; **c**</li>" in page, "a command is as it was typed"


def test_markdown_without_pictures_folder_leaves_them_out() -> None:
    assert render_markdown("T", "lead", [Section("S", ["x"], bullets=["b"])]) == "# T\n\nlead\n\n## S\n\nx\n\n- b\n"


def test_unknown_image_is_refused() -> None:
    with pytest.raises(ValueError, match="PNG, JPEG or SVG"):
        data_uri(b"GIF89a")


def test_name_without_letters_has_a_slug() -> None:
    assert slug("±") == "unnamed"


def test_names_put_no_html_into_the_markdown_report() -> None:
    page = render_markdown("<script>", "<!-- ", [Section("<script>", ["</script>"], bullets=["<script", "p < 0.05"])])
    assert "<script" not in page
    assert "<!--" not in page
    assert "p < 0.05" in page
