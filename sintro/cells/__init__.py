"""Cells, the studies that list them, their settings, and the door for components. Nothing here imports torch."""

from sintro.cells.cell import Cell
