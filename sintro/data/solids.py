"""Draw `solids`: car-like boxes of known identity and pose, in whole numbers (docs/science.md, section 6).

A car is a body and a cabin with wheels, windows, lamps in front and tail lights behind, so that no two poses look
alike. It is seen by an orthographic camera. Cosines are rounded to 1/4096 once; everything after that is exact integer
arithmetic, so the same bytes come out on every machine.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

IDENTITIES, AZIMUTHS = 40, 24
TILTS = (25, 50)  # of the camera above the horizon, in degrees
SIDE = 32  # pixels
FINE = 4  # samples along each side of a pixel
UNIT = 4096  # a cosine of 1
HALF_WIDTH = 4 * 50  # of the picture, in thirds of a length unit
COLOURS = (
    (200, 40, 40),
    (40, 90, 200),
    (50, 160, 70),
    (225, 180, 40),
    (130, 60, 160),
    (70, 180, 190),
    (235, 120, 50),
    (120, 120, 125),
)
WHITE = (255, 255, 255)
DARK, GLASS, LAMP, TAIL_LIGHT = (35, 35, 40), (170, 205, 225), (255, 240, 150), (120, 0, 0)
FRONT, BACK, LEFT, RIGHT, TOP = (0, 1), (0, -1), (1, 1), (1, -1), (2, 1)  # the axis of a face's normal, and its side
CORNERS = {FRONT: (4, 6, 7, 5), BACK: (0, 1, 3, 2), LEFT: (2, 3, 7, 6), RIGHT: (0, 4, 5, 1), TOP: (1, 5, 7, 3)}
LIGHT = {TOP: 110, FRONT: 92, BACK: 70, LEFT: 60, RIGHT: 82}  # per cent of a colour's brightness

Face = tuple[int, int]
Colour = tuple[int, int, int]
Points = list[tuple[int, int, int]]


class Car(NamedTuple):
    """The identity of a car: half sizes of body and cabin, the cabin's offset to the front, and the body's colour."""

    length: int
    width: int
    height: int
    cabin_length: int
    cabin_height: int
    shift: int
    colour: Colour


class Quad(NamedTuple):
    """Four corners in space, filled with a colour wherever the face that they lie on can be seen."""

    face: Face
    corners: np.ndarray  # int64 [4, 3]
    colour: Colour


@lru_cache(maxsize=1)
def drawn() -> np.ndarray:
    """Return all images, uint8 [40, 48, 3, 32, 32]; view v is azimuth v mod 24 at elevation v // 24."""
    views = [(azimuth, tilt) for tilt in TILTS for azimuth in range(AZIMUTHS)]
    images = np.stack([[draw(quads, *view) for view in views] for quads in map(quads_of, cars())])
    images.setflags(write=False)
    return images


def cars() -> list[Car]:
    """Return the 40 identities: eight colours in turn, each shaded, and sizes of their own. NumPy keeps this stream."""
    rng = np.random.RandomState(7)
    found = []
    for identity in range(IDENTITIES):
        shade = rng.randint(-25, 26, size=3)
        length, width, height = int(rng.randint(36, 56)), int(rng.randint(18, 26)), int(rng.randint(8, 15))
        cabin_length = int(rng.randint(14, min(32, length - 4)))
        cabin_height = int(rng.randint(7, 15))
        room = length - cabin_length
        shift = int(rng.randint(-room // 2, room // 3 + 1))
        colour = tuple(np.clip(np.array(COLOURS[identity % len(COLOURS)]) + shade, 0, 255).tolist())
        found.append(Car(length, width, height, cabin_length, cabin_height, shift, colour))
    return found


def quads_of(car: Car) -> list[Quad]:
    """List what a car is made of, from the far to the near: body, wheels and lights, cabin, windows."""
    body = _box(0, 0, car.length, car.width, car.height)
    roof = car.height + car.cabin_height  # the middle of the cabin above the middle of the body
    cabin = _box(car.shift, roof, car.cabin_length, car.width - 3, car.cabin_height)
    parts = [*_faces(body, car.colour, list(_wheels_and_lights(car)))]
    return [*parts, *_faces(cabin, car.colour, list(_windows(car, roof)))]


def _box(x: int, z: int, length: int, width: int, height: int) -> np.ndarray:
    """Return the corners [8, 3] of a box around (x, 0, z) with these half sizes."""
    signs = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    return signs * [length, width, height] + [x, 0, z]


def _faces(box: np.ndarray, colour: Colour, decals: list[Quad]) -> Iterator[Quad]:
    """Yield the faces of a box, each followed by its decals."""
    for face, corners in CORNERS.items():
        red, green, blue = (min(part * LIGHT[face] // 100, 255) for part in colour)
        yield Quad(face, box[list(corners)], (red, green, blue))
        yield from (decal for decal in decals if decal.face == face)


def _wheels_and_lights(car: Car) -> Iterator[Quad]:
    for side in (-1, 1):
        flank = side * car.width
        for middle in (-car.length * 5 // 8, car.length * 5 // 8):
            yield _flat(1, side, flank, (middle - 8, middle + 8), (-car.height - 5, -car.height + 7), DARK)
        across, up = (side * (car.width - 3), side * (car.width - 10)), (0, car.height - 2)
        yield _flat(0, 1, car.length, across, up, LAMP)
        yield _flat(0, -1, -car.length, across, up, TAIL_LIGHT)


def _windows(car: Car, roof: int) -> Iterator[Quad]:
    up = (roof - car.cabin_height + 3, roof + car.cabin_height - 2)
    width = car.width - 3
    for side in (-1, 1):
        along = (car.shift - car.cabin_length + 3, car.shift + car.cabin_length - 3)
        yield _flat(1, side, side * width, along, up, GLASS)
        end = car.shift + side * car.cabin_length
        yield _flat(0, side, end, (-width + 3, width - 3), up, GLASS if side > 0 else DARK)


def _flat(axis: int, side: int, place: int, across: tuple[int, int], up: tuple[int, int], colour: Colour) -> Quad:
    """Return a rectangle on the face at a place of an axis, with its ends in the two other directions."""
    outline = ((across[0], up[0]), (across[1], up[0]), (across[1], up[1]), (across[0], up[1]))
    corners = [(place, at, height) if axis == 0 else (at, place, height) for at, height in outline]
    return Quad((axis, side), np.array(corners, np.int64), colour)


def draw(quads: list[Quad], azimuth: int, tilt: int) -> np.ndarray:
    """Draw a car, turned by ``azimuth`` of 24 steps and seen from ``tilt`` degrees above -> uint8 [3, 32, 32]."""
    turn = _cosine_and_sine(360 * azimuth / AZIMUTHS)
    lift = _cosine_and_sine(tilt)
    fine = SIDE * FINE
    canvas = np.zeros((fine, fine), np.uint8)  # the number of the quad that is seen at a sample; 0: the white ground
    places = _projected(np.stack([quad.corners for quad in quads]), turn, lift).tolist()
    for number, (quad, corners) in enumerate(zip(quads, places, strict=True), 1):
        if _is_visible(quad.face, *turn):
            _fill(canvas, corners, number)
    colours = np.array([WHITE, *(quad.colour for quad in quads)], np.uint16)
    offsets = [(i, j) for i in range(FINE) for j in range(FINE)]
    sums = sum(colours[canvas[i::FINE, j::FINE]] for i, j in offsets)  # [32, 32, 3]
    samples = FINE * FINE
    return ((2 * sums + samples) // (2 * samples)).astype(np.uint8).transpose(2, 0, 1)


def _cosine_and_sine(degrees: float) -> tuple[int, int]:
    """Return cosine and sine, times 4096, rounded."""
    angle = np.deg2rad(degrees)
    return int(np.rint(UNIT * np.cos(angle))), int(np.rint(UNIT * np.sin(angle)))


def _is_visible(face: Face, cosine: int, sine: int) -> bool:
    """Tell whether a face's normal points to the viewer once the car is turned; the top is always seen."""
    axis, side = face
    return axis == 2 or side * (sine if axis == 0 else cosine) < 0


def _projected(corners: np.ndarray, turn: tuple[int, int], lift: tuple[int, int]) -> np.ndarray:
    """Project corners [..., 3] to the picture, int64 [..., 2], in halves of a sample's width."""
    (cosine, sine), (along, up) = turn, lift
    x, y, z = np.moveaxis(corners, -1, 0)
    right = x * cosine - y * sine  # times 4096
    away = x * sine + y * cosine
    high = (away * up + z * UNIT * along) // UNIT
    fine = SIDE * FINE
    scale = UNIT * HALF_WIDTH
    return np.stack([right * (3 * fine) // scale + fine, fine - high * (3 * fine) // scale], -1)


def _fill(canvas: np.ndarray, corners: list[list[int]], number: int) -> None:
    """Fill a convex quadrilateral with a number: every sample in it or on its edge."""
    sides = [(*start, *end) for start, end in zip(corners, (*corners[1:], corners[0]), strict=True)]
    area = sum(from_x * to_y - to_x * from_y for from_x, from_y, to_x, to_y in sides)
    if area == 0:
        return
    left, right = _samples_between([x for x, _ in corners], len(canvas))
    top, bottom = _samples_between([y for _, y in corners], len(canvas))
    x = 2 * np.arange(left, right) + 1  # [W]
    y = 2 * np.arange(top, bottom)[:, None] + 1  # [H, 1]
    inside = None
    for from_x, from_y, to_x, to_y in sides:
        turned = (to_x - from_x) * (y - from_y) - (to_y - from_y) * (x - from_x)  # [H, W]
        here = turned >= 0 if area > 0 else turned <= 0
        inside = here if inside is None else inside & here
    canvas[top:bottom, left:right][inside] = number


def _samples_between(places: list[int], count: int) -> tuple[int, int]:
    """Return the first sample, and one past the last, that may lie between the smallest and the largest place."""
    first, last = (min(places) - 1) // 2, (max(places) - 1) // 2 + 1
    return min(max(first, 0), count), min(max(last, 0), count)
