"""The Frechet distance between pictures, seen as Gaussian clouds of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgen.errors import SizeError


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution of D features.

    Attributes:
        mean: float64 [D].
        factor: float64 [R, D]; its transpose times itself is the covariance. A factor keeps twice the digits
            that a covariance keeps, and costs no square root.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def fit(cls, features: Tensor) -> Gaussian:
        """The Gaussian with the mean and the unbiased covariance of features [N, D].

        Raises:
            SizeError: fewer than two rows, or another number of axes.
        """
        if features.ndim != 2 or len(features) < 2:
            raise SizeError(f"features of shape {list(features.shape)}", "[N, D] with N of 2 or more")
        features = features.double()
        mean = features.mean(0)
        return cls(mean, torch.linalg.qr((features - mean) / (len(features) - 1) ** 0.5, mode="r").R)

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor) -> Gaussian:
        """The Gaussian of a mean [D] and a symmetric positive semidefinite covariance [D, D].

        Raises:
            SizeError: the shapes do not fit.
        """
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise SizeError(f"a mean {list(mean.shape)} and a covariance {list(covariance.shape)}", "[D] and [D, D]")
        values, vectors = torch.linalg.eigh(covariance.double())
        return cls(mean.double(), values.clamp(min=0).sqrt()[:, None] * vectors.T)


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """The squared Frechet distance of two Gaussians (Dowson and Landau 1982, abstract), 0 or more.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)): on features of pictures known as FID (Heusel et al. 2017).
    With other features than Inception's, as here, numbers compare only with each other. The trace of the
    root is the sum of the singular values of F1 F2^T, F the factors: no root of a product is taken, in
    which rounding errors of negative sign would have to be cut away.

    Fitted to samples it is too large on average, the more so the fewer there are (Chong and Forsyth 2020,
    abstract): compare only distances between equally many pictures, and with `error_of`.

    Raises:
        SizeError: the two have different numbers of features.
    """
    if first.mean.shape != second.mean.shape:
        raise SizeError(f"Gaussians of {len(first.mean)} and {len(second.mean)} features", "the same number")
    shift = (first.mean - second.mean).square().sum()
    spread = first.factor.square().sum() + second.factor.square().sum()
    shared = torch.linalg.svdvals(first.factor @ second.factor.T).sum()
    return max(float(shift + spread - 2 * shared), 0.0)


def distance_between(first: Tensor, second: Tensor) -> float:
    """The squared Frechet distance of features [N, D] and [M, D]."""
    return frechet_distance(Gaussian.fit(first), Gaussian.fit(second))


def chance_of(first: Tensor, second: Tensor, times: int = 200, seed: int = 0) -> float:
    """How often chance alone sets two lots of pictures as far apart as they are: a paired permutation test.

    Row i of both is a picture of caption i. Were both drawn from one law, the two pictures of any caption
    could as well stand the other way round: so each pair is exchanged or not, by the toss of a coin, and
    the distance measured again.

    Args:
        first: features [N, D].
        second: features [N, D].
        times: how often all coins are tossed.
        seed: of the coins.

    Returns:
        Share of the orders, the given one among them, that are this far apart or more: above 0, up to 1.
        Of one law it is below 0.05 in at most one case of twenty.

    Raises:
        SizeError: the shapes differ.
    """
    _check_paired(first, second)
    generator = torch.Generator().manual_seed(seed)
    distance = distance_between(first, second) * (1 - 1e-9)  # rounding must not tell equals apart
    as_far = 1
    for _ in range(times):
        exchange = torch.rand(len(first), 1, generator=generator) < 0.5
        as_far += distance_between(first.where(exchange, second), second.where(exchange, first)) >= distance
    return as_far / (times + 1)


def error_of(first: Tensor, second: Tensor, groups: int = 16) -> float:
    """Standard error of `distance_between` over captions and seeds, by a jackknife that leaves out groups of captions.

    Args:
        first: features [N, D], N of 4 or more; row i is a picture of caption i, as in `second`.
        second: features [N, D].
        groups: of captions, fewer where a group would have less than two.

    Raises:
        SizeError: the shapes differ, or there are fewer than 4 rows.
    """
    _check_paired(first, second)
    if len(first) < 4:
        raise SizeError(f"{len(first)} pictures", "4 or more")
    groups = min(groups, len(first) // 2)
    group = torch.arange(len(first)) % groups
    left = torch.tensor([distance_between(first[group != out], second[group != out]) for out in range(groups)])
    return float(((groups - 1) / groups * (left - left.mean()).square().sum()).sqrt())


def _check_paired(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise SizeError(f"features {list(first.shape)} and {list(second.shape)}", "two of one shape")
