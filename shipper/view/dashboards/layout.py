"""Where the panels of a row are on the page."""

from dataclasses import dataclass, field

from shipper.view.dashboards.model import WIDTH, Panel, Row


@dataclass(frozen=True, slots=True)
class Place:
    """Position and size of a panel: columns from the left, rows from the top, width, height."""

    x: int
    y: int
    w: int
    h: int


@dataclass(slots=True)
class _Shelf:
    """Panels from left to right; a panel that does not fit starts a new line, below the highest panel of the last."""

    y: int
    x: int = 0
    height: int = 0
    places: list[Place] = field(default_factory=list)

    def put(self, panel: Panel) -> None:
        if self.x + panel.width > WIDTH:
            self.y, self.x, self.height = self.y + self.height, 0, 0
        self.places.append(Place(self.x, self.y, panel.width, panel.height))
        self.x, self.height = self.x + panel.width, max(self.height, panel.height)


def places(row: Row, y: int) -> tuple[list[Place], int]:
    """Positions of the panels of a ``row`` that starts at ``y``, and the y at which the row ends."""
    shelf = _Shelf(y)
    for panel in row.panels:
        shelf.put(panel)
    return shelf.places, shelf.y + shelf.height
