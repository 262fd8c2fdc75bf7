"""Black levels as a DNG states them: with fractions, by their place in the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CellLevels = tuple[float, float, float, float]  # R G1 G2 B of the cell that starts on red
ROUNDING = 1.0  # raw units: decoders give whole numbers


@dataclass(frozen=True)
class BlackLevels:
    """Levels that repeat over the picture (DNG 1.7: BlackLevelRepeatDim, BlackLevel)."""

    values: tuple[float, ...]  # raw units, rows x columns of them, row by row
    rows: int
    columns: int
    top: int = 0  # the pixel of the raw image where the repetition starts: that of the ActiveArea
    left: int = 0

    def at(self, top: int, left: int, *, decoded: CellLevels) -> CellLevels:
        """Mean level of each colour, for a mosaic whose first cell is at this pixel, raw units.

        decoded: the decoder's own levels, whole numbers, which come back where they differ by more
        than rounding and order: it knows of samples that are scaled and of tags that are wrong.
        """
        if min(decoded) < min(self.values) - ROUNDING or max(decoded) > max(self.values) + ROUNDING:
            return decoded
        top, left = top - self.top, left - self.left
        return (
            self._mean(top, left),
            self._mean(top, left + 1),
            self._mean(top + 1, left),
            self._mean(top + 1, left + 1),
        )

    def _mean(self, row: int, column: int) -> float:
        """Mean of every second level from a place on, in both directions."""
        # As many steps as levels come round at any length, also at an odd one.
        rows = (row % self.rows + 2 * np.arange(self.rows)) % self.rows
        columns = (column % self.columns + 2 * np.arange(self.columns)) % self.columns
        levels = np.reshape(self.values, (self.rows, self.columns))
        return float(levels[np.ix_(rows, columns)].mean())


def black_levels(
    values: Sequence[float], repeat: Sequence[float], area: Sequence[float]
) -> BlackLevels | None:
    """What three tags state, None where they make no sense.

    values: BlackLevel; repeat: BlackLevelRepeatDim, rows and columns; area: ActiveArea, the first
    pixel of the visible area and the one behind its last, empty where that starts at 0, 0.
    """
    if len(repeat) != 2 or min(repeat) < 1 or len(values) != int(repeat[0]) * int(repeat[1]):
        return None
    top, left = area[:2] if len(area) == 4 else (0, 0)
    return BlackLevels(tuple(values), int(repeat[0]), int(repeat[1]), int(top), int(left))
