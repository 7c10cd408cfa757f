"""The kernels of fused.py in Triton, which comes with PyTorch for CUDA. Images lie with their channels innermost: (n, h, w, c).

``R`` pixels and ``C`` channels are worked on at once. An image's sums are taken over ``splits`` parts of ``per_split`` pixels,
each by a program of its own, and merged by whoever needs them. Every sum is taken in a fixed order.
"""

import triton
import triton.language as tl


@triton.jit
def moments(x, means, squares, rows, channels, per_split, SPLITS, R: tl.constexpr, C: tl.constexpr):
    """The mean of each channel over a part of an image, and the sum of squares around it."""
    n, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.program_id(2) * C + tl.arange(0, C)
    start = split * per_split
    stop = tl.minimum(start + per_split, rows)
    mean, square, count = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32), 0.0
    for first in range(start, stop, R):
        r = first + tl.arange(0, R)
        inside = (r < stop)[:, None] & (c < channels)[None, :]
        tile = tl.load(x + n * rows * channels + r[:, None] * channels + c[None, :], mask=inside, other=0.0).to(tl.float32)
        fresh = tl.minimum(stop - first, R).to(tl.float32)
        its_mean = tl.sum(tile, 0) / fresh
        apart = tl.where(inside, tile - its_mean[None, :], 0.0)
        # Chan, Golub and LeVeque 1979: statistics of two sets make those of their union, without cancellation.
        delta, total = its_mean - mean, count + fresh
        mean += delta * (fresh / total)
        square += tl.sum(apart * apart, 0) + delta * delta * (count * fresh / total)
        count = total
    place = (n * SPLITS + split) * channels + c
    tl.store(means + place, mean, mask=c < channels)
    tl.store(squares + place, square, mask=c < channels)


@triton.jit
def normalise(
    x,
    y,
    means,
    squares,
    mean_out,
    scale_out,
    rows,
    channels,
    per_split,
    SPLITS,
    eps,
    slope,
    per_program,
    R: tl.constexpr,
    C: tl.constexpr,
):
    """Merge the statistics of an image's parts, normalise, and apply a leaky rectifier."""
    n, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.program_id(2) * C + tl.arange(0, C)
    known = c < channels
    mean, square, count = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32), 0.0
    for split in range(0, SPLITS):
        place = (n * SPLITS + split) * channels + c
        fresh = tl.minimum(rows - split * per_split, per_split).to(tl.float32)
        delta, total = tl.load(means + place, mask=known, other=0.0) - mean, count + fresh
        mean += delta * (fresh / total)
        square += tl.load(squares + place, mask=known, other=0.0) + delta * delta * (count * fresh / total)
        count = total
    scale = 1.0 / tl.sqrt(square / rows + eps)
    if block == 0:
        tl.store(mean_out + n * channels + c, mean, mask=known)
        tl.store(scale_out + n * channels + c, scale, mask=known)
    start = block * per_program
    for first in range(start, tl.minimum(start + per_program, rows), R):
        r = first + tl.arange(0, R)
        inside = (r < rows)[:, None] & known[None, :]
        place = n * rows * channels + r[:, None] * channels + c[None, :]
        z = (tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * scale[None, :]
        tl.store(y + place, tl.where(z > 0, z, z * slope).to(y.dtype.element_ty), mask=inside)


@triton.jit
def gradient_sums(
    x, grad, means, scales, sums, products, rows, channels, per_split, SPLITS, slope, R: tl.constexpr, C: tl.constexpr
):
    """Over a part of an image: the sum of the gradient, and of the gradient times the normalised value."""
    n, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.program_id(2) * C + tl.arange(0, C)
    known = c < channels
    mean = tl.load(means + n * channels + c, mask=known, other=0.0)
    scale = tl.load(scales + n * channels + c, mask=known, other=0.0)
    start = split * per_split
    stop = tl.minimum(start + per_split, rows)
    total, product = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
    for first in range(start, stop, R):
        r = first + tl.arange(0, R)
        inside = (r < stop)[:, None] & known[None, :]
        place = n * rows * channels + r[:, None] * channels + c[None, :]
        z = (tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * scale[None, :]
        g = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
        g = tl.where(z > 0, g, g * slope)
        total += tl.sum(g, 0)
        product += tl.sum(g * z, 0)
    place = (n * SPLITS + split) * channels + c
    tl.store(sums + place, total, mask=known)
    tl.store(products + place, product, mask=known)


@triton.jit
def gradient(
    x, grad, out, means, scales, sums, products, rows, channels, SPLITS, slope, per_program, R: tl.constexpr, C: tl.constexpr
):
    """The gradient of the normalised image, from its sums over the whole image."""
    n, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.program_id(2) * C + tl.arange(0, C)
    known = c < channels
    mean = tl.load(means + n * channels + c, mask=known, other=0.0)
    scale = tl.load(scales + n * channels + c, mask=known, other=0.0)
    total, product = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
    for split in range(0, SPLITS):
        place = (n * SPLITS + split) * channels + c
        total += tl.load(sums + place, mask=known, other=0.0)
        product += tl.load(products + place, mask=known, other=0.0)
    total, product = total / rows, product / rows
    start = block * per_program
    for first in range(start, tl.minimum(start + per_program, rows), R):
        r = first + tl.arange(0, R)
        inside = (r < rows)[:, None] & known[None, :]
        place = n * rows * channels + r[:, None] * channels + c[None, :]
        z = (tl.load(x + place, mask=inside, other=0.0).to(tl.float32) - mean[None, :]) * scale[None, :]
        g = tl.load(grad + place, mask=inside, other=0.0).to(tl.float32)
        g = tl.where(z > 0, g, g * slope)
        found = (g - total[None, :] - z * product[None, :]) * scale[None, :]
        tl.store(out + place, found.to(out.dtype.element_ty), mask=inside)


@triton.jit
def mirror(x, out, height, width, channels, pixels, pad, R: tl.constexpr, C: tl.constexpr):
    """Every pixel of a mirrored image, from the pixel that it mirrors."""
    at = tl.program_id(0) * R + tl.arange(0, R)
    c = tl.program_id(1) * C + tl.arange(0, C)
    inside = (at < pixels)[:, None] & (c < channels)[None, :]
    wide, high = width + 2 * pad, height + 2 * pad
    column, row, n = at % wide - pad, (at // wide) % high - pad, at // (wide * high)
    row = (height - 1) - tl.abs((height - 1) - tl.abs(row))
    column = (width - 1) - tl.abs((width - 1) - tl.abs(column))
    source = ((n * height + row) * width + column).to(tl.int64)
    value = tl.load(x + source[:, None] * channels + c[None, :], mask=inside)
    tl.store(out + at.to(tl.int64)[:, None] * channels + c[None, :], value, mask=inside)


@triton.jit
def fold(grad, out, height, width, channels, pixels, pad, R: tl.constexpr, C: tl.constexpr):
    """Every pixel of the gradient: the sum over the places of the mirrored image that showed it, three a side at most."""
    at = tl.program_id(0) * R + tl.arange(0, R)
    c = tl.program_id(1) * C + tl.arange(0, C)
    wide, high = width + 2 * pad, height + 2 * pad
    column, row, n = at % width, (at // width) % height, at // (width * height)
    total = tl.zeros([R, C], tl.float32)
    for a in tl.static_range(3):
        for b in tl.static_range(3):
            i, j, shown = row + pad, column + pad, at < pixels
            if a == 1:
                i, shown = pad - row, shown & (row >= 1) & (row <= pad)
            if a == 2:
                i, shown = pad + 2 * (height - 1) - row, shown & (row <= height - 2) & (row >= height - 1 - pad)
            if b == 1:
                j, shown = pad - column, shown & (column >= 1) & (column <= pad)
            if b == 2:
                j, shown = pad + 2 * (width - 1) - column, shown & (column <= width - 2) & (column >= width - 1 - pad)
            place = ((n * high + i) * wide + j).to(tl.int64)[:, None] * channels + c[None, :]
            total += tl.load(grad + place, mask=shown[:, None] & (c < channels)[None, :], other=0.0).to(tl.float32)
    inside = (at < pixels)[:, None] & (c < channels)[None, :]
    tl.store(out + at.to(tl.int64)[:, None] * channels + c[None, :], total.to(out.dtype.element_ty), mask=inside)
