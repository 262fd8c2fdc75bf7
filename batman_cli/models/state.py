"""What a network remembers between frames."""

from typing import NamedTuple

from torch import Tensor


class State(NamedTuple):
    """Memory of a network; every tensor lies over the whole frame, so a tile of it can be cut."""

    seen: int  # frames taken in so far
    tensors: tuple[Tensor, ...]  # each (B, C, h/s, w/s), s a whole number, for planes (h, w)
