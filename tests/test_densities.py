"""The densities: moments, labels, supports and randomness, against their definitions (docs/science.md, section 6)."""

import math

import pytest
import torch
from scipy import stats

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.cells.components import datasets
from sintro.data.densities import RING_RADII, SPIRAL_NOISE, density

NAMES = ("8gaussians", "spirals", "checkerboard", "rings")
MANY = 200_000

# Standard deviations of 200,000 draws of the published code. A standard deviation's own standard error is below
# sd / sqrt(2 * 200,000) x 1.5 here (0.003 at most), on both sides.
MOMENTS = {
    "8gaussians": (1.000, 1.000),
    "spirals": (1.607, 1.584),
    "checkerboard": (2.306, 2.310),
    "rings": (1.454, 1.456),
}


@pytest.fixture(scope="module")
def drawn():
    return {name: density(name).sample(MANY, generator(0, name)) for name in NAMES}


def test_the_registry_has_the_four_densities():
    assert tuple(datasets("2d")) == NAMES
    assert [density(name).half_width for name in NAMES] == [2, 4, 4, 4]
    assert [density(name).labels for name in NAMES] == [8, 2, 8, 4]


def test_an_unknown_name_lists_the_legal_ones():
    with pytest.raises(SintroError, match=r"unknown density 'moons': one of 8gaussians, spirals, checkerboard, rings"):
        density("moons")


@pytest.mark.parametrize("name", NAMES)
def test_moments(name, drawn):
    points, _ = drawn[name]
    assert points.std(0).tolist() == pytest.approx(MOMENTS[name], abs=0.01)
    assert points.mean(0).tolist() == pytest.approx((0, 0), abs=0.02)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [0, 1, 2, 7, 512])
def test_shapes_and_types(name, n):
    points, labels = density(name).sample(n, generator(0, "test"))
    assert points.shape == (n, 2)
    assert labels.shape == (n,)
    assert points.dtype == torch.float32
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("name", NAMES)
def test_points_depend_on_the_generator_alone(name):
    target = density(name)
    points, labels = target.sample(512, generator(3, "data", 7))
    torch.manual_seed(1)  # the global generator takes no part
    again, labels_again = target.sample(512, generator(3, "data", 7))
    assert torch.equal(points, again)
    assert torch.equal(labels, labels_again)
    for other in (generator(4, "data", 7), generator(3, "data", 8)):
        assert not torch.equal(points, target.sample(512, other)[0])


@pytest.mark.parametrize("name", NAMES)
def test_sampling_leaves_the_global_generator_alone(name):
    state = torch.random.get_rng_state()
    density(name).sample(512, generator(0, "test"))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_parts_have_equal_shares(name, drawn):
    _, labels = drawn[name]
    counts = torch.bincount(labels, minlength=density(name).labels)
    assert len(counts) == density(name).labels
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_8gaussians_label_is_the_mode(drawn):
    points, labels = drawn["8gaussians"]
    angle = labels * math.pi / 4
    centres = torch.stack((angle.cos(), angle.sin()), -1) * 2 / 1.414
    deviation = (points - centres) / (0.02 / 1.414)
    for coordinate in deviation.T:
        assert stats.kstest(coordinate[:5000].numpy(), "norm").pvalue > 1e-4
        assert coordinate.std().item() == pytest.approx(1, abs=0.01)


def test_8gaussians_centres_are_the_modes():
    centres = density("8gaussians").centres
    torch.testing.assert_close(centres[0], torch.tensor([2 / 1.414, 0.0]))
    torch.testing.assert_close(centres[3], torch.tensor([-math.sqrt(2), math.sqrt(2)]) / 1.414)


@pytest.mark.parametrize("n", [2, 7, 512])
def test_spirals_halves_are_the_arms(n):
    _, labels = density("spirals").sample(n, generator(0, "test"))
    first = (n + 1) // 2
    assert labels.tolist() == [0] * first + [1] * (n - first)


def test_spirals_second_arm_mirrors_the_first():
    points, labels = density("spirals").sample(20_000, generator(0, "test"))
    noise = (points[labels == 0] + points[labels == 1]) / (math.sqrt(2) * SPIRAL_NOISE)  # only the noise is left
    assert noise.std(0).tolist() == pytest.approx((1, 1), abs=0.02)


def test_spirals_follow_their_angle(drawn):
    """Along an arm U = (t / 3 pi)^2 is uniform, and t is close to three times the distance from the arm's pole."""
    points, labels = drawn["spirals"]
    arm = points[labels == 0][:20_000] - 0.5 / 2 / 3  # the jitter's mean
    t = 3 * arm.norm(dim=-1)
    direction = torch.stack((-t.cos(), t.sin()), -1)
    along = (direction * arm).sum(-1) / arm.norm(dim=-1)
    # The cosine of the angle between a point and its place on the arm; the noise across it moves t by 0.33.
    assert along[t > 4].mean().item() == pytest.approx(math.exp(-(0.33**2) / 2), abs=0.02)
    u = (t / (3 * math.pi)) ** 2
    for quarter in (0.25, 0.5, 0.75):
        assert (u < quarter).float().mean().item() == pytest.approx(quarter, abs=0.02)


def test_checkerboard_is_uniform_on_its_squares(drawn):
    points, labels = drawn["checkerboard"]
    column, lower = labels // 2, labels % 2
    left = 2.0 * (column - 2)
    bottom = 2.0 * (column % 2) - 4.0 * lower
    inside = torch.stack((points[:, 0] - left, points[:, 1] - bottom), -1) / 2
    assert inside.min() >= 0
    assert inside.max() <= 1
    for coordinate in inside.T:
        assert stats.kstest(coordinate[:5000].numpy(), "uniform").pvalue > 1e-4
    # The colours alternate: of two squares that share a side only one is drawn.
    corners = torch.stack((left, bottom), -1).unique(dim=0).tolist()
    assert corners == [[-4, -4], [-4, 0], [-2, -2], [-2, 2], [0, -4], [0, 0], [2, -2], [2, 2]]


def test_rings_label_is_the_radius(drawn):
    points, labels = drawn["rings"]
    for label, radius in enumerate((3.0, 2.25, 1.5, 0.75)):
        ring = points[labels == label]
        # E r^2 = R^2 + 2 sd^2 and, up to higher orders, sd(r) = sd of the noise.
        assert ring.square().sum(-1).mean().item() == pytest.approx(radius**2 + 2 * 0.08**2, abs=0.02)
        assert ring.norm(dim=-1).std().item() == pytest.approx(0.08, abs=0.002)
        angle = torch.atan2(ring[:, 1], ring[:, 0])[:5000]
        assert stats.kstest(angle.numpy(), "uniform", (-math.pi, 2 * math.pi)).pvalue > 1e-4


def test_rings_have_no_gaps_along_the_circle(drawn):
    """The angles are discrete, 0.15 apart on the widest ring: the noise hides that, which it would not at 0.3."""
    points, labels = drawn["rings"]
    ring = points[labels == 0]
    counts = torch.histc(torch.atan2(ring[:, 1], ring[:, 0]), 512, -math.pi, math.pi)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_real_data_are_on_the_support(name, drawn):
    points, _ = drawn[name]
    assert density(name).on_support(points).double().mean() >= 0.999


@pytest.mark.parametrize("name", NAMES)
def test_a_point_is_located_on_its_own_part(name, drawn):
    points, labels = drawn[name]
    located = density(name).locate(points)
    on = located >= 0
    # The spirals' arms meet near the origin, where a few points are nearer to the other one.
    assert (located[on] == labels[on]).double().mean() >= (0.995 if name == "spirals" else 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_support_leaves_room_for_bridges(name):
    """The share of the range's area that is on the support; what lies between the parts is not."""
    axis = torch.linspace(-1, 1, 401) * density(name).half_width
    share = density(name).on_support(torch.cartesian_prod(axis, axis)).double().mean().item()
    low, high = {
        "8gaussians": (0.0045, 0.0055),  # eight discs of radius 0.0566 in 16
        "spirals": (0.3, 0.42),
        "checkerboard": (0.5, 0.51),  # with the edges, which the grid hits
        "rings": (0.40, 0.42),  # four annuli of width 0.56 in 64
    }[name]
    assert low <= share <= high


BRIDGES = {
    "8gaussians": [(0.0, 0.0), (1.3, 0.5), (1.414, 0.06), (0.0, 1.35)],
    "spirals": [(-1.571, 0.0), (-2.618, 0.0), (2.618, 0.0), (0.0, 1.047), (0.0, -2.094), (3.9, 3.9)],
    "checkerboard": [(-3.0, 3.0), (-1.0, 1.0), (1.0, -1.0), (3.0, 1.0), (4.1, 3.0), (3.0, 4.1)],
    "rings": [(0.0, 0.0), (1.125, 0.0), (0.0, 1.875), (-2.625, 0.0), (0.0, -3.4)],
}


@pytest.mark.parametrize("name", NAMES)
def test_bridges_are_off_the_support(name):
    assert not density(name).on_support(torch.tensor(BRIDGES[name])).any()


def test_spirals_support_separates_the_turns():
    """Walking outwards on any ray (past the pole), one meets the arms with gaps between them."""
    radius = torch.linspace(1.2, 3.0, 400)
    for angle in torch.linspace(0, 2 * math.pi, 37)[:-1]:
        ray = radius[:, None] * torch.stack((angle.cos(), angle.sin()))
        on = density("spirals").on_support(ray)
        assert 0.3 < on.double().mean() < 0.98, f"angle {angle:.2f}"
        assert not on.all()


@pytest.mark.parametrize("name", NAMES)
def test_points_that_are_not_finite_are_off_the_support(name):
    points = torch.tensor([[math.nan, 0.0], [0.0, math.nan], [math.inf, 1.0], [0.0, -math.inf], [math.nan, math.inf]])
    assert density(name).locate(points).tolist() == [-1] * 5


@pytest.mark.parametrize("name", NAMES)
def test_support_keeps_leading_axes_and_takes_float64(name):
    target = density(name)
    points, _ = target.sample(24, generator(0, "test"))
    located = target.locate(points)
    assert torch.equal(target.locate(points.reshape(2, 3, 4, 2)), located.reshape(2, 3, 4))
    assert torch.equal(target.locate(points.double()), located)


def test_ring_radii_are_those_of_the_paper():
    assert RING_RADII == (3.0, 2.25, 1.5, 0.75)
