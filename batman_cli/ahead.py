"""One thread that works ahead, so that reading and computing overlap."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Iterable[T], *, depth: int = 2) -> Generator[T]:
    """The items in order, up to `depth` of them made before they are asked for.

    An exception of `items` is raised here, in its place. Closing the iterator ends the thread.
    """
    # Not queue.Queue: Ctrl-C inside its get leaves it locked, and the thread would wait for ever.
    ready: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
    places: queue.SimpleQueue[None] = queue.SimpleQueue()
    wanted = True

    def work() -> None:
        try:
            for item in items:
                places.get()
                if not wanted:
                    return
                ready.put((item, None))
            ready.put((None, StopIteration()))
        except BaseException as error:
            ready.put((None, error))

    for _ in range(depth):
        places.put(None)
    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            places.put(None)
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        wanted = False
        places.put(None)
        thread.join()
