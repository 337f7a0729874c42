"""Requests to stop are answered inside a block and nowhere else."""

from __future__ import annotations

import contextlib
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from oamn_plugin.signals import STOPS, answering


def test_a_block_answers_and_gives_the_signals_back() -> None:
    heard: list[int] = []
    before = [signal.getsignal(one) for one in STOPS]
    with contextlib.suppress(ZeroDivisionError), answering(lambda number, _: heard.append(number)):
        for one in STOPS:
            signal.raise_signal(one)
        raise ZeroDivisionError
    assert heard == list(STOPS)
    assert [signal.getsignal(one) for one in STOPS] == before


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with answering(lambda *_: pytest.fail("answered")):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_nothing() -> None:
    def in_thread() -> object:
        with answering(lambda *_: None):
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(in_thread).result() == signal.getsignal(signal.SIGTERM)
