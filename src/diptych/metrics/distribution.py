"""Measure how far two sets of images are apart as distributions: FID and KID of their features, with intervals.

Both take features (one row per image) of any network; the published numbers are of ``features.inception``. NumPy or
CPU tensors; all arithmetic is in double precision.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from torch import Tensor

from diptych.errors import DataError
from diptych.metrics.estimate import Estimate, percentile_interval, resample, student_interval

FID_ENOUGH = 2048  # images a side: fewer than the features' dimensions leave the covariances singular
MIN_FOR_KID_INTERVAL = 5  # images a side
BLOCK = 1024  # columns of a kernel matrix that are held in memory at a time


def fid(x: Float[np.ndarray | Tensor, "n d"], y: Float[np.ndarray | Tensor, "m d"]) -> float:
    """Frechet inception distance: of the Gaussians with the mean and covariance of each set (Heusel et al. 2017).

    |mean_x - mean_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)), unbiased covariances as in the published code. At least 0,
    exactly real, exact also where a covariance is singular. It depends on the number of images and falls as that grows:
    compare only numbers of equal n, and take under 2,048 images for what they are.
    Raises DataError when a set has fewer than two images or a feature is not finite.
    """
    x, y = checked_features(x, y)
    distance, _, _ = _frechet(*_moments(x), *_moments(y))
    return distance


def fid_estimate(x: Float[np.ndarray | Tensor, "n d"], y: Float[np.ndarray | Tensor, "m d"], *, paired: bool = False) -> Estimate:
    """``fid`` with a 95 % interval: +- t standard errors of the infinitesimal jackknife (Efron 1982), at least 0.

    It is an interval of the FID of sets *of this size*: how far another draw of as many images would move it. It does
    not hold the FID of infinitely many images, which is lower. The bootstrap is not used because a set with repeated
    images is farther from anything than a set without: its interval lies too high and is up to a third wider.
    ``paired``: x[i] is of the same scene as y[i], so that one draw of scenes moves both sets. Errors as in ``kid``; n is that of
    the smaller set.
    """
    x, y = checked_features(x, y, paired)
    distance, slopes_x, slopes_y = _frechet(*_moments(x), *_moments(y), slopes=True)
    slopes = [slopes_x + slopes_y] if paired else [slopes_x, slopes_y]
    error = np.sqrt(sum(side.var(ddof=1) / len(side) for side in slopes))
    return student_interval(distance, float(error), min(len(x), len(y)), least=0.0)


def kid(x: Float[np.ndarray | Tensor, "n d"], y: Float[np.ndarray | Tensor, "m d"], *, paired: bool = False) -> float:
    """Kernel inception distance: unbiased MMD^2 with the kernel (x.y / d + 1)^3 (Binkowski et al. 2018).

    Over all images at once; the published mean over 100 subsets of 1000 has the same expectation and more noise.
    Unbiased at any number of images where the two sets are independent draws, so it is slightly negative at times for sets of one
    distribution. Papers print it times 100 or 1000.

    ``paired``: x[i] is of the same scene as y[i]. The kernels of these pairs are then left out (Gretton et al. 2012, eq. 4): a
    pair is more alike than two images of different scenes, which would bias the result towards negative numbers, the more the
    fewer images there are.

    Raises DataError when a set has fewer than two images, a feature is not finite, or paired sets differ in number.
    """
    x, y = checked_features(x, y, paired)
    return float(mmd(x, y, np.ones((1, len(x))), np.ones((1, len(y))), paired)[0])


def kid_estimate(
    x: Float[np.ndarray | Tensor, "n d"],
    y: Float[np.ndarray | Tensor, "m d"],
    *,
    paired: bool = False,
    seed: int = 0,
    resamples: int = 1000,
) -> Estimate:
    """``kid`` with its 95 % percentile bootstrap interval over images of both sets, drawn independently, or pairs together.

    Pairs of an image with itself are left out of every resample, so that resampling adds no bias. The interval is too wide for
    sets that are nearly alike: that it holds 0 does not mean that the sets are. ``kid_p_value`` tells. Sets of fewer than
    MIN_FOR_KID_INTERVAL images have no interval (NaN): of 3 it would hold the truth in 6 of 10 cases. Errors as in ``kid``; n is
    that of the smaller set.
    """
    x, y = checked_features(x, y, paired)
    n = min(len(x), len(y))
    random = np.random.default_rng(seed)
    counts_x = np.stack(list(drawn_apart(random, len(x), resamples)))
    counts_y = counts_x if paired else np.stack(list(drawn_apart(random, len(y), resamples)))
    value, *drawn = mmd(x, y, counts_x, counts_y, paired).tolist()
    return percentile_interval(value, np.array(drawn), n) if n >= MIN_FOR_KID_INTERVAL else Estimate(value, np.nan, np.nan, n)


def kid_p_value(
    x: Float[np.ndarray | Tensor, "n d"],
    y: Float[np.ndarray | Tensor, "m d"],
    *,
    paired: bool = False,
    seed: int = 0,
    permutations: int = 1000,
) -> float:
    """How often a KID at least as great comes from sets of one distribution: the p-value of a permutation test.

    Images change sets at random; those of a pair change places with each other. p = (1 + greater or equal) / (1 + permutations),
    which is at most .05 in at most 5 % of comparisons of one distribution with itself (Phipson and Smyth 2010).
    Errors as in ``kid``.
    """
    x, y = checked_features(x, y, paired)
    random = np.random.default_rng(seed)
    drawn = _swapped_pairs(x, y, random, permutations) if paired else _mixed_sets(x, y, random, permutations)
    scale = 1e-12 * float(np.abs(drawn).max())  # sums in another order, as of a permutation that changes nothing
    return float((drawn >= drawn[0] - scale).sum() / len(drawn))


def _swapped_pairs(x: np.ndarray, y: np.ndarray, random: np.random.Generator, permutations: int) -> Float[np.ndarray, " r"]:
    """KID of the pairs, and of pairs that change places at random; times a constant.

    With h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(y_i, x_j), exchanging pair i changes the sign of its h.
    """
    signs = np.ones((permutations + 1, len(x)))
    for row in signs[1:]:
        row[:] = random.choice((-1.0, 1.0), len(x))
    total = np.zeros(len(signs))
    for start in range(0, len(x), BLOCK):
        block = slice(start, start + BLOCK)
        h = cubic_kernel(x, x[block])
        h += cubic_kernel(y, y[block])
        h -= cubic_kernel(x, y[block])
        h -= cubic_kernel(y, x[block])
        np.fill_diagonal(h[block], 0.0)
        total += ((signs @ h) * signs[:, block]).sum(axis=1)
    return total


def _mixed_sets(x: np.ndarray, y: np.ndarray, random: np.random.Generator, permutations: int) -> Float[np.ndarray, " r"]:
    """KID of the sets, and of sets that the same images are dealt to at random."""
    n, m, images = len(x), len(y), np.concatenate([x, y])
    first = np.zeros((permutations + 1, n + m))
    first[0, :n] = 1.0
    for row in first[1:]:
        row[random.permutation(n + m)[:n]] = 1.0
    within, rows = np.zeros(len(first)), np.zeros(n + m)  # sums of kernels within the first set, and of each image with all
    for start in range(0, n + m, BLOCK):
        block = slice(start, start + BLOCK)
        kernel = cubic_kernel(images, images[block])
        np.fill_diagonal(kernel[block], 0.0)
        within += ((first @ kernel) * first[:, block]).sum(axis=1)
        rows[block] = kernel.sum(axis=0)
    of_first = first @ rows
    across, within_second = of_first - within, rows.sum() - 2 * of_first + within
    return within / (n * (n - 1)) + within_second / (m * (m - 1)) - 2 * across / (n * m)


def checked_features(x: np.ndarray | Tensor, y: np.ndarray | Tensor, paired: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Convert both sets of features to double precision, after checking that they can be compared."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    assert x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1], f"features of one network, found {x.shape} and {y.shape}"
    if min(len(x), len(y)) < 2:
        raise DataError(f"FID and KID need at least 2 images a side, found {len(x)} and {len(y)}; give more images")
    if paired and len(x) != len(y):
        raise DataError(f"paired sets have one image each of every scene, found {len(x)} and {len(y)}; leave out those alone")
    for name, features in (("first", x), ("second", y)):
        if not (finite := np.isfinite(features).all(axis=1)).all():
            raise DataError(
                f"image {int(finite.argmin())} of the {name} set has features that are not finite; look at its pixels"
            )
    return x, y


def _moments(x: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "n d"]]:
    """Compute the mean, and the deviations scaled so that their Gram matrix over images is the unbiased covariance."""
    mean = x.mean(axis=0)
    return mean, (x - mean) / np.sqrt(len(x) - 1)


def _frechet(
    mean_x: np.ndarray, a: np.ndarray, mean_y: np.ndarray, b: np.ndarray, slopes: bool = False
) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute the squared Frechet distance of Gaussians with covariances a'a and b'b, and its slope at each row of a and b.

    tr (S_x S_y)^(1/2) is the sum of the singular values of a b', a matrix of images x images; where there are more
    images than dimensions, QR brings a and b down to dimensions first. No d x d root is taken, nothing can be complex.
    The slope at an image is the change of the distance when that image's weight grows: its influence function. With
    a b' = U s V', the derivative of the sum of s along row i is that row of U s U' on the diagonal.
    """
    basis_a, small_a = _reduce(a)
    basis_b, small_b = _reduce(b)
    shift = mean_x - mean_y
    apart = float(shift @ shift + np.sum(a * a) + np.sum(b * b))
    if not slopes:
        overlap = np.linalg.svd(small_a @ small_b.T, compute_uv=False)
        return max(0.0, apart - 2.0 * float(overlap.sum())), np.empty(0), np.empty(0)
    left, overlap, right = np.linalg.svd(small_a @ small_b.T, full_matrices=False)

    def slope(a: np.ndarray, basis: np.ndarray | None, side: np.ndarray, shift: np.ndarray) -> np.ndarray:
        side = side if basis is None else basis @ side
        n = len(a)
        return 2.0 * np.sqrt(n - 1) * (a @ shift) + n * ((a * a).sum(axis=1) - (side * side) @ overlap)

    distance = max(0.0, apart - 2.0 * float(overlap.sum()))
    return distance, slope(a, basis_a, left, shift), slope(b, basis_b, right.T, -shift)


def _reduce(a: Float[np.ndarray, "n d"]) -> tuple[np.ndarray | None, np.ndarray]:
    """Find an orthonormal q and a small r with a = q r and at most d rows of r; q is None where a is small itself."""
    if len(a) <= a.shape[1]:
        return None, a
    basis, small = np.linalg.qr(a)
    return basis, small


def drawn_apart(random: np.random.Generator, n: int, resamples: int) -> Iterator[np.ndarray]:
    """Draw with replacement, leaving out draws of one image alone: a pair of different images is needed."""
    for counts in resample(random, n, resamples):
        while (counts > 0).sum() < 2:
            counts = np.bincount(random.integers(0, n, n), minlength=n).astype(np.float64)
        yield counts


def mmd(
    x: np.ndarray, y: np.ndarray, counts_x: np.ndarray, counts_y: np.ndarray, paired: bool = False
) -> Float[np.ndarray, " r"]:
    """MMD^2 of each row of counts, which say how often each image is in the set; images x images in blocks."""
    return (
        _mean_kernel(x, x, counts_x, counts_x, apart=True)
        + _mean_kernel(y, y, counts_y, counts_y, apart=True)
        - 2.0 * _mean_kernel(x, y, counts_x, counts_y, apart=paired)
    )


def _mean_kernel(
    x: np.ndarray, y: np.ndarray, counts_x: np.ndarray, counts_y: np.ndarray, apart: bool = False
) -> Float[np.ndarray, " r"]:
    """Mean kernel over pairs of images, ``apart``: of different images or scenes."""
    total, pairs = np.zeros(len(counts_x)), counts_x.sum(axis=1) * counts_y.sum(axis=1)
    for start in range(0, len(y), BLOCK):
        block = slice(start, start + BLOCK)
        kernel = cubic_kernel(x, y[block])
        if apart:
            np.fill_diagonal(kernel[block], 0.0)
        total += ((counts_x @ kernel) * counts_y[:, block]).sum(axis=1)
    return total / (pairs - (counts_x**2).sum(axis=1) if apart else pairs)


def cubic_kernel(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    """The cubic kernel (x_i . y_j / d + 1)^3."""
    kernel: np.ndarray = x @ y.T  # in place from here on: with many images it is the largest matrix of all
    kernel /= x.shape[1]
    kernel += 1.0
    kernel **= 3
    return kernel
