"""sRGB and CIE Lab (D65) inside an ONNX graph, with the numbers of kornia, which diptych.nets.colorizer computes by."""

from __future__ import annotations

import numpy as np

from diptych.inference.graph_nodes import Nodes

LUMINANCE = [0.212671, 0.715160, 0.072169]
WHITE = [0.95047, 1.0, 1.08883]
TO_RGB = [
    [3.2404813432005266, -1.5371515162713185, -0.4985363261688878],
    [-0.9692549499965682, 1.8759900014898907, 0.0415559265582928],
    [0.0556466391351772, -0.2040413383665112, 1.0573110696453443],
]


def lightness(add: Nodes, x: str, *, gray: bool) -> str:
    """L / 50 - 1 of gray or RGB images in [-1, 1]."""
    y = _affine(add, x, 0.5, 0.5)
    curved = _power(add, _affine(add, y, 1 / 1.055, 0.055 / 1.055), 2.4)
    linear = _above(add, y, 0.04045, curved, _affine(add, y, 1 / 12.92))
    weights = [sum(LUMINANCE)] if gray else LUMINANCE
    luminance = add("Conv", linear, add.constant(np.reshape(weights, (1, -1, 1, 1)), np.float32))
    least = add("Max", luminance, add.constant(0.008856, np.float32))
    root = _above(add, luminance, 0.008856, _power(add, least, 1 / 3), _affine(add, luminance, 7.787, 4 / 29))
    return _affine(add, root, 116 / 50, -16 / 50 - 1)


def rgb(add: Nodes, lightness: str, colours: str) -> str:
    """RGB images in [-1, 1] of L / 50 - 1, and of a and b, divided by 110; colours that sRGB does not have are clipped to it."""
    of_y = _affine(add, lightness, 50 / 116, 66 / 116)
    a, b = (add("Slice", colours, *map(add.constant, ([place], [place + 1], [1]))) for place in (0, 1))
    of_x = add("Add", _affine(add, a, 110 / 500), of_y)
    of_z = add("Max", add("Sub", of_y, _affine(add, b, 110 / 200)), add.constant(0.0, np.float32))
    xyz = add("Concat", of_x, of_y, of_z, axis=1)
    wide = _above(add, xyz, 0.2068966, _power(add, xyz, 3.0), _affine(add, xyz, 1 / 7.787, -4 / 29 / 7.787))
    linear = add("Conv", wide, add.constant((np.array(TO_RGB) * WHITE)[..., None, None], np.float32))
    curved = _power(add, add("Max", linear, add.constant(0.0031308, np.float32)), 1 / 2.4)
    y = _above(add, linear, 0.0031308, _affine(add, curved, 1.055, -0.055), _affine(add, linear, 12.92))
    return _affine(add, add("Clip", y, add.constant(0.0, np.float32), add.constant(1.0, np.float32)), 2.0, -1.0)


def _affine(add: Nodes, x: str, factor: float, shift: float = 0.0) -> str:
    y = add("Mul", x, add.constant(factor, np.float32))
    return add("Add", y, add.constant(shift, np.float32)) if shift else y


def _power(add: Nodes, x: str, exponent: float) -> str:
    return add("Pow", x, add.constant(exponent, np.float32))


def _above(add: Nodes, x: str, limit: float, where_above: str, elsewhere: str) -> str:
    return add("Where", add("Greater", x, add.constant(limit, np.float32)), where_above, elsewhere)
