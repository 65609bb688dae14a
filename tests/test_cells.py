"""Cells and their paths: one path per cell, one cell per path, and errors that name the bad part."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from sintro import SintroError
from sintro.cells import cell as cells
from sintro.cells import components, studies
from sintro.cells.cell import Cell, RegularizerSpec
from sintro.cells.components import Betas, PriorSpec


def random_decimal(source: random.Random) -> str:
    """A positive decimal in its one spelling, from 0.001 to 9999.999."""
    whole, thousandths = source.randrange(10_000), source.randrange(1_000)
    if whole == thousandths == 0:
        thousandths = 1
    return f"{whole}.{thousandths:03}".rstrip("0").rstrip(".")


def random_path(source: random.Random) -> str:
    """A well-formed path, put together from the grammar alone."""
    vae = source.random() < 0.3
    betas = ""
    if source.random() < 0.5:
        betas = f"-rec{random_decimal(source)}-kl{random_decimal(source)}"
        betas += "" if vae else f"-neg{random_decimal(source)}"
    modes, contributions = source.randint(1, 512), source.choice(["", "-lc"])
    if vae:
        prior = source.choice(["normal", f"vamp{modes}{contributions}"])
        regularizers = ["none"]
    else:
        cooperation = source.choice(["", "-encoder"])
        prior, regularizers = source.choice(
            [
                ("normal", ["none"]),
                (f"mog{modes}-fixed{contributions}", ["none", f"resp{random_decimal(source)}"]),
                (
                    f"mog{modes}-learned{contributions}{cooperation}",
                    ["none", "clip", f"resp{random_decimal(source)}", f"clip-resp{random_decimal(source)}"],
                ),
            ]
        )
    study = source.choice("abcxyz") + "".join(source.choices("abcxyz0189-_", k=source.randrange(12)))
    objective = "vae" if vae else "soft-introvae"
    parts = [study, source.choice(list(components.datasets())), objective + betas, prior, source.choice(regularizers)]
    return "/".join(["results", *parts, f"seed{source.randrange(cells.SEED_LIMIT)}"])


def test_every_cell_of_every_study_is_found_again_from_its_path() -> None:
    every = [cell for name in studies.names() for cell in studies.load(name).cells()]
    assert len(every) > 5000
    assert all(Cell.from_path(cell.path) == cell for cell in every)


def test_every_well_formed_path_is_the_path_of_its_cell() -> None:
    source = random.Random(0)
    for _ in range(2000):
        path = random_path(source)
        assert Cell.from_path(path).path == path


def test_different_cells_have_different_paths() -> None:
    every = [cell for name in studies.names() for cell in studies.load(name).cells()]
    assert len({cell.path for cell in every}) == len(set(every))


@pytest.mark.parametrize("before", ["", "./", "/scratch/me/run/", "../other/", "/results/old/"])
@pytest.mark.parametrize("after", ["", "/"])
def test_a_path_is_read_from_wherever_it_is_seen(before: str, after: str) -> None:
    path = "results/table1/rings/soft-introvae/mog64-learned-lc/clip/seed3"
    assert Cell.from_path(f"{before}{path}{after}").path == path
    assert Cell.from_path(Path(f"{before}{path}{after}")).path == path


def test_views_say_what_the_names_mean() -> None:
    cell = Cell.from_path("results/s/rings/soft-introvae-rec0.2-kl0.3-neg0.9/mog64-learned-lc/clip-resp10/seed3")
    assert cell.objective_name == "soft-introvae"
    assert cell.betas == Betas(rec=0.2, kl=0.3, neg=0.9)
    assert cell.prior_spec == PriorSpec("mixture", 64, learned=True, contributions=True, cooperation="decoder")
    assert cell.regularizer_spec == RegularizerSpec(clip=True, responsibility=10.0)
    assert cell.seed == 3

    cell = Cell.from_path("results/s/rings/vae/vamp8/none/seed0")
    assert cell.betas is None
    assert cell.prior_spec == PriorSpec("vamp", 8, learned=False, contributions=False, cooperation=None)
    assert cell.regularizer_spec == RegularizerSpec(clip=False, responsibility=0.0)
    assert components.parse_prior("normal") == PriorSpec("normal", None)
    assert components.parse_prior("mog8-fixed").cooperation is None
    assert components.parse_prior("mog8-learned-encoder").cooperation == "encoder"


GOOD = {
    "study": "quick",
    "dataset": "rings",
    "objective": "soft-introvae",
    "prior": "mog64-learned",
    "regularizers": "clip",
    "seed": "seed0",
}


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("study", "Quick", ["study 'Quick'", "lower-case"]),
        ("study", "-quick", ["study '-quick'"]),
        ("study", "..", ["study '..'"]),
        ("study", "theory", ["study 'theory'", "and not results, theory, features"]),
        ("study", "features", ["study 'features'"]),
        ("dataset", "ringz", ["dataset 'ringz'", "8gaussians, spirals, checkerboard, rings", "did you mean 'rings'?"]),
        ("objective", "introvae", ["objective 'introvae'", "soft-introvae"]),
        ("objective", "soft-introvaes", ["objective 'soft-introvaes'", "did you mean 'soft-introvae'?"]),
        ("objective", "soft-introvae-rec0.2", ["objective 'soft-introvae-rec0.2'"]),
        ("objective", "soft-introvae-rec0.2-kl0.3", ["beta_rec, beta_kl and beta_neg"]),
        ("objective", "vae-rec0.2-kl0.3-neg1", ["vae takes beta_rec and beta_kl only"]),
        ("objective", "soft-introvae-rec0.20-kl0.3-neg1", ["beta_rec 0.20", "written 0.2:"]),
        ("objective", "soft-introvae-rec.2-kl0.3-neg1", ["beta_rec .2", "written 0.2:"]),
        ("objective", "soft-introvae-rec1.0-kl0.3-neg1", ["beta_rec 1.0", "written 1:"]),
        ("objective", "soft-introvae-rec0.2-kl-0.3-neg1", ["beta_kl -0.3 is not positive"]),
        ("objective", "soft-introvae-rec0.2-kl0.3-neg0", ["beta_neg 0 is not positive"]),
        ("objective", "soft-introvae-rec0.2-kl0.3-neg1_0", ["beta_neg '1_0' is not a positive decimal"]),
        ("objective", "soft-introvae-rec0.2-kl0.3-neg1\n", ["beta_neg '1\\n' is not a positive decimal"]),
        ("objective", f"soft-introvae-rec{'9' * 400}-kl0.3-neg1", ["too large"]),
        ("objective", "soft-introvae-rec0.1000000000000000055-kl0.3-neg1", ["must be written 0.1:"]),
        ("prior", "mog64", ["prior 'mog64'", "mogK-learned", "did you mean 'mog64-"]),
        ("prior", "gaussian", ["prior 'gaussian'", "normal"]),
        ("prior", "mog-learned", ["prior 'mog-learned'"]),
        ("prior", "mog0-learned", ["prior 'mog0-learned'", "at least 1"]),
        ("prior", "mog-3-learned", ["prior 'mog-3-learned'", "at least 1"]),
        ("prior", "mog064-learned", ["written 64:"]),
        ("prior", "mog64-fixed-encoder", ["prior 'mog64-fixed-encoder'", "does not learn"]),
        ("prior", "mog64-learned-encoder-lc", ["prior 'mog64-learned-encoder-lc'"]),
        ("prior", "vamp64", ["prior 'vamp64'", "into a mixture"]),
        ("prior", "normal", ["regularizers 'clip'", "learned mixture"]),
        ("prior", "mog64-fixed", ["regularizers 'clip'", "learned mixture"]),
        ("regularizers", "", ["6"]),
        ("regularizers", "clipp", ["regularizers 'clipp'", "did you mean 'clip'?"]),
        ("regularizers", "resp10-clip", ["regularizers 'resp10-clip'"]),
        ("regularizers", "clipresp10", ["regularizers 'clipresp10'"]),
        ("regularizers", "clip-", ["regularizers 'clip-'"]),
        ("regularizers", "-resp1", ["regularizers '-resp1'"]),
        ("regularizers", "resp", ["the weight '' is not a positive decimal"]),
        ("regularizers", "resp0", ["the weight 0 is not positive"]),
        ("regularizers", "resp10.0", ["written 10:"]),
        ("seed", "seed-1", ["seed -1"]),
        ("seed", "seed01", ["seed 01", "written 1:"]),
        ("seed", "seed", ["seed '' is not a whole number"]),
        ("seed", "seed1.5", ["seed '1.5' is not a whole number"]),
        ("seed", "seed٣", ["seed '٣' is not a whole number"]),
        ("seed", "seed4294967296", ["seed 4294967296"]),
        ("seed", "3", ["seed '3'", "seed<k>"]),
    ],
)
def test_a_malformed_path_names_the_bad_part(part: str, value: str, said: list[str]) -> None:
    path = "/".join(["results", *(GOOD | {part: value}).values()])
    with pytest.raises(SintroError) as error:
        Cell.from_path(path)
    message = str(error.value)
    assert "\n" not in message
    for words in said:
        assert words in message


@pytest.mark.parametrize(
    ("objective", "prior", "regularizers", "said"),
    [
        ("vae", "mog64-fixed", "none", "legal are normal, vampK, vampK-lc"),
        ("vae", "vamp64", "resp10", "introspective runs with a mixture"),
        ("soft-introvae", "normal", "resp10", "introspective runs with a mixture"),
    ],
)
def test_parts_that_mean_nothing_together_are_refused_with_the_reason(
    objective: str, prior: str, regularizers: str, said: str
) -> None:
    with pytest.raises(SintroError, match=said):
        Cell.from_path(f"results/quick/rings/{objective}/{prior}/{regularizers}/seed0")


@pytest.mark.parametrize(("dataset", "most"), [(name, one.size) for name, one in components.datasets("images").items()])
def test_there_are_no_more_components_than_data(dataset: str, most: int) -> None:
    assert Cell.from_path(f"results/s/{dataset}/vae/vamp{most}/none/seed0").prior_spec.components == most
    with pytest.raises(SintroError, match=f"{most + 1} components, but {dataset} has only {most}"):
        Cell.from_path(f"results/s/{dataset}/vae/vamp{most + 1}/none/seed0")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("quick/rings/vae/normal/none/seed0", "no folder 'results'"),
        ("", "no folder 'results'"),
        ("results", "<study>, <dataset>, <objective>, <prior>, <regularizers>, <seed> missing"),
        ("results/quick/rings/vae/normal/none", "5 parts after results/ instead of 6, <seed> missing"),
        ("results/quick/rings/vae/normal/none/seed0/metrics.json", "'metrics.json' is too much"),
    ],
)
def test_a_path_of_another_length_is_refused(path: str, said: str) -> None:
    with pytest.raises(SintroError) as error:
        Cell.from_path(path)
    assert said in str(error.value)
    assert cells.SHAPE in str(error.value)


def test_a_cell_cannot_be_changed() -> None:
    cell = Cell.from_path("results/quick/rings/vae/normal/none/seed0")
    with pytest.raises(ValueError, match="frozen"):
        cell.seed = 1


def test_reading_cells_presets_and_studies_needs_no_torch() -> None:
    program = (
        "import sys; from sintro import __main__; from sintro.cells import presets, search_results, studies;"
        "[studies.settings(cell) for cell in studies.load('quick').cells()];"
        "sys.exit(', '.join({'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
