"""Components of a user's own: each in one file, from `sintro show` to the page, and what is said of a broken file."""

import html
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_workflow import HEAD, Checkout

from sintro import SintroError
from sintro.cells import components, presets, studies
from sintro.cells.cell import Cell
from sintro.cells.components import new
from sintro.runs import doctor

DENSITY = '''
from sintro.cells.components import SOFT, Density, Row, register


@register
class Bars(Density):
    """Two upright bars."""

    name, title = "bars", "Two bars"
    half_width = 3.0
    labels, part = 2, "bar"
    rows = (Row(SOFT, {"beta_kl": 0.4}, "by hand"),)

    def sample(self, n, generator, device="cpu"):
        import torch

        labels = torch.randint(2, (n,), generator=generator)
        first = 2.0 * labels - 1 + 0.2 * (torch.rand(n, generator=generator) - 0.5)
        second = 4 * torch.rand(n, generator=generator) - 2
        return torch.stack((first, second), -1).to(device), labels.to(device)

    def locate(self, points):
        first, second = points.unbind(-1)
        on = ((first.abs() - 1).abs() <= 0.1) & (second.abs() <= 2)
        return (first > 0).long().where(on, -1)
'''
IMAGES = '''
from sintro.cells.components import ImageDataset, register


@register
class Stripes(ImageDataset):
    """Upright and level stripes."""

    name, title = "stripes", "Stripes"
    event, size, classes = (1, 8, 8), 128, 2
    photographs = False

    def read(self, split, root):
        import numpy as np

        source = np.random.RandomState(0 if split == "train" else 1)
        labels = np.arange(128 if split == "train" else 48) % 2
        upright = np.tile(np.arange(8) % 2, (8, 1))
        images = np.stack([upright if label else upright.T for label in labels]) * 180
        noise = source.randint(0, 60, images.shape)
        return (images + noise).astype(np.uint8)[:, None], labels
'''
STRIPES = f"{HEAD}  - {{datasets: [stripes], objectives: [soft-introvae], priors: [mog4-learned]}}\n"
TOYS = Path(__file__).parent / "toys"
TOY_BLOCKS = """
  - {datasets: [rings], objectives: [soft-introvae], priors: [coupling-encoder]}
  - {datasets: [rings], objectives: [soft-introvae], priors: [shared2], regularizers: [resp1]}
  - {datasets: [rings], objectives: [annealed-vae], priors: [coupling]}
"""
CELL = "soft-introvae/mog4-learned/clip/seed0"
STUDY = f"{HEAD}  - {{datasets: [%s, rings], objectives: [vae], priors: [normal]}}\n"


def extend(folder: Path, name: str, text: str) -> Path:
    path = folder / "extensions" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def checkout(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A copy of the workflow in which `quick` is a tiny study, where nothing is found that belongs to this machine."""
    for name in ("SINTRO_DATA", "SINTRO_EXTENSIONS", "SINTRO_INCEPTION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return Checkout(repository, tmp_path)


def sintro(checkout: Checkout, *words: str, code: int = 0) -> str:
    """Run `sintro` in the copy -> everything it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "sintro", *words],
        cwd=checkout.folder, env=checkout.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


# --- one file each, all the way


@pytest.mark.slow
def test_a_density_in_one_file_is_trained_measured_drawn_and_told_of(checkout: Checkout) -> None:
    assert len(DENSITY.strip().splitlines()) <= 40
    path = extend(checkout.folder, "bars", DENSITY.strip())
    checkout.write("quick", STUDY % "bars")
    cell = f"results/quick/bars/{CELL}"
    shown = sintro(checkout, "show", cell)
    assert re.search(r"beta_kl +│ 0.4 +│ by hand", shown)
    assert re.search(r"batch_size +│ 32 +│ study quick: overrides; not the published 512", shown)
    sintro(checkout, "train", cell, "--device", "cpu")
    sintro(checkout, "evaluate", cell, "--device", "cpu")
    drawn = {file.name for file in (checkout.folder / cell).glob("*.png")}
    assert drawn >= {"data.png", "samples.png", "density.png", "latent.png", "history.png"}

    checkout.snakemake()
    page = (checkout.folder / "reports" / "quick" / "index.html").read_text()
    assert "Two bars" in page
    assert "Rings" in page
    assert checkout.planned() == set()

    path.write_text(DENSITY + "# an edit\n")
    assert {job for job in checkout.planned() if "rings" in job} == set()
    assert "train results/quick/bars/vae/normal/none/seed0" in checkout.planned()

    path.unlink()
    assert {job for job in checkout.planned() if "bars" in job} == set()
    said = sintro(checkout, "report", "quick")
    assert "1 cells of study quick are left out, as results/quick/bars/vae/normal/none/seed0" in said
    page = html.unescape((checkout.folder / "reports" / "quick" / "index.html").read_text())
    assert "no extension defines dataset 'bars' any more" in page
    assert "its extension is gone" in page
    assert (checkout.folder / "results/quick/bars/vae/normal/none/seed0/metrics.json").exists()
    assert "rings" in sintro(checkout, "status", "quick")


@pytest.mark.slow
def test_images_in_one_file_are_trained_measured_drawn_and_told_of(checkout: Checkout) -> None:
    assert len(IMAGES.strip().splitlines()) <= 40
    extend(checkout.folder, "stripes", IMAGES.strip())
    checkout.write("quick", STRIPES)
    cell = "results/quick/stripes/soft-introvae/mog4-learned/none/seed0"
    shown = sintro(checkout, "show", cell)
    assert re.search(r"evaluation_images +│ 128 ", shown)
    checkout.snakemake()
    drawn = {file.name for file in (checkout.folder / cell).glob("*.png")}
    assert drawn >= {"data.png", "samples.png", "history.png"}
    assert "Stripes" in (checkout.folder / "reports" / "quick" / "index.html").read_text()
    assert "stripes: read by its extension, nothing to fetch" in sintro(checkout, "fetch", "stripes")
    assert checkout.planned() == set()


@pytest.mark.slow
def test_priors_and_an_objective_in_one_file_each_go_through_snakemake(checkout: Checkout) -> None:
    for toy in TOYS.glob("*.py"):
        extend(checkout.folder, toy.stem, toy.read_text())
    checkout.write("quick", f"{HEAD}{TOY_BLOCKS}")
    checkout.snakemake()
    page = (checkout.folder / "reports" / "quick" / "index.html").read_text()
    assert all(name in page for name in ("coupling-encoder", "shared2", "annealed-vae"))
    assert checkout.planned() == set()
    (checkout.folder / "extensions" / "coupling.py").unlink()
    assert {job for job in checkout.planned() if job.startswith(("train", "evaluate"))} == set()


@pytest.mark.slow
def test_what_the_document_says_is_what_happens(checkout: Checkout) -> None:
    text = (checkout.repository / "docs" / "extending.md").read_text()
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    assert {command.split()[2] for command in commands if " new " in command} == {
        "density", "images", "prior", "objective"
    }  # fmt: skip
    assert len(commands) >= 18
    source = np.random.RandomState(0)
    for split in ("train", "test"):
        for label in "ab":
            folder = checkout.folder / "data" / "faces" / split / label
            folder.mkdir(parents=True)
            for index in range(50 if split == "train" else 20):
                Image.fromarray(source.randint(0, 255, (40, 36, 3)).astype(np.uint8)).save(folder / f"{index}.png")
    for command in commands:
        verb, *words = shlex.split(command)
        if verb == "snakemake":
            checkout.snakemake(*words)
        elif verb == "sintro":
            sintro(checkout, *words)


# --- what is broken

LACKS = DENSITY.replace("def locate", "def find")
BROKEN = {
    "missing": ("import nothing_of_this_name\n", ":1: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    "syntax": ("x = 1\ny = (\n", ":2: SyntaxError: '(' was never closed"),
    "exits": ("\nraise SystemExit(3)\n", ":2: SystemExit: 3"),
    "lacks": (LACKS, ":5: dataset Bars lacks 'locate'; it needs name, title, half_width, labels, part, sample, locate"),
    "clash": (DENSITY.replace('"bars"', '"rings"'), ":5: dataset 'rings': the suite itself has one of this name"),
    "illegal": (DENSITY.replace('"bars"', '"my bars/x"'), ":5: dataset name 'my bars/x': legal are lower-case letters"),
    "reserved": (DENSITY.replace('"bars"', '"results"'), ":5: dataset name 'results': legal are"),
    "twice": (DENSITY + "\n\nregister(Bars)\n", ": dataset 'bars' is registered twice"),
    "rows": (DENSITY.replace('Row(SOFT, {"beta_kl": 0.4}, "by hand")', "3"), ":5: dataset 'bars': rows holds 3"),
    "other": (
        "from sintro.cells.components import register\nregister(3)\n",
        ":2: register takes a data set, a prior or an",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_extension_is_one_line_and_harms_no_other_cell(name, tmp_path, monkeypatch) -> None:
    text, said = BROKEN[name]
    monkeypatch.chdir(tmp_path)
    extend(tmp_path, name, text)
    with pytest.raises(SintroError) as raised:
        Cell.from_path(f"results/quick/{name}/{CELL}")
    assert f"extensions/{name}.py" in str(raised.value)
    assert re.sub(r":\d+", "", said) in re.sub(r":\d+", "", str(raised.value))
    if not said.startswith(": "):
        assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(components.broken()) == [Path("extensions", f"{name}.py")]
    assert Cell.from_path(f"results/quick/rings/{CELL}").data.source is None
    with pytest.raises(SintroError, match=rf"dataset 'ringz' .* mean 'rings'\?; not read: extensions/{name}.py"):
        Cell.from_path(f"results/quick/ringz/{CELL}")


def test_a_broken_file_claims_the_names_that_stand_in_it(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    extend(tmp_path, "mine", "import nothing_of_this_name\n" + DENSITY)
    for name in ("bars", "mine"):
        with pytest.raises(
            components.UnknownComponent, match="of an extension that cannot be read: extensions/mine"
        ) as raised:
            components.dataset(name)
        assert raised.value.broken
    with pytest.raises(SintroError, match=r"objective 'bars-rec1-kl1' is of an extension .* extensions/mine.py:1: "):
        components.parse_objective("bars-rec1-kl1")
    with pytest.raises(components.UnknownComponent, match="dataset 'barn' is not one of") as raised:
        components.dataset("barn")
    assert not raised.value.broken


def test_the_doctor_lists_what_is_read_and_what_is_broken(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    extend(tmp_path, "bars", DENSITY)
    extend(tmp_path, "bad", "import nothing_of_this_name\n")
    found = [(check.state, check.found) for check in doctor.extensions()]
    assert ("ok", "dataset bars of extensions/bars.py") in found
    said = "extensions/bad.py:1: ModuleNotFoundError: No module named 'nothing_of_this_name'"
    assert found[0] == ("bad", said)


def test_the_folder_of_extensions_can_be_named_and_one_that_is_none_is_told_of(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    extend(tmp_path / "mine", "bars", DENSITY)
    extend(tmp_path / "mine", "_draft", "raise SystemExit\n")
    monkeypatch.setenv("SINTRO_EXTENSIONS", str(tmp_path / "mine" / "extensions"))
    assert components.dataset("bars").title == "Two bars"
    assert components.broken() == {}
    monkeypatch.setenv("SINTRO_EXTENSIONS", "nowhere")
    with pytest.raises(SintroError, match="SINTRO_EXTENSIONS nowhere cannot be read: No such file or directory"):
        components.dataset("bars")


def test_of_two_extensions_that_clash_the_first_one_holds(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    extend(tmp_path, "a", DENSITY)
    extend(tmp_path, "b", DENSITY)
    assert components.dataset("bars").source == Path("extensions/a.py")
    (said,) = components.broken().values()
    assert said == "extensions/b.py:5: dataset 'bars': extensions/a.py defines it too"


def test_a_study_leaves_out_cells_of_a_broken_extension_but_refuses_a_misspelt_name(
    write_study, tmp_path, capsys
) -> None:
    write_study("mixed", STUDY % "bars")
    extend(tmp_path, "bars", DENSITY.replace("def sample", "def sample(:"))
    cells = studies.load("mixed").cells()
    assert [cell.dataset for cell in cells] == ["rings"]
    assert studies.settings(cells[0]).digest
    said = capsys.readouterr().err
    assert said.startswith(
        "warning: 1 cells of study mixed are left out, as results/mixed/bars/vae/normal/none/seed0: "
    )
    assert "extensions/bars.py:14: SyntaxError" in said
    write_study("wrong", STUDY % "ringz")
    with pytest.raises(SintroError, match=r"wrong.yaml: cells\[0\]: dataset 'ringz' is not one of"):
        studies.load("wrong")


def test_a_row_of_no_hyper_parameter_is_refused_with_the_file(write_study, tmp_path) -> None:
    write_study("mixed", STUDY % "spirals")
    extend(tmp_path, "bars", DENSITY.replace("beta_kl", "beta_kk"))
    said = r"extensions/bars.py: dataset 'bars': rows: 'beta_kk' is no hyper-parameter; did you mean 'beta_kl'\?"
    with pytest.raises(SintroError, match=said):
        studies.settings(Cell.from_path(f"results/mixed/bars/{CELL}"))


def test_a_value_that_is_no_hyper_parameters_is_refused_with_the_file(write_study, tmp_path) -> None:
    write_study("mixed", STUDY % "bars")
    extend(tmp_path, "bars", DENSITY.replace("0.4", "-1"))
    said = r"extensions/bars.py: dataset 'bars': rows: beta_kl: input should be greater than 0"
    with pytest.raises(SintroError, match=said):
        studies.settings(Cell.from_path(f"results/mixed/bars/{CELL}"))
    assert len(studies.load("mixed").cells()) == 2  # the other cells are not harmed


def test_images_that_are_not_here_are_missed_where_they_are_needed_only(write_study, tmp_path) -> None:
    write_study("mixed", STRIPES.replace("stripes", "faces, digits"))
    new.write("images", "faces")
    components.registry._registries.clear()
    cells = studies.load("mixed").cells()
    assert studies.settings(cells[1]).training_images is None
    with pytest.raises(SintroError, match=r"faces: no pictures data/faces/train/<class>/\*.png"):
        studies.settings(cells[0])


def test_images_that_are_not_as_declared_are_refused(write_study, tmp_path) -> None:
    from sintro.data import images

    write_study("mixed", STUDY % "spirals")
    for name, wrong, said in (
        ("a", ("(1, 8, 8)", "(1, 16, 16)"), r"gives uint8 \(128, 1, 8, 8\), expected uint8 \[N, 1 x 16 x 16\]"),
        ("b", ("128, 2", "129, 2"), "gives 128 images, but its size is 129"),
        ("c", ("128, 2", "128, 1"), "expected images with labels from 0 to 0"),
        ("d", ("else 48", "else 3"), "gives 3 images; legal are 4 and more"),
    ):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        os.chdir(folder)
        extend(folder, "stripes", IMAGES.replace(*wrong))
        with pytest.raises(SintroError, match=f"extensions/stripes.py: .*{said}"):
            images.load("stripes", "train")


EVENTS = [
    ("(1, 14, 28)", {}, "channels 64, 128: each halves the images of 14 x 28 pixels; legal are 1 to 1 numbers"),
    ("(1, 28, 14)", {}, "legal are 1 to 1 numbers"),
    ("(1, 31, 28)", {}, "legal are images with an even number of pixels a side"),
    ("(4, 32, 32)", {"reconstruction": "vgg16"}, "vgg16: images of 4 channels; legal are 1 and 3"),
]


@pytest.mark.parametrize(("event", "values", "said"), EVENTS)
def test_images_that_the_networks_cannot_take_are_refused(tmp_path, monkeypatch, event, values, said) -> None:
    monkeypatch.chdir(tmp_path)
    extend(tmp_path, "stripes", IMAGES.replace("(1, 8, 8)", event))
    with pytest.raises(SintroError, match=said):
        presets.resolve(Cell.from_path("results/s/stripes/vae/normal/none/seed0"), values=values)


@pytest.mark.parametrize("name", ["iterations", "seed", "scale", "training_images"])
def test_rows_that_name_what_they_do_not_set_are_refused(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    extend(tmp_path, "bars", DENSITY.replace('{"beta_kl": 0.4}', f'{{"{name}": 1}}'))
    with pytest.raises(SintroError, match=f"rows: '{name}' is not set by rows; legal are adam_at_introspection, "):
        presets.resolve(Cell.from_path(f"results/s/bars/{CELL}"))


# --- the digest


def test_an_edited_extension_makes_other_settings_and_the_suites_own_have_none(write_study, tmp_path) -> None:
    digests = set()
    for name, text in (("a", DENSITY), ("b", DENSITY + "# a comment\n"), ("c", DENSITY)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "workflow").symlink_to(tmp_path / "workflow")
        os.chdir(folder)
        write_study("mixed", STUDY % "spirals")
        extend(folder, "bars", text)
        settings = studies.settings(Cell.from_path(f"results/mixed/bars/{CELL}"))
        assert settings.extension_sha256 == components.dataset("bars").sha256
        digests.add(settings.digest)
        assert studies.settings(Cell.from_path(f"results/mixed/rings/{CELL}")).extension_sha256 is None
    assert len(digests) == 2


# --- sintro new


def test_new_writes_a_file_that_works_and_overwrites_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, name in (("density", "two-moons"), ("images", "4faces"), ("prior", "none")):
        path = new.write(kind, name)
        assert path == Path("extensions", f"{name}.py")
        before = path.read_text()
        with pytest.raises(SintroError, match=f"{path} is there already"):
            new.write(kind, name)
        assert path.read_text() == before
    components.registry._registries.clear()
    assert components.broken() == {}
    assert components.dataset("two-moons").kind == "2d"
    assert components.dataset("4faces").kind == "images"
    assert type(components.prior("none")).__name__ == "SetNone"  # a word that Python keeps for itself


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Moons", "legal are lower-case"),
        ("a/b", "legal are lower-case"),
        ("../x", "legal are lower-case"),
        ("", "legal are lower-case"),
        ("results", "legal are lower-case"),
        ("rings", "there is a component of this name"),
        ("vae", "there is a component of this name"),
        ("folder-x-64", "there is a component of this name"),
    ],
)
def test_new_refuses_names_that_are_not_legal_or_not_free(name, said, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SintroError, match=said):
        new.write("density", name)
    assert not Path("extensions").exists()


def test_a_new_density_keeps_its_own_laws(tmp_path, monkeypatch) -> None:
    from sintro.basics.randomness import generator
    from sintro.data.densities import density

    monkeypatch.chdir(tmp_path)
    new.write("density", "blobs")
    components.registry._registries.clear()
    target = density("blobs")
    points, labels = target.sample(20_000, generator(0, "blobs"))
    found = target.locate(points)
    assert (found >= 0).double().mean() > 0.999
    assert (found[found >= 0] == labels[found >= 0]).all()
    assert labels.unique().tolist() == list(range(target.labels))
    assert points.abs().max() < target.half_width


def test_the_names_are_read_without_torch(repository: Path) -> None:
    script = (
        "import sys; from sintro.cells import Cell, components;"
        f"Cell.from_path('results/quick/rings/{CELL}'); components.datasets(); components.priors();"
        "assert not {'torch', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=repository, check=True)
