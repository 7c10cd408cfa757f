"""The geometry of a picture of a system. A roll and its sheet share columns and rows, so that nothing is resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

QUARTER_WIDTHS = (6, 12)
"""Widths of a quarter in staff spaces: the narrow one where all notes of a system have room, else the wide one."""

# All lengths are in staff spaces.
HEADER_WIDTH = 12  # clef and key signature
GUTTER_WIDTH = 3  # the space in front of each downbeat
SYSTEM_WIDTH = 80
CLEF_X, KEY_X, KEY_SPACING = 0.5, 4.0, 1.0  # left edges of the clef and of the key's first accidental; the step to the next
PANEL_HEIGHTS = {1: 16, 2: 20}  # the height of each staff's panel, by number of staves


@dataclass(frozen=True)
class Layout:
    """The geometry of pictures of one staff, or of a piano's two, at ``space`` pixels per staff space (4 or 8).

    Rows count from the top. Each staff has a panel with its middle line at the centre. Positions count staff steps upwards from
    the middle line; a step is half a staff space. With ``signs`` rolls are rolls of signs (see diptych.music.sign_rolls), and a
    page has one system.
    """

    staves: int = 1
    space: int = 4
    signs: bool = False

    @property
    def width(self) -> int:
        """The width of every picture in pixels."""
        return SYSTEM_WIDTH * self.space

    @property
    def panel_height(self) -> int:
        """The height of the panel of one staff in pixels."""
        return PANEL_HEIGHTS[self.staves] * self.space

    @property
    def height(self) -> int:
        """The height of one system in pixels."""
        return self.staves * self.panel_height

    @property
    def systems_per_page(self) -> int:
        """The number of systems on a page, one below the other: those of a square, or one."""
        return 1 if self.signs else self.width // self.height

    @property
    def step_height(self) -> int:
        """The height of a staff step in pixels."""
        return self.space // 2

    def middle_row(self, staff: int) -> int:
        """Return the row of a staff's middle line."""
        return staff * self.panel_height + self.panel_height // 2

    def line_rows(self, staff: int) -> list[int]:
        """Return the rows of a staff's five lines."""
        return [self.middle_row(staff) + k * self.space for k in range(-2, 3)]

    def step_rows(self, staff: int, position: int) -> slice:
        """Return the rows of a position."""
        top = self.middle_row(staff) - position * self.step_height
        return slice(top, top + self.step_height)

    @property
    def max_position(self) -> int:
        """The highest position in a panel; the lowest is its negative."""
        return self.panel_height // self.space - 1

    def downbeat_columns(self, measures: Sequence[Fraction], quarter_width: int) -> list[int]:
        """Return the column of each measure's downbeat, and last the one where a further measure would begin."""
        column, downbeats = (HEADER_WIDTH + GUTTER_WIDTH) * self.space, []
        for length in measures:
            downbeats.append(column)
            column += self.width_of(length, quarter_width) + GUTTER_WIDTH * self.space
        return [*downbeats, column]

    def width_of(self, quarters: Fraction, quarter_width: int) -> int:
        """Return the width of a duration in whole pixels."""
        return round(quarters * quarter_width * self.space)

    def barline_column(self, downbeat: int) -> int:
        """Return the column of the bar line in front of a downbeat's column."""
        return downbeat - (GUTTER_WIDTH - 1) * self.space

    def fits(self, measures: Sequence[Fraction], quarter_width: int) -> bool:
        """Return whether these measures fit on a system, with the bar line that ends them."""
        return self.barline_column(self.downbeat_columns(measures, quarter_width)[-1]) < self.width
