"""From a trained cell to metrics.json: the KL of gnELBO, what a broken model becomes, what the file says of itself."""

import json
import math
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal
from trained import train_alone

from sintro import SintroError
from sintro.basics.randomness import generator
from sintro.cells import components
from sintro.cells.cell import Cell
from sintro.cells.presets import published
from sintro.data.densities import density as data_density
from sintro.evaluation import cell as evaluation
from sintro.evaluation import collected, plane
from sintro.metrics import METRICS, VERSIONS, density, noise, outdated, versions
from sintro.metrics.plane import NAMES
from sintro.objectives import kl
from sintro.objectives.model import Model
from sintro.priors import MixturePrior, StandardNormal
from sintro.training import loop
from sintro.training import tasks as training
from sintro.training.players import Players

PLANE = "results/tiny/rings/soft-introvae/normal/none/seed0"
DIGITS = "results/tiny/digits/soft-introvae/mog4-learned-lc/clip-resp10/seed0"
SHORT = {"iterations": 6, "warmup": 4, "milestones": (), "samples": 3}
QUICK = {
    PLANE: SHORT | {"batch_size": 32, "evaluation_points": 300, "evaluation_grid": 16},
    DIGITS: SHORT
    | {"conversion": 3, "batch_size": 50, "channels": (4, 8), "evaluation_images": 120, "snapshots": (0, 5)},
}


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Train a short cell in a folder of the test's own -> the cell."""
    monkeypatch.chdir(tmp_path)

    def train(path: str) -> Cell:
        cell = Cell.from_path(path)
        assert train_alone(cell, published(cell).model_copy(update=QUICK[path])) == 0
        return cell

    return train


def read(cell: Cell, name: str) -> dict:
    return json.loads(Path(cell.path, name).read_text())


# --- the KL of gnELBO


def posteriors(count=40, size=2):
    draws = torch.randn(2, count, size, generator=generator(0, "posteriors"), dtype=torch.float64)
    return draws[0], 0.5 * draws[1] - 1


def test_the_sampled_kl_to_the_standard_normal_is_the_mean_over_the_noise():
    """Against torch.distributions, latent by latent, with the same noise vectors for every point."""
    mean, log_var = posteriors()
    noise = torch.randn(7, 2, generator=generator(1, "noise"), dtype=torch.float64)
    q = Independent(Normal(mean, (log_var / 2).exp()), 1)
    p = Independent(Normal(torch.zeros(2).double(), torch.ones(2).double()), 1)
    latents = [mean + (log_var / 2).exp() * eps for eps in noise]
    expected = torch.stack([q.log_prob(z) - p.log_prob(z) for z in latents]).mean(0)
    torch.testing.assert_close(plane._kl_to_normal(mean, log_var, noise), expected)
    one = MixturePrior(torch.zeros(1, 2).double(), torch.zeros(1, 2).double(), torch.zeros(1).double())
    torch.testing.assert_close(plane._sampled_kl(mean, log_var, one, noise), expected)
    assert (expected - kl(mean, log_var, StandardNormal(2), 0, None)).abs().max() > 0.05


def test_the_sampled_kl_is_the_closed_form_in_expectation():
    mean, log_var = posteriors()
    noise = torch.randn(200_000, 2, generator=generator(1, "noise"), dtype=torch.float64)
    closed = kl(mean, log_var, StandardNormal(2), 0, None)
    torch.testing.assert_close(plane._kl_to_normal(mean, log_var, noise), closed, rtol=0, atol=0.03)


def linear(log_var: float) -> Model:
    return Model(lambda x: torch.cat([0.8 * x, torch.full_like(x, log_var)], -1), lambda z: 1.1 * z, StandardNormal(2))


@pytest.mark.parametrize("protocol", ["sampled", None])
def test_gnelbo_takes_the_kl_of_the_cells_protocol(protocol):
    class Stated:
        seed, samples, latent_size, kl_of_normal = 0, 100, 2, protocol

    model, points = linear(-1.5), torch.randn(50, 2, generator=generator(0, "x"))
    found = plane._energy(model, model.prior, Stated(), "cpu")(points)
    closed = kl(*model.encode(points), model.prior, 0, None) + model.squared_error(points, 1.1 * 0.8 * points)
    difference = (found - closed).abs().max()
    assert difference > 0.01 if protocol else difference < 1e-5


def test_cells_of_settings_without_a_protocol_have_the_closed_form():
    settings = published(Cell.from_path(PLANE)).model_copy(update={"kl_of_normal": None})
    model, points = linear(-1.5), torch.zeros(1, 2)
    energy = plane._energy(model, model.prior, settings, "cpu")
    torch.testing.assert_close(energy(points), kl(*model.encode(points), model.prior, 0, None))


def test_the_log_variance_is_clamped_from_below():
    model, points = linear(-200.0), torch.zeros(3, 2)
    settings = published(Cell.from_path(PLANE)).model_copy(update={"kl_of_normal": None})
    expected = kl(*linear(-80.0).encode(points), model.prior, 0, None)
    torch.testing.assert_close(plane._energy(model, model.prior, settings, "cpu")(points), expected)


# --- models that are not finite


class BreaksAtTheEnd(Players):
    """Finite losses to the last, then a weight that is not a number: what the last step of an optimiser can do."""

    def step(self, iteration, **options):
        terms = super().step(iteration, **options)
        if iteration + 1 == self.shared.iterations:
            weights = next(iter(self.parameters()["decoder"].values())).data
            (weights[-1] if self.fleet else weights).view(-1)[0] = torch.nan
        return terms


@pytest.mark.parametrize("path", [PLANE, DIGITS])
def test_training_that_ends_with_weights_that_are_not_finite_diverged(path, trained, monkeypatch):
    monkeypatch.setattr(loop, "Players", BreaksAtTheEnd)
    cell = trained(path)
    provenance = read(cell, "provenance.json")
    assert (provenance["status"], provenance["diverged_at"]) == ("diverged", 6)
    assert provenance["reason"].startswith("weights are not finite at the end of training: decoder ")
    assert "model_sha256" not in provenance
    assert not Path(cell.path, "model.pt").exists()
    metrics = evaluation.evaluate(cell, device="cpu", threads=1)
    assert {name: metrics[name] for name in evaluation.OUTCOME} == {n: provenance[n] for n in evaluation.OUTCOME}
    assert metrics["finished"] == provenance["finished"]


def test_in_a_fleet_the_cell_beside_is_done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "Players", BreaksAtTheEnd)
    cells = [Cell.from_path(PLANE.replace("seed0", f"seed{seed}")) for seed in (0, 1)]
    tasks = [
        training.Task(cell, published(cell).model_copy(update=QUICK[PLANE]), {}, "sintro train ...") for cell in cells
    ]
    assert training.train_all(tasks, training.Options(), side_by_side=2) == 0
    assert [read(cell, "provenance.json")["status"] for cell in cells] == ["done", "diverged"]


def spoil(cell: Cell, kind: str, player: str) -> None:
    """Put a NaN into the stored model, as a training of an earlier version could leave it."""
    path = Path(cell.path, "model.pt")
    state = torch.load(path, weights_only=True)
    next(tensor for tensor in state[kind][player].values() if tensor.is_floating_point()).view(-1)[0] = torch.nan
    torch.save(state, path)
    provenance = read(cell, "provenance.json")
    provenance.pop("model_sha256")
    Path(cell.path, "provenance.json").write_text(json.dumps(provenance))


@pytest.mark.parametrize(
    ("path", "kind", "player"),
    [(PLANE, "parameters", "encoder"), (DIGITS, "parameters", "prior"), (DIGITS, "buffers", "decoder")],
)
def test_a_stored_model_that_is_not_finite_is_diverged_at_the_end_of_training(path, kind, player, trained):
    cell = trained(path)
    Path(cell.path, "arrays.npz").write_bytes(b"of an earlier evaluation")
    spoil(cell, kind, player)
    metrics = evaluation.evaluate(cell, device="cpu", threads=1)
    assert (metrics["status"], metrics["diverged_at"]) == ("diverged", 6)
    assert metrics["reason"].startswith(f"weights are not finite at the end of training: {player} ")
    assert not set(metrics) & set(METRICS)
    assert read(cell, "metrics.json")["status"] == "diverged"
    assert not Path(cell.path, "arrays.npz").exists()


def test_finite_weights_that_make_no_finite_images_are_diverged_too(trained):
    cell = trained(DIGITS)
    path = Path(cell.path, "model.pt")
    state = torch.load(path, weights_only=True)
    for tensor in state["parameters"]["decoder"].values():
        tensor.fill_(3e38)
    torch.save(state, path)
    provenance = read(cell, "provenance.json")
    provenance.pop("model_sha256")
    Path(cell.path, "provenance.json").write_text(json.dumps(provenance))
    metrics = evaluation.evaluate(cell, device="cpu", threads=1)
    assert metrics["status"] == "diverged"
    assert "not finite" in metrics["reason"]


# --- what metrics.json says of itself


def test_metrics_name_their_training_their_model_and_their_definitions(trained):
    cell = trained(PLANE)
    metrics = evaluation.evaluate(cell, device="cpu", threads=1)
    provenance, stored = read(cell, "provenance.json"), read(cell, "metrics.json")
    for name in ("finished", "model_sha256", "digest"):
        assert metrics[name] == stored[name] == provenance[name]
    assert len(stored["model_sha256"]) == 64
    numbers = [name for name in stored if name in METRICS]
    assert {"kl", "out_of_range", "gnelbo_published", "ood_uniform_elbo_half_auroc"} <= set(numbers)
    assert stored[VERSIONS] == versions(numbers)
    assert outdated(stored) == ()


def test_numbers_of_before_are_outdated_where_the_definition_changed():
    changed = {name for name, metric in METRICS.items() if metric.version > 1}
    assert {"kl", "jsd", "kl_published", "jsd_published", "gnelbo_published"} <= changed
    assert {"precision_published", "recall_published", "fid_rec_published", "cfid_rec_published"} <= changed
    assert not changed & {"fid", "fid_published", "precision", "recall", "fid_rec", "elbo", "off_support"}
    assert set(outdated({"kl": 1.0, "fid": 2.0, "recall_published": 0.5})) == {"kl", "recall_published"}


def test_a_value_of_the_last_checkpoint_is_judged_by_the_metric_it_is_a_form_of():
    of_before = {"recall_last_published": 0.5, "recall_published": 0.5, "fid_last": 2.0, "fid_rec_last_published": 3.0}
    assert set(outdated(of_before)) == {"recall_last_published", "recall_published", "fid_rec_last_published"}
    assert outdated(of_before | {VERSIONS: versions(["recall_published", "fid_rec_published"])}) == ()
    assert outdated({"fid_last_published": 1.0, "selected_iteration": 3, "cfid_over_iterations": {}}) == ()


def test_the_metrics_of_pairs_leave_the_bits_of_the_others_alone(trained, monkeypatch):
    """Their points come from streams of their own."""
    model, settings = linear(-1.5), published(Cell.from_path(PLANE)).model_copy(update=QUICK[PLANE])
    with torch.no_grad():
        found, arrays = plane.measure_density(model, settings, "cpu")
        monkeypatch.setattr(plane, "two_sample_metrics", lambda real, generated: {})
        without, others = plane.measure_density(model, settings, "cpu")
    assert set(found.pop(noise.NOISE)) - set(without.pop(noise.NOISE)) == {*NAMES}
    assert set(found) - set(without) == {"sliced_w2", "energy_distance", "density", "coverage", "one_nna"}
    assert {name: found[name] for name in without} == without
    assert all((arrays[name] == others[name]).all() for name in others)


def test_measurement_noise_is_the_spread_over_draws_of_the_samples():
    """Of the metrics' own draw and three more; for seed 0 alone, and the metrics' bits stay as they are."""
    model, settings = linear(-1.5), published(Cell.from_path(PLANE)).model_copy(update=QUICK[PLANE])
    with torch.no_grad():
        found = plane.measure_density(model, settings, "cpu")[0]
        other = plane.measure_density(model, settings.model_copy(update={"seed": 1}), "cpu")[0]
        points = plane._Points(model, model.prior, data_density("rings"), settings, "cpu")
        draws = [points.divergences(draw)[0] | points.pairs(draw) for draw in range(4)]
    assert noise.NOISE not in other
    assert {name: draws[0][name] for name in draws[0]} == {name: found[name] for name in draws[0]}
    measured = found[noise.NOISE]
    assert set(measured) == {*draws[0], "gnelbo", "gnelbo_published"}
    for name in ("kl", "sliced_w2", "coverage"):
        assert measured[name] == pytest.approx(np.std([draw[name] for draw in draws], ddof=1))
        assert len({draw[name] for draw in draws}) > 2


def test_an_undefined_draw_has_no_noise_and_none_is_pooled():
    draws = [{"kl": 1.0, "jsd": 2.0}, {"kl": math.nan, "jsd": 4.0}]
    found = noise.over_draws(draws)
    assert math.isnan(found["kl"])
    assert found["jsd"] == pytest.approx(math.sqrt(2))
    assert noise.pooled([3.0, None, math.nan, 4.0]) == pytest.approx(math.sqrt(12.5))
    assert noise.pooled([None, math.nan]) is None


def test_points_that_are_not_finite_never_score_well():
    def decode(z):
        return torch.cat([z[:-1] * 0 + 0.5, z[-1:] * torch.nan])

    model = Model(lambda x: torch.cat([x, x * 0], -1), decode, StandardNormal(2))
    settings = published(Cell.from_path(PLANE)).model_copy(update=QUICK[PLANE])
    with torch.no_grad():
        pairs = plane.measure_density(model, settings, "cpu")[0]
    assert all(pairs[name] != pairs[name] for name in NAMES)


def test_cells_trained_before_hashes_were_kept_are_evaluated_without_one(trained):
    cell = trained(PLANE)
    provenance = read(cell, "provenance.json")
    provenance.pop("model_sha256")
    Path(cell.path, "provenance.json").write_text(json.dumps(provenance))
    assert "model_sha256" not in evaluation.evaluate(cell, device="cpu", threads=1)


def test_a_model_of_another_training_is_refused_in_one_line(trained):
    cell = trained(PLANE)
    path = Path(cell.path, "model.pt")
    state = torch.load(path, weights_only=True)
    torch.save(state | {"version": "another"}, path)
    with pytest.raises(SintroError, match=r"model\.pt is not the model of the training") as caught:
        evaluation.evaluate(cell, device="cpu", threads=1)
    assert "\n" not in str(caught.value)
    assert not Path(cell.path, "metrics.json").exists()


def test_samples_that_leave_the_range_are_counted(trained):
    """A decoder that throws everything out of range: published forms undefined, standard ones the worst."""
    model = Model(lambda x: torch.cat([x, x * 0], -1), lambda z: z * 0 + 99.0, StandardNormal(2))
    settings = published(Cell.from_path(PLANE)).model_copy(update=QUICK[PLANE])
    with torch.no_grad():
        metrics, _ = plane.measure_density(model, settings, "cpu")
    assert metrics["out_of_range"] == 1.0
    assert all(metrics[name] != metrics[name] for name in ("kl_published", "jsd_published", "entropy_published"))
    assert metrics["jsd"] == pytest.approx(0.693, abs=1e-3)
    assert metrics["modes_covered"] == 0
    assert metrics["off_support"] == 1.0
    assert (metrics["density"], metrics["coverage"], metrics["one_nna"]) == (0.0, 0.0, 1.0)
    assert metrics["sliced_w2"] > 50
    mean, sd = density.floor("rings", 300)["kl"]
    assert metrics["kl"] > mean + 5 * sd


# --- looks


def test_a_look_leaves_out_what_is_undefined_without_a_prior(tmp_path, monkeypatch):
    class Measured:
        def __init__(self, settings, *_):
            assert settings.evaluation_images == 20

        def measure(self, files, is_look):
            assert is_look
            return {"cfid": 3.0, "elbo": -9.0, "cfid_rec": 2.0, "images": 20}, {}

    monkeypatch.chdir(tmp_path)
    cell = Cell.from_path("results/tiny/solids/lord/normal/none/seed0")
    settings = published(cell)
    opened = evaluation._Opened(Path(cell.path), "cpu", {}, settings, {})
    monkeypatch.setattr(evaluation, "_open", lambda *_: opened)
    monkeypatch.setattr(evaluation.snapshots, "snapshots_of", lambda *_: {settings.iterations: "model.pt"})
    monkeypatch.setattr(evaluation, "ImageEvaluation", Measured)
    Path(cell.path).mkdir(parents=True)
    found = evaluation.look(cell, 20, "cpu")
    assert found.items() <= read(cell, "look.json").items()
    assert not {"cfid", "elbo"} & found.keys()
    assert (found["cfid_rec"], found["images"]) == (2.0, 20)
    assert found["not_measured"]["cfid"] == found["not_measured"]["elbo"] == "no prior"


# --- several cells


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SintroError("not trained"), "not trained"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "CUDA out of memory"),
        (KeyError("of an extension"), "extensions/own.py:3: no such key"),
    ],
)
def test_a_cell_that_fails_does_not_stop_the_others(tmp_path, monkeypatch, error, said):
    """Whatever it fails of, except of a fault in the suite itself."""
    monkeypatch.chdir(tmp_path)
    extension = "extensions/own.py:3: no such key"
    monkeypatch.setattr(components, "fault", lambda found: extension if "extension" in str(found) else None)
    cells = [Cell.from_path(path) for path in (PLANE, DIGITS)]

    def evaluate(cell: Cell, *_: object) -> dict:
        if cell == cells[0]:
            raise error
        return {"status": "done"}

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    failed, done = evaluation.evaluate_each(cells, lambda folder: None, "cpu")
    assert failed[:2] == (cells[0], "")
    assert said in failed[2]
    assert done == (cells[1], "done", "")

    error = TypeError("a fault of the suite")
    with pytest.raises(TypeError):
        list(evaluation.evaluate_each(cells, lambda folder: None, "cpu"))


def test_a_full_disk_is_told_before_any_image_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr(collected, "MOST_IN_MEMORY", 1000)
    made = []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
        with pytest.raises(SintroError, match="no room for 3,000 bytes of generated images"):
            collected.collected(map(made.append, range(3)), 3, (1, 10, 100), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not made
    assert not list(tmp_path.iterdir())
