"""Where things lie on a picture of a system: the same columns and rows for a roll and its sheet, so that nothing is resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

QUARTER_WIDTHS = (6, 12)
"""The staff spaces that a quarter is wide: the narrow one where all notes of a system have room, else the wide one."""

HEADER_WIDTH, GUTTER_WIDTH, SYSTEM_WIDTH = (
    12,
    3,
    80,
)  # staff spaces: clef and key signature; the room before each measure; the whole picture
CLEF_X, KEY_X, KEY_SPACING = 0.5, 4.0, 1.0  # staff spaces from the left: the clef; the first accidental of the key, and each next
PANEL_HEIGHTS = {1: 16, 2: 20}  # staff spaces that each of so many staves has from top to bottom


@dataclass(frozen=True)
class Layout:
    """The geometry of pictures of one staff, or of the two staves of a piano, at ``space`` pixels a staff space (4 or 8).

    Rows count from the top. A panel holds one staff, its middle line in the middle; a step is half a space.
    """

    staves: int = 1
    space: int = 4

    @property
    def width(self) -> int:
        """Of every picture, in pixels."""
        return SYSTEM_WIDTH * self.space

    @property
    def panel_height(self) -> int:
        """The height of one staff's panel in pixels."""
        return PANEL_HEIGHTS[self.staves] * self.space

    @property
    def height(self) -> int:
        """Of one system."""
        return self.staves * self.panel_height

    @property
    def systems_per_page(self) -> int:
        """How many stand one below the other on a page, which is square."""
        return self.width // self.height

    @property
    def step_height(self) -> int:
        """The pixels of a step."""
        return self.space // 2

    def middle_row(self, staff: int) -> int:
        """The row of a staff's middle line."""
        return staff * self.panel_height + self.panel_height // 2

    def line_rows(self, staff: int) -> list[int]:
        """The rows of its five lines."""
        return [self.middle_row(staff) + k * self.space for k in range(-2, 3)]

    def step_rows(self, staff: int, position: int) -> slice:
        """The rows of a step, counted from the middle line upwards."""
        top = self.middle_row(staff) - position * self.step_height
        return slice(top, top + self.step_height)

    @property
    def max_position(self) -> int:
        """The highest position that fits in a panel; the lowest is its negative."""
        return self.panel_height // self.space - 1

    def downbeat_columns(self, measures: Sequence[Fraction], quarter_width: int) -> list[int]:
        """The column at which each measure's first beat stands, and the one after the end where the next would."""
        column, zeros = (HEADER_WIDTH + GUTTER_WIDTH) * self.space, []
        for length in measures:
            zeros.append(column)
            column += self.width_of(length, quarter_width) + GUTTER_WIDTH * self.space
        return [*zeros, column]

    def width_of(self, quarters: Fraction, quarter_width: int) -> int:
        """The width of a time in pixels, to the nearest one."""
        return round(quarters * quarter_width * self.space)

    def barline_column(self, zero: int) -> int:
        """The column of the bar line before a measure whose first beat stands at a column."""
        return zero - (GUTTER_WIDTH - 1) * self.space

    def fits(self, measures: Sequence[Fraction], quarter_width: int) -> bool:
        """Whether so many measures fit on a system, with the bar line that ends them."""
        return self.barline_column(self.downbeat_columns(measures, quarter_width)[-1]) < self.width
