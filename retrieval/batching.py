"""Texts of unequal length as batches: cut by length, or gathered from callers that ask at the same time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


def by_length(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return the numbers of all texts in batches of like length, the longest first.

    A batch, padded to its longest, holds at most `most` tokens, or one text.
    """
    batches: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= most:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches


class MicroBatcher(Generic[_Given, _Made]):
    """Runs together what several threads ask for at once.

    At most `lanes` batches run at a time, each in the thread of a caller. Nobody waits for company: who finds a lane
    free starts, with what others left waiting while all lanes were taken. A batch grows while its `length` padded to
    the longest stays within `most`.
    """

    def __init__(
        self,
        run: Callable[[list[_Given]], Sequence[_Made]],
        length: Callable[[_Given], int],
        most: int,
        lanes: int,
    ) -> None:
        self._run = run
        self._length = length
        self._most = most
        self._free = lanes
        self._changed = threading.Condition()
        self._waiting: deque[tuple[_Given, Future[_Made]]] = deque()

    def __call__(self, items: Sequence[_Given]) -> list[_Made]:
        """Return what `run` makes of each item; raises what it raised for an item's batch."""
        mine: list[Future[_Made]] = [Future() for _ in items]
        with self._changed:
            self._waiting.extend(zip(items, mine, strict=True))
            while not all(future.done() for future in mine):
                if self._free and self._waiting:
                    self._run_next()
                else:
                    self._changed.wait()
        return [future.result() for future in mine]

    def _run_next(self) -> None:
        """Run the batch that has waited longest, with the lock given back meanwhile."""
        batch = self._taken()
        self._free -= 1
        self._changed.release()
        try:
            self._settle(batch)
        finally:
            self._changed.acquire()
            self._free += 1
            self._changed.notify_all()

    def _taken(self) -> list[tuple[_Given, Future[_Made]]]:
        batch = [self._waiting.popleft()]
        longest = self._length(batch[0][0])
        while self._waiting:
            longest = max(longest, self._length(self._waiting[0][0]))
            if longest * (len(batch) + 1) > self._most:
                break
            batch.append(self._waiting.popleft())
        return batch

    def _settle(self, batch: Sequence[tuple[_Given, Future[_Made]]]) -> None:
        try:
            made = self._run([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), one in zip(batch, made, strict=True):
                future.set_result(one)
