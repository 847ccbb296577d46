"""The system under test: a session that answers LoadGen's queries.

An exception that leaves a callback would end the process in C++. So the first one is kept, everything after it is
answered unread, and `check` raises it when LoadGen is done.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import mlperf_loadgen
import numpy as np

if TYPE_CHECKING:
    from harness.load.library import SampleLibrary
    from harness.targets.base import Array

CLASS_TYPE = np.dtype("<i8")
"""Type of the predicted class in LoadGen's accuracy log."""
_END = (0, -1)
_Query = tuple[int, int]


class Runs(Protocol):
    """What is needed of a session."""

    def run(self, batch: Array) -> Array:
        """Outputs (N, classes) for a batch (N, C, H, W)."""

    def prepared(self, batch: Array) -> Callable[[], object]:
        """An inference of this batch as a call."""


class SystemUnderTest:
    """Runs the samples of queries in batches of at most `batch_size` and reports them to LoadGen."""

    def __init__(self, session: Runs, library: SampleLibrary, batch_size: int, *, logs_predictions: bool) -> None:
        self._session = session
        self._library = library
        self._batch_size = batch_size
        self._logs_predictions = logs_predictions
        self._error: Exception | None = None
        self._prepared: dict[int, Callable[[], object]] = {}

    def load(self, indices: Sequence[int]) -> None:
        """Hold samples ready, before LoadGen starts its clock; where no prediction is asked for, bound to buffers."""
        self._library.load(indices)
        try:
            if not self._logs_predictions:
                batches = {index: self._library.batch([index]) for index in indices}
                self._prepared = {index: self._session.prepared(batch) for index, batch in batches.items()}
        except Exception as error:
            self._error = error

    def unload(self, indices: Sequence[int]) -> None:
        """Free what was loaded."""
        self._prepared.clear()
        self._library.unload(indices)

    def answer(self, ids: Sequence[int], indices: Sequence[int]) -> None:
        """One query: identities for LoadGen, and indices of test samples. Returns when all are answered."""
        for start in range(0, len(ids), self._batch_size):
            end = start + self._batch_size
            self._answer_batch(ids[start:end], indices[start:end])

    def check(self) -> None:
        """Raise what went wrong in a callback."""
        if self._error is not None:
            raise self._error

    def _answer_batch(self, ids: Sequence[int], indices: Sequence[int]) -> None:
        classes = None
        if self._error is None:
            try:
                classes = self._infer(indices)
            except Exception as error:
                self._error = error
        response = mlperf_loadgen.QuerySampleResponse
        if classes is None:
            answers = [response(each, 0, 0) for each in ids]
        else:
            place, size = classes.ctypes.data, CLASS_TYPE.itemsize
            answers = [response(each, place + number * size, size) for number, each in enumerate(ids)]
        mlperf_loadgen.QuerySamplesComplete(answers)

    def _infer(self, indices: Sequence[int]) -> Array | None:
        """Run the samples; their classes where they are asked for."""
        if len(indices) == 1 and self._prepared:
            self._prepared[indices[0]]()
            return None
        outputs = self._session.run(self._library.batch(indices))
        return outputs.argmax(axis=1).astype(CLASS_TYPE) if self._logs_predictions and outputs.ndim == 2 else None


class QueuedSystem(SystemUnderTest):
    """Answers in the thread that opened the session, for some devices know no other, while LoadGen goes on issuing."""

    def __init__(self, session: Runs, library: SampleLibrary, batch_size: int, *, logs_predictions: bool) -> None:
        super().__init__(session, library, batch_size, logs_predictions=logs_predictions)
        self._queries: queue.SimpleQueue[_Query] = queue.SimpleQueue()

    def enqueue(self, ids: Sequence[int], indices: Sequence[int]) -> None:
        """One query, to be answered later."""
        for query in zip(ids, indices, strict=True):
            self._queries.put(query)

    def serve(self, start_test: Callable[[], None]) -> None:
        """Run LoadGen's test in a thread of its own, and answer here until it ends."""

        def test() -> None:
            try:
                start_test()
            finally:
                self._queries.put(_END)

        issuing = threading.Thread(target=test, name="loadgen")
        issuing.start()
        while _END not in (waiting := self._take()):
            self._answer_batch([query[0] for query in waiting], [query[1] for query in waiting])
        issuing.join()

    def _take(self) -> list[_Query]:
        """Queries that wait, at least one and at most a batch."""
        waiting = [self._queries.get()]
        while len(waiting) < self._batch_size and not self._queries.empty():
            waiting.append(self._queries.get())
        return waiting
