"""The command line of every command: the nearest known word for a mistyped one."""

from __future__ import annotations

import pytest

from oamn_plugin.cli.main import main


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("search query x.jpg --index i --htlm r.html", "--htlm r.html. Did you mean '--html'?"),
        ("data embeded", "Did you mean 'embedded'?"),
        ("train oamn --evalonly", "Did you mean '--eval-only'?"),
        ("search query x.jpg --index i --unification=matchd", "Did you mean 'matched'?"),
        ("search query x.jpg --indx i", "required: --index. There is no --indx. Did you mean '--index'?"),
        ("train oamn --device cuda", "In training it is a key: MODEL.DEVICE cuda"),
        ("train oamn --epochs 3", "In training it is a key: SOLVER.MAX_EPOCH 60"),
        ("search query x.jpg", "the following arguments are required: --index\n"),
    ],
)
def test_a_mistyped_word_was_only_refused(words: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert hint in capsys.readouterr().err
