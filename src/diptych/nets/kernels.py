"""The kernels of fused.py in Triton, which comes with PyTorch for CUDA. Images lie with their channels innermost: (n, h, w, c).

``R`` pixels and ``C`` channels are worked on at once. An image's sums are taken over ``splits`` parts of ``per_split`` pixels,
each by a program of its own, and merged by whoever needs them. Every sum is taken in a fixed order.
"""

import triton
import triton.language as tl


@triton.jit
def moments(x, means, squares, rows, channels, per_split, splits, R: tl.constexpr, C: tl.constexpr):
    """The mean of each channel over a part of an image, and the sum of squares around it."""
    exact: tl.constexpr = means.dtype.element_ty
    n, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.program_id(2) * C + tl.arange(0, C)
    start = split * per_split
    stop = tl.minimum(start + per_split, rows)
    mean, square, count = tl.zeros([C], exact), tl.zeros([C], exact), tl.zeros([], exact)
    image = x + n * rows * channels
    pivot = tl.load(image + c, mask=c < channels, other=0.0).to(exact)  # sums around one of the pixels round less
    for first in range(start, stop, R):
        r = first + tl.arange(0, R)
        inside = (r < stop)[:, None] & (c < channels)[None, :]
        tile = tl.load(image + r[:, None] * channels + c[None, :], mask=inside, other=0.0).to(exact)
        tile = tl.where(inside, tile - pivot[None, :], 0.0)
        fresh = tl.minimum(stop - first, R).to(exact)
        its_mean = tl.sum(tile, 0) / fresh
        apart = tl.where(inside, tile - its_mean[None, :], 0.0)
        # Chan, Golub and LeVeque 1979: statistics of two sets make those of their union, without cancellation.
        delta, total = its_mean - mean, count + fresh
        mean += delta * (fresh / total)
        square += tl.sum(apart * apart, 0) + delta * delta * (count * fresh / total)
        count = total
    place = (n * splits + split) * channels + c
    tl.store(means + place, pivot + mean, mask=c < channels)
    tl.store(squares + place, square, mask=c < channels)


@triton.jit
def normalise(
    x,
    y,
    means,
    squares,
    mean_out,
    scale_out,
    weight,
    bias,
    running_mean,
    running_var,
    momentum,
    rows,
    channels,
    per_split,
    splits,
    per_program,
    eps: tl.constexpr,
    slope: tl.constexpr,
    AFFINE: tl.constexpr,
    TRACK: tl.constexpr,
    R: tl.constexpr,
    C: tl.constexpr,
):
    """Merge the statistics of an image's parts, normalise, scale and shift, and apply a leaky rectifier."""
    exact: tl.constexpr = means.dtype.element_ty
    n, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.program_id(2) * C + tl.arange(0, C)
    known = c < channels
    mean, square, count = tl.zeros([C], exact), tl.zeros([C], exact), tl.zeros([], exact)
    pivot = tl.load(means + n * splits * channels + c, mask=known, other=0.0)
    for split in range(0, splits):
        place = (n * splits + split) * channels + c
        fresh = tl.minimum(rows - split * per_split, per_split).to(exact)
        delta, total = (tl.load(means + place, mask=known, other=0.0) - pivot) - mean, count + fresh
        mean += delta * (fresh / total)
        square += tl.load(squares + place, mask=known, other=0.0) + delta * delta * (count * fresh / total)
        count = total
    scale = 1.0 / tl.sqrt(square / rows + eps)
    if block == 0:
        tl.store(mean_out + n * channels + c, pivot + mean, mask=known)
        tl.store(scale_out + n * channels + c, scale, mask=known)
        if TRACK:  # batch normalisation keeps running statistics, of the unbiased variance
            old_mean, old_var = tl.load(running_mean + c, mask=known), tl.load(running_var + c, mask=known)
            tl.store(running_mean + c, old_mean + momentum * (pivot + mean - old_mean), mask=known)
            tl.store(running_var + c, old_var + momentum * (square / (rows - 1) - old_var), mask=known)
    start = block * per_program
    for first in range(start, tl.minimum(start + per_program, rows), R):
        r = first + tl.arange(0, R)
        inside = (r < rows)[:, None] & known[None, :]
        place = n * rows * channels + r[:, None] * channels + c[None, :]
        z = (tl.load(x + place, mask=inside, other=0.0).to(exact) - pivot[None, :] - mean[None, :]) * scale[None, :]
        if AFFINE:
            z = z * tl.load(weight + c, mask=known)[None, :].to(exact) + tl.load(bias + c, mask=known)[None, :].to(exact)
        tl.store(y + place, tl.where(z > 0, z, z * slope).to(y.dtype.element_ty), mask=inside)


@triton.jit
def gradient_sums(
    x,
    grad,
    means,
    scales,
    weight,
    bias,
    sums,
    products,
    rows,
    channels,
    per_split,
    splits,
    slope: tl.constexpr,
    AFFINE: tl.constexpr,
    R: tl.constexpr,
    C: tl.constexpr,
):
    """Over a part of an image: the sum of the gradient before the rectifier, and of it times the normalised value."""
    exact: tl.constexpr = means.dtype.element_ty
    n, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.program_id(2) * C + tl.arange(0, C)
    known = c < channels
    mean = tl.load(means + n * channels + c, mask=known, other=0.0)
    scale = tl.load(scales + n * channels + c, mask=known, other=0.0)
    start = split * per_split
    stop = tl.minimum(start + per_split, rows)
    total, product = tl.zeros([C], exact), tl.zeros([C], exact)
    for first in range(start, stop, R):
        r = first + tl.arange(0, R)
        inside = (r < stop)[:, None] & known[None, :]
        place = n * rows * channels + r[:, None] * channels + c[None, :]
        z = (tl.load(x + place, mask=inside, other=0.0).to(exact) - mean[None, :]) * scale[None, :]
        g = tl.load(grad + place, mask=inside, other=0.0).to(exact)
        shown = z
        if AFFINE:
            shown = z * tl.load(weight + c, mask=known)[None, :].to(exact) + tl.load(bias + c, mask=known)[None, :].to(exact)
        g = tl.where(shown > 0, g, g * slope)
        total += tl.sum(g, 0)
        product += tl.sum(g * z, 0)
    place = (n * splits + split) * channels + c
    tl.store(sums + place, total, mask=known)
    tl.store(products + place, product, mask=known)


@triton.jit
def gradient(
    x,
    grad,
    out,
    means,
    scales,
    weight,
    bias,
    sums,
    products,
    bias_out,
    weight_out,
    rows,
    channels,
    splits,
    per_program,
    slope: tl.constexpr,
    AFFINE: tl.constexpr,
    R: tl.constexpr,
    C: tl.constexpr,
):
    """The gradient of an image before its normalisation, from the sums over all of it; and that of weight and bias."""
    exact: tl.constexpr = means.dtype.element_ty
    n, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.program_id(2) * C + tl.arange(0, C)
    known = c < channels
    mean = tl.load(means + n * channels + c, mask=known, other=0.0)
    scale = tl.load(scales + n * channels + c, mask=known, other=0.0)
    total, product = tl.zeros([C], exact), tl.zeros([C], exact)
    for split in range(0, splits):
        place = (n * splits + split) * channels + c
        total += tl.load(sums + place, mask=known, other=0.0)
        product += tl.load(products + place, mask=known, other=0.0)
    if AFFINE:  # noqa: SIM102 - only this one is known when the kernel is compiled
        if block == 0:
            tl.store(bias_out + n * channels + c, total, mask=known)
            tl.store(weight_out + n * channels + c, product, mask=known)
    total, product = total / rows, product / rows
    start = block * per_program
    for first in range(start, tl.minimum(start + per_program, rows), R):
        r = first + tl.arange(0, R)
        inside = (r < rows)[:, None] & known[None, :]
        place = n * rows * channels + r[:, None] * channels + c[None, :]
        z = (tl.load(x + place, mask=inside, other=0.0).to(exact) - mean[None, :]) * scale[None, :]
        g = tl.load(grad + place, mask=inside, other=0.0).to(exact)
        shown, factor = z, scale
        if AFFINE:
            stretch = tl.load(weight + c, mask=known).to(exact)
            shown = z * stretch[None, :] + tl.load(bias + c, mask=known)[None, :].to(exact)
            factor = scale * stretch
        g = tl.where(shown > 0, g, g * slope)
        found = (g - total[None, :] - z * product[None, :]) * factor[None, :]
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
    exact: tl.constexpr = tl.float64 if grad.dtype.element_ty == tl.float64 else tl.float32
    total = tl.zeros([R, C], exact)
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
            total += tl.load(grad + place, mask=shown[:, None] & (c < channels)[None, :], other=0.0).to(exact)
    inside = (at < pixels)[:, None] & (c < channels)[None, :]
    tl.store(out + at.to(tl.int64)[:, None] * channels + c[None, :], total.to(out.dtype.element_ty), mask=inside)
