"""The Frechet distance is the one of the textbooks, and chance alone is told from change."""

import pytest
import torch

from mmgen.errors import SizeError
from mmgen.evaluation.frechet import Gaussian, chance_of, distance_between, error_of, frechet_distance


def samples(count, size, seed=0, stretch=1.0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size, size, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return torch.randn(count, size, generator=generator, dtype=torch.float64) @ mixing * stretch + shift


def covariance(seed, size=6, rank=6):
    matrix = torch.randn(size, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return matrix @ matrix.T


@pytest.mark.parametrize("count", [2, 5, 300])  # fewer than features: the covariance is singular
def test_nothing_is_far_from_itself(count):
    features = samples(count, 12)
    assert distance_between(features, features) == pytest.approx(0, abs=1e-11 * float(features.var(0).sum()))
    assert distance_between(features, features.flip(0)) == pytest.approx(0, abs=1e-11 * float(features.var(0).sum()))


def test_a_fit_has_mean_and_covariance_of_its_samples():
    features = samples(40, 5)
    fitted = Gaussian.fit(features)
    torch.testing.assert_close(fitted.mean, features.mean(0))
    torch.testing.assert_close(fitted.factor.T @ fitted.factor, features.T.cov())
    assert Gaussian.fit(features.float()).factor.dtype == torch.float64


def test_known_gaussians():
    first = Gaussian.of(torch.tensor([1.0, 2.0, 3.0]), torch.diag(torch.tensor([4.0, 9.0, 0.0])))
    second = Gaussian.of(torch.tensor([1.0, 0.0, 2.0]), torch.diag(torch.tensor([1.0, 16.0, 25.0])))
    assert frechet_distance(first, second) == pytest.approx(5 + (1 + 1 + 25), rel=1e-12)
    # A turned and stretched copy: covariances that commute have the distance of their roots.
    root = covariance(1)
    mean = torch.zeros(6, dtype=torch.float64)
    distance = frechet_distance(Gaussian.of(mean, root @ root), Gaussian.of(mean + 2, 9 * root @ root))
    assert distance == pytest.approx(24 + 4 * float((root @ root).trace()), rel=1e-9)


@pytest.mark.parametrize("rank", [6, 3])
def test_it_equals_the_formula_computed_by_eigenvalues_of_the_product(rank):
    torchaudio = pytest.importorskip("torchaudio")
    means = samples(2, 6, seed=4)
    covariances = covariance(2), covariance(3, rank=rank)
    ours = frechet_distance(*(Gaussian.of(mean, cov) for mean, cov in zip(means, covariances, strict=True)))
    eigenvalues = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0)
    shift = (means[0] - means[1]).square().sum()
    direct = shift + covariances[0].trace() + covariances[1].trace() - 2 * eigenvalues.sqrt().sum()
    assert ours == pytest.approx(float(direct), rel=1e-6)
    theirs = torchaudio.functional.frechet_distance(means[0], covariances[0], means[1], covariances[1])
    assert ours == pytest.approx(float(theirs), rel=1e-6)


def test_it_is_symmetric_and_sees_shift_and_stretch():
    plain, other = samples(300, 8), samples(200, 8, seed=1)
    assert distance_between(plain, other) == pytest.approx(distance_between(other, plain), rel=1e-9)
    for change in ({"shift": 1.0}, {"stretch": 1.5}):
        near, far = (samples(300, 8, seed=2, **{name: value}) for name, value in _halfway(change))
        assert distance_between(plain, samples(300, 8, seed=2)) < distance_between(plain, near)
        assert distance_between(plain, near) < distance_between(plain, far)


def _halfway(change):
    ((name, value),) = change.items()
    return (name, 0.5 if name == "shift" else 1.25), (name, value)


def test_fewer_samples_seem_farther_apart():
    distances = [distance_between(samples(count, 8, seed=5), samples(count, 8, seed=6)) for count in (30, 300, 3000)]
    assert distances[0] > 2 * distances[1] > 4 * distances[2] > 0


def pictures_of_captions(seed, count=150):
    """Features that hang on the caption, and on a seed of their own."""
    return samples(count, 8, seed=7) + 0.3 * samples(count, 8, seed=seed)


def test_chance_is_told_from_change():
    shares = [chance_of(pictures_of_captions(8 + i), pictures_of_captions(30 + i), times=40) for i in range(20)]
    assert sum(share < 0.25 for share in shares) <= 10 and sum(share > 0.5 for share in shares) >= 4
    first, second = pictures_of_captions(8), pictures_of_captions(30)
    assert chance_of(first, second + 0.5, times=40) == 1 / 41
    assert chance_of(first, 1.2 * second, times=40) == 1 / 41
    assert chance_of(first, first) == 1
    assert chance_of(first, second) == chance_of(first, second)


def test_the_error_is_the_spread_of_repeated_measurements():
    distances, errors = [], []
    for seed in range(30):
        first, second = samples(200, 4, seed=100 + seed), samples(200, 4, seed=200 + seed, shift=0.7)
        distances.append(distance_between(first, second))
        errors.append(error_of(first, second))
    spread = float(torch.tensor(distances).std())
    assert 0.7 * spread < float(torch.tensor(errors).mean()) < 1.4 * spread
    assert error_of(samples(4, 3), samples(4, 3, seed=1)) >= 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(SizeError, match="2 or more"):
        Gaussian.fit(torch.zeros(1, 4))
    with pytest.raises(SizeError, match="2 or more"):
        Gaussian.fit(torch.zeros(4))
    with pytest.raises(SizeError, match="same number"):
        frechet_distance(Gaussian.fit(torch.rand(9, 3)), Gaussian.fit(torch.rand(9, 4)))
    with pytest.raises(SizeError, match="D, D"):
        Gaussian.of(torch.zeros(3), torch.eye(4))
    with pytest.raises(SizeError, match="one shape"):
        chance_of(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(SizeError, match="4 or more"):
        error_of(torch.zeros(3, 2), torch.zeros(3, 2))
