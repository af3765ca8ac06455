import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright.retrieval.batching import MicroBatcher, by_length


@given(st.lists(st.integers(1, 300)), st.integers(1, 600))
def test_batches_hold_every_text_once_within_the_limit(lengths: list[int], most: int) -> None:
    batches = by_length(lengths, most)
    assert sorted(number for batch in batches for number in batch) == list(range(len(lengths)))
    flat = [lengths[number] for batch in batches for number in batch]
    assert flat == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or max(lengths[number] for number in batch) * len(batch) <= most


class Counting:
    """Doubles numbers, slowly, and notes what it was given at once."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.most_at_once = 0
        self._seconds = seconds
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, items: list[int]) -> Sequence[int]:
        with self._lock:
            self.batches.append(items)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


def one(_: int) -> int:
    return 1


def test_a_lone_caller_runs_at_once_in_its_own_thread() -> None:
    threads: list[int] = []

    def run(items: list[int]) -> list[int]:
        threads.append(threading.get_ident())
        return items

    batcher = MicroBatcher(run, one, most=4, lanes=1)
    assert batcher([1, 2, 3, 4, 5, 6]) == [1, 2, 3, 4, 5, 6]
    assert batcher([]) == []
    assert threads == [threading.get_ident()] * 2


@pytest.mark.parametrize("lanes", [1, 2])
def test_callers_at_one_time_share_runs(lanes: int) -> None:
    run = Counting(seconds=0.02)
    batcher = MicroBatcher(run, one, most=8, lanes=lanes)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: batcher([number, number + 1000]), range(100, 164)))
    assert found == [[2 * number, 2 * (number + 1000)] for number in range(100, 164)]
    assert sorted(item for batch in run.batches for item in batch) == sorted([*range(100, 164), *range(1100, 1164)])
    assert run.most_at_once <= lanes
    assert max(map(len, run.batches)) > 2
    assert max(map(len, run.batches)) <= 8


def test_a_batch_is_as_large_as_its_longest_allows() -> None:
    run = Counting()
    MicroBatcher(run, lambda number: number, most=20, lanes=1)([5, 4, 10, 10, 1, 30, 1])
    assert run.batches == [[5, 4], [10, 10], [1], [30], [1]]


def test_a_failure_is_told_to_those_it_concerns() -> None:
    run = Counting(seconds=0.005)
    batcher = MicroBatcher(run, one, most=1, lanes=2)

    def asked(number: int) -> object:
        try:
            return batcher([number])[0]
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(asked, range(30)))
    assert found == ["13" if number == 13 else 2 * number for number in range(30)]
    assert batcher([7]) == [14]
