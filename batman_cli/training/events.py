"""A training run for TensorBoard, whose package is optional: its only home, loaded when used.

Written by its record writer and not by torch's `SummaryWriter`, which writes in a thread of its
own: a full disk is to be told where it is met, and not in a traceback of that thread.
"""

# protobuf makes its classes when they are loaded.
# pyright: reportAttributeAccessIssue=false

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self


class Events:
    """A new file of events beside those of earlier runs. All methods raise OSError."""

    def __init__(self, folder: Path, *, from_step: int) -> None:
        """Begins the file; TensorBoard hides what earlier ones hold after `from_step`.

        Raises ImportError without the package `tensorboard`.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        folder.mkdir(exist_ok=True)
        # TensorBoard reads the files in the order of their names.
        path = folder / f"events.out.tfevents.{time.time_ns()}"
        self._file = path.open("xb", buffering=0)
        self._writer = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        self._write(step=from_step + 1, session_log=SessionLog(status=SessionLog.START))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self._file.close()

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Adds numbers, shown as "group/name"."""
        tagged = [
            self._summary.Value(tag=f"{group}/{name}", simple_value=value)
            for name, value in values.items()
        ]
        self._write(step=step, summary=self._summary(value=tagged))

    def picture(self, tag: str, png: bytes, height: int, width: int, step: int) -> None:
        """Adds a picture; png: its whole file."""
        image = self._summary.Image(height=height, width=width, encoded_image_string=png)
        shown = self._summary.Value(tag=tag, image=image)
        self._write(step=step, summary=self._summary(value=[shown]))

    def _write(self, **fields: object) -> None:
        event = self._event(wall_time=time.time(), **fields)
        self._writer.write(event.SerializeToString())
