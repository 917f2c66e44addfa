"""Computing one iteration ahead."""

from __future__ import annotations

import threading
import time

import pytest

from training.errors import DatasetError
from training.prefetch import Prefetched


def test_the_next_value_is_computed_before_it_is_asked_for() -> None:
    computed: list[int] = []
    began = threading.Event()

    def square(itr: int) -> int:
        computed.append(itr)
        if itr == 4:
            began.set()
        return itr * itr

    ahead = Prefetched(square)
    assert ahead(3) == 9
    assert began.wait(5)
    assert ahead(4) == 16
    for thread in threading.enumerate():
        if "prefetch" in thread.name:
            thread.join(5)
    assert computed == [3, 4, 5]  # 4 once
    assert ahead(8) == 64  # not the one that was expected
    assert ahead(9) == 81


def test_an_error_comes_with_its_own_iteration() -> None:
    def fail_at_2(itr: int) -> int:
        if itr == 2:
            raise DatasetError("2 is broken")
        return itr

    ahead = Prefetched(fail_at_2)
    assert [ahead(itr) for itr in (0, 1)] == [0, 1]
    with pytest.raises(DatasetError, match=r"^2 is broken$"):
        ahead(2)
    with pytest.raises(DatasetError, match=r"^2 is broken$"):
        ahead(2)
    assert ahead(1) == 1  # 2 fails in the thread, where nobody needs it
    assert ahead(7) == 7


def test_never_two_at_once() -> None:
    running: list[int] = []
    most: list[int] = []

    def slow(itr: int) -> int:
        running.append(itr)
        most.append(len(running))
        time.sleep(0.01)
        running.remove(itr)
        return itr

    ahead = Prefetched(slow)
    for itr in (0, 1, 9, 3, 4):
        assert ahead(itr) == itr
    assert set(most) == {1}
