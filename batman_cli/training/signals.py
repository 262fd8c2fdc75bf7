"""A run that is asked to end does so after the step it is in, with everything saved."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)


class Ending:
    """A block in which the first signal to end is only noted; the second ends at once."""

    def __init__(self, on_signal: Callable[[], None]) -> None:
        """on_signal: called when the first one comes."""
        self._on_signal = on_signal
        self.signal: int | None = None  # the one that came
        self._before: dict[int, Any] = {}  # what was done on each signal

    def __enter__(self) -> Self:
        """Takes the signals over; outside of the main thread Python does not allow that."""
        if threading.current_thread() is threading.main_thread():
            # Whoever started this process may have had signals ignored, as nohup does.
            heard = [n for n in SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        for other, handler in self._before.items():
            signal.signal(other, handler)
        self._on_signal()
