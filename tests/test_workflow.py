"""The workflow with the real snakemake: what runs, what runs again, and what is left alone."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from sintro.cells import search_results
from sintro.data.sources import source

pytestmark = pytest.mark.slow

FASHION = Path("/usr/share/datasets/fashion-mnist")
HEAD = """
title: Tiny
comparable: false
seeds: [0]
overrides: {iterations: 12, batch_size: 32, samples: 2, evaluation_points: 200, evaluation_grid: 16}
cells:
"""
VAE_BLOCK = "  - {datasets: [rings], objectives: [vae], priors: [normal]}\n"
TINY = f"""{HEAD}{VAE_BLOCK}
  - {{datasets: [rings], objectives: [soft-introvae], priors: [mog4-learned], regularizers: [clip]}}
"""
SEARCH = HEAD + VAE_BLOCK.replace("[normal]", "[normal], betas: {rec: [0.5, 1], kl: [1]}")
SEARCHED = "hyperparameters: search" + HEAD + VAE_BLOCK.replace("[normal]", "[normal, vamp4]")
OF_PICTURES = """
title: Pictures of one's own
comparable: false
seeds: [0]
image_overrides: {}
cells:
  - {{datasets: [folder-mine-64], objectives: [soft-introvae], priors: [mog4-learned], regularizers: [clip]}}
"""
VAE, MIXTURE = "rings/vae/normal/none/seed0", "rings/soft-introvae/mog4-learned/clip/seed0"


class Checkout:
    """A copy of the workflow in a folder of its own, with studies `quick` and `other`."""

    def __init__(self, repository: Path, folder: Path):
        self.folder, self.repository = folder, repository
        shutil.copytree(repository / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("studies"))
        shutil.copytree(repository / "profiles", folder / "profiles")
        shutil.copy(repository / "Snakefile", folder)
        (folder / "workflow" / "studies").mkdir()
        self.write("quick", TINY)
        self.write("other", HEAD + VAE_BLOCK)

    def write(self, name: str, text: str) -> None:
        (self.folder / "workflow" / "studies" / f"{name}.yaml").write_text(text)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.repository), "OMP_NUM_THREADS": "1"}

    def snakemake(self, *arguments: str, succeeds: bool = True) -> str:
        """Run snakemake here -> what it printed."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        logs = "".join(f"\n{path}:\n{path.read_text()}" for path in self.folder.glob("logs/**/*.log"))
        assert (done.returncode == 0) == succeeds, done.stdout + logs
        return done.stdout

    def planned(self, *arguments: str) -> set[str]:
        """The jobs that a run would have: `train results/...`."""
        printed = self.snakemake(*arguments, "--dry-run")
        return set(re.findall(r"^Job \d+: ((?:fetch|train|evaluate|write) .*)$", printed, flags=re.MULTILINE))

    def state(self) -> dict[str, tuple[int, str]]:
        """Every file of the results: when it was written, and a hash of its content."""
        return {
            str(path.relative_to(self.folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in self.folder.glob("results/**/*")
            if path.is_file()
        }

    def json(self, path: str) -> dict:
        return json.loads((self.folder / path).read_text())


@pytest.fixture
def fresh(repository: Path, tmp_path: Path) -> Checkout:
    """A checkout in which nothing has run."""
    return Checkout(repository, tmp_path / "fresh")


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which both studies have run; tests copy it."""
    checkout = Checkout(Path(__file__).parents[1], tmp_path_factory.mktemp("workflow") / "finished")
    checkout.snakemake()
    checkout.snakemake("--config", "study=other")
    return checkout


@pytest.fixture
def finished(finished_once: Checkout, tmp_path: Path) -> Checkout:
    """A checkout of the test's own in which both studies have run."""
    copy = object.__new__(Checkout)
    copy.folder, copy.repository = tmp_path / "finished", finished_once.repository
    shutil.copytree(finished_once.folder, copy.folder)
    return copy


def both(verb: str, study: str) -> set[str]:
    return {f"{verb} results/{study}/{cell}" for cell in (VAE, MIXTURE)}


def test_a_run_of_a_study_ends_with_its_pages_and_is_then_done(finished: Checkout) -> None:
    for cell in (f"quick/{VAE}", f"quick/{MIXTURE}", f"other/{VAE}"):
        folder = f"results/{cell}"
        assert finished.json(f"{folder}/metrics.json")["status"] == "done"
        assert finished.json(f"{folder}/provenance.json")["digest"] == finished.json(f"{folder}/cell.json")["digest"]
        assert not (finished.folder / folder / "checkpoint.pt").exists()
    for page in ("reports/quick/index.html", "reports/other/index.html", "reports/index.html"):
        assert (finished.folder / page).stat().st_size > 0
    assert "Nothing to be done" in finished.snakemake("--config", "study=other")


def test_a_study_is_planned_as_a_whole(fresh: Checkout) -> None:
    expected = both("train", "quick") | both("evaluate", "quick")
    assert expected < fresh.planned()
    assert fresh.planned("results/quick/chosen.json") == expected


def test_any_cell_is_a_target_and_runs_alone(fresh: Checkout) -> None:
    assert fresh.planned(f"results/quick/{VAE}/metrics.json") == {
        f"train results/quick/{VAE}",
        f"evaluate results/quick/{VAE}",
    }
    cell = "results/quick/8gaussians/soft-introvae-rec0.5-kl0.5-neg1/mog3-fixed-lc/none/seed7"  # not in the grid
    fresh.snakemake(f"{cell}/metrics.json")
    assert {str(Path(path).parent) for path in fresh.state()} == {cell}
    assert fresh.json(f"{cell}/metrics.json")["status"] == "done"
    assert not (fresh.folder / "reports").exists()


@pytest.mark.slow
def test_pictures_of_ones_own_from_their_folder_to_a_page(fresh: Checkout) -> None:
    pictures = fresh.folder / "pictures"
    pictures.mkdir()
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (200, 64, 64, 3), np.uint8)):
        Image.fromarray(pixels).save(pictures / f"{index:03}.png")
    command = [sys.executable, "-m", "sintro", "prepare", "mine", "pictures", "--size", "64", "--test", "40"]
    subprocess.run(command, cwd=fresh.folder, env=fresh.environment(), check=True, capture_output=True)
    changes = "{iterations: 4, batch_size: 8, samples: 2, channels: [4, 8, 8, 8], evaluation_images: 40}"
    fresh.write("quick", OF_PICTURES.format(changes))
    fresh.snakemake()
    cell = "results/quick/folder-mine-64/soft-introvae/mog4-learned/clip/seed0"
    assert fresh.json(f"{cell}/metrics.json")["status"] == "done"
    page = (fresh.folder / "reports/quick/index.html").read_text()
    assert "folder-mine-64" in page
    assert "Nothing to be done" in fresh.snakemake()


def test_snakemakes_own_report_holds_cells_and_pages(finished: Checkout) -> None:
    finished.snakemake("--report", "snakemake.html")
    page = (finished.folder / "snakemake.html").read_text()
    assert f"results/quick/{VAE}/metrics.json" in page
    assert "reports/quick/index.html" in page


def test_the_equilibrium_is_a_target_that_needs_no_cell(fresh: Checkout) -> None:
    fresh.snakemake("reports/theory/index.html")
    assert "gamma" in (fresh.folder / "reports/theory/index.html").read_text()
    assert "theory/index.html" in (fresh.folder / "reports/index.html").read_text()
    assert [path.name for path in (fresh.folder / "results").iterdir()] == ["theory"]


def test_an_image_set_is_fetched_before_anything_trains_on_it_and_only_then(fresh: Checkout) -> None:
    cell = "results/quick/mnist/vae/normal/none/seed0"
    assert "fetch mnist" in fresh.planned(f"{cell}/metrics.json")
    lock = fresh.folder / "data" / "mnist.lock.json"  # as earlier versions left it
    lock.parent.mkdir()
    lock.write_text("{}")
    files = [fresh.folder / "data" / file.path for file in source("mnist").files]
    files[0].parent.mkdir(parents=True)
    for file in files:
        file.touch()
    assert fresh.planned(f"{cell}/metrics.json") == {f"train {cell}", f"evaluate {cell}"}
    files[1].rename(files[1].with_suffix(""))  # unpacked
    assert "fetch mnist" not in fresh.planned(f"{cell}/metrics.json")
    files[2].unlink()
    assert "fetch mnist" in fresh.planned(f"{cell}/metrics.json")
    lock.unlink()
    (marker,) = set(re.findall(r"results/\.fetched/\S+/mnist", fresh.snakemake(f"{cell}/metrics.json", "--dry-run")))
    (fresh.folder / marker).parent.mkdir(parents=True)
    (fresh.folder / marker).touch()
    assert "fetch mnist" in fresh.planned(f"{cell}/metrics.json"), "files of a data root that was purged since"
    files[2].touch()
    assert "fetch mnist" not in fresh.planned(f"{cell}/metrics.json")
    digits = "results/quick/digits/vae/normal/none/seed0"  # embedded
    assert fresh.planned(f"{digits}/metrics.json") == {f"train {digits}", f"evaluate {digits}"}


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"Debian's package dataset-fashion-mnist is not in {FASHION}")
def test_a_complete_data_root_is_looked_at_once_and_not_written_to(fresh: Checkout, monkeypatch, tmp_path) -> None:
    data = tmp_path / "data"
    (data / "FashionMNIST").mkdir(parents=True)
    (data / "FashionMNIST" / "raw").symlink_to(FASHION)
    monkeypatch.setenv("SINTRO_DATA", str(data))
    monkeypatch.setenv("SINTRO_INCEPTION", str(tmp_path / "none"))
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # nobody answers there
    cell = "results/quick/fmnist/vae/normal/none/seed0"
    assert "fetch fmnist" in fresh.planned(f"{cell}/metrics.json")
    (rule,) = re.findall(r"results/\.fetched/\S+/fmnist", fresh.snakemake(f"{cell}/metrics.json", "--dry-run"))[:1]
    fresh.snakemake(rule)
    assert "fmnist: all 4 files are there and right" in (fresh.folder / "logs" / "fetch-fmnist.log").read_text()
    assert [path.name for path in data.iterdir() if "fmnist" in path.name] == []
    assert fresh.planned(f"{cell}/metrics.json") == {f"train {cell}", f"evaluate {cell}"}
    monkeypatch.setenv("SINTRO_DATA", str(tmp_path / "another"))  # not looked at yet
    assert "fetch fmnist" in fresh.planned(f"{cell}/metrics.json")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("results/quick/ringz/vae/normal/none/seed0/metrics.json", "dataset 'ringz' is not one of 8gaussians"),
        ("results/quick/rings/vae/normal/metrics.json", "<regularizers>, <seed> missing"),
        ("reports/nope/index.html", "study 'nope' is not one of other, quick"),
        ("results/nope/chosen.json", "study 'nope' is not one of other, quick"),
        ("--config=study=nope", "study 'nope' is not one of other, quick"),
        ("--config=studdy=quick", "--config studdy: no such setting; legal are study, threads, device, gpus, graph"),
        ("--config=threads=0", "--config threads=0: legal is a whole number from 1"),
        ("--config=gpus=some", "--config gpus=some: legal is images, all, none"),
        ("--config=device=gpu", "--config device=gpu: legal is one such as auto, cpu, cuda, cuda:1"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused_by_its_bad_part_in_a_line(
    fresh: Checkout, target: str, said: str
) -> None:
    printed = fresh.snakemake(target, "--dry-run", succeeds=False)
    (line,) = (line for line in printed.splitlines() if line.startswith("error: "))
    assert said in line
    assert "Traceback" not in printed


def test_snakemake_may_work_in_another_folder(fresh: Checkout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "dry-run" in fresh.snakemake("--dry-run", "--directory", str(elsewhere))
    refused = fresh.snakemake("--dry-run", "--directory", str(elsewhere), "--config", "threads=0", succeeds=False)
    assert "--config threads=0: legal is a whole number from 1" in refused


def test_one_cell_run_again_gives_the_same_and_touches_no_other(finished: Checkout) -> None:
    cell = f"results/quick/{MIXTURE}"
    own_jobs = {f"train {cell}", f"evaluate {cell}"}
    assert finished.planned(f"{cell}/metrics.json", "--forcerun", "train") == own_jobs

    before = finished.state()
    finished.snakemake(f"{cell}/metrics.json", "--forcerun", f"{cell}/provenance.json")
    after = finished.state()
    assert before.keys() == after.keys()
    assert all(path.startswith(f"{cell}/") for path in before if before[path] != after[path])
    for name in ("model.pt", "history.csv", "provenance.json", "metrics.json"):
        assert after[f"{cell}/{name}"][0] > before[f"{cell}/{name}"][0], f"{name} is new"
    for name in ("model.pt", "history.csv"):
        assert after[f"{cell}/{name}"][1] == before[f"{cell}/{name}"][1], f"{name} has the same bits"


def test_editing_a_study_runs_its_new_cells_only(finished: Checkout) -> None:
    finished.write("quick", TINY.replace("Tiny", "Tiny, edited").replace("[normal]", "[normal, vamp4]"))
    new = "results/quick/rings/vae/vamp4/none/seed0"
    planned = finished.planned()
    assert planned - {"write the pages of study quick"} == {f"train {new}", f"evaluate {new}"}
    assert finished.planned("reports/other/index.html") == set()


def test_a_changed_hyper_parameter_runs_its_cells_again(finished: Checkout) -> None:
    before = finished.state()
    finished.write("quick", TINY.replace("samples: 2", "samples: 3"))
    planned = finished.planned()
    assert planned - {"write the pages of study quick"} == both("train", "quick") | both("evaluate", "quick")
    assert finished.planned("reports/other/index.html") == set()

    cell = f"results/quick/{VAE}"
    finished.snakemake(f"{cell}/metrics.json")
    after = finished.state()
    assert {str(Path(path).parent) for path in before if before[path] != after[path]} == {cell}
    assert finished.json(f"{cell}/cell.json")["settings"]["samples"] == 3
    assert finished.planned(f"{cell}/metrics.json") == set()


def test_a_changed_search_result_runs_only_the_cells_it_is_for(fresh: Checkout) -> None:
    fresh.write("search", SEARCH)
    fresh.write("searched", SEARCHED)
    said = "results/search/chosen.json, which is missing: make it with `sintro choose search`"
    assert said in fresh.snakemake("--config", "study=searched", succeeds=False)

    def write_result(normal: float) -> None:
        best = {"normal": normal, "vamp4": 1.0}
        content = {
            f"rings/vae/{prior}/none": {"betas": {"rec": rec, "kl": 1.0, "neg": None}, "candidates": 2}
            for prior, rec in best.items()
        }
        path = fresh.folder / search_results.file_of("search")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"choices": content}))

    write_result(0.5)
    cells = {prior: f"results/searched/rings/vae/{prior}/none/seed0" for prior in ("normal", "vamp4")}
    fresh.snakemake(*(f"{cell}/metrics.json" for cell in cells.values()))
    assert fresh.json(f"{cells['normal']}/cell.json")["settings"]["beta_rec"] == 0.5
    write_result(0.25)
    planned = fresh.planned(*(f"{cell}/metrics.json" for cell in cells.values()))
    assert planned == {f"train {cells['normal']}", f"evaluate {cells['normal']}"}

    (fresh.folder / search_results.file_of("search")).unlink()
    before = fresh.state()
    assert said in fresh.snakemake("--config", "study=searched", succeeds=False)
    assert fresh.state() == before, "no finished cell lost a file"


def test_a_study_with_fleets_trains_them_first_and_its_cells_stay_single_targets(fresh: Checkout) -> None:
    fleets = HEAD.replace("seeds: [0]", "seeds: [0, 1]\nfleet: 2") + VAE_BLOCK
    fresh.write("quick", fleets)
    cells = [f"results/quick/rings/vae/normal/none/seed{seed}" for seed in (0, 1)]
    assert fresh.planned(f"{cells[0]}/metrics.json") == {f"train {cells[0]}", f"evaluate {cells[0]}"}
    first = fresh.planned()
    assert len(first) == 2  # the cells follow when their fleet is trained
    assert any(re.fullmatch(r"train fleet vae-normal-\w+ of study quick", job) for job in first)
    fresh.snakemake()
    for cell in cells:
        assert fresh.json(f"{cell}/provenance.json")["fleet"] == 2
        assert fresh.json(f"{cell}/metrics.json")["status"] == "done"
        assert not (fresh.folder / cell / "provenance.fleet.json").exists()
    assert "Nothing to be done" in fresh.snakemake()

    jobs = {f"train {cells[0]}", f"evaluate {cells[0]}"}
    force = ("--forcerun", f"{cells[0]}/provenance.json")
    assert fresh.planned(f"{cells[0]}/metrics.json", *force) == jobs
    assert fresh.planned(*force) == jobs | {"write the pages of study quick"}
    before = fresh.state()
    fresh.snakemake(f"{cells[0]}/provenance.json", *force)
    after = fresh.state()
    assert {str(Path(path).parent) for path in before if before[path] != after[path]} == {cells[0]}
    assert "fleet" not in fresh.json(f"{cells[0]}/provenance.json")

    fresh.write("quick", fleets.replace("samples: 2", "samples: 3"))
    assert fresh.planned(f"{cells[0]}/metrics.json") == jobs
    assert any(job.startswith("train fleet") for job in fresh.planned() - first)


def test_fleets_of_as_many_as_a_gpu_holds_are_for_gpus(fresh: Checkout) -> None:
    fresh.write("quick", TINY.replace("seeds: [0]", "seeds: [0, 1]\nfleet: auto"))
    pages = {"write the pages of study quick"}
    assert fresh.planned() >= both("train", "quick")
    for option in ("gpus=all", "device=cuda"):
        planned = fresh.planned("--config", option)
        assert sum(job.startswith("train fleet") for job in planned) == 2
        assert planned - pages == {job for job in planned if job.startswith("train fleet")}
    for graph in ("false", "true"):
        printed = fresh.snakemake("--dry-run", "--printshellcmds", "--config", "device=cuda", f"graph={graph}")
        assert (" --device cuda --threads 1 --graph > logs/" in printed) == (graph == "true")


def test_a_rule_that_is_worded_anew_runs_nothing_again(finished: Checkout) -> None:
    rules = finished.folder / "workflow" / "rules" / "train.smk"
    rules.write_text(rules.read_text().replace("--threads {threads} >", "--threads  {threads}  >") + "\n# a comment\n")
    assert finished.planned("reports/quick/index.html") == set()


def test_a_diverged_cell_is_a_result_like_any_other(fresh: Checkout) -> None:
    beyond_float32 = "1" + "0" * 39
    cell = f"results/quick/rings/vae-rec{beyond_float32}-kl1/normal/none/seed0"
    fresh.snakemake(f"{cell}/metrics.json")
    assert fresh.json(f"{cell}/provenance.json")["status"] == "diverged"
    assert fresh.json(f"{cell}/metrics.json")["status"] == "diverged"
    assert "Nothing to be done" in fresh.snakemake(f"{cell}/metrics.json")


def test_a_stopped_cell_goes_on_from_its_checkpoint(fresh: Checkout) -> None:
    fresh.write("quick", TINY.replace("iterations: 12", "iterations: 2500"))
    cell = f"results/quick/{VAE}"
    started = subprocess.Popen(
        fresh.command(f"{cell}/metrics.json"),
        cwd=fresh.folder,
        env=fresh.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (fresh.folder / cell / "cell.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # the first iterations
    training = [child for child in descendants(started.pid) if "sintro\0train" in child[1]]
    for process, _ in training:
        os.kill(process, 15)
    printed, _ = started.communicate(timeout=120)
    assert started.returncode != 0
    assert training
    assert printed.splitlines()[-1].startswith(f"stopped: train {cell}: stopped by SIGTERM")
    assert (fresh.folder / cell / "checkpoint.pt").exists()
    assert not (fresh.folder / cell / "provenance.json").exists()

    fresh.snakemake(f"{cell}/metrics.json")
    assert fresh.json(f"{cell}/provenance.json")["resumed"] == 1
    assert not (fresh.folder / cell / "checkpoint.pt").exists()


def test_a_cause_that_stays_is_tried_once_and_named_last(fresh: Checkout) -> None:
    cell = f"results/quick/{VAE}"
    (fresh.folder / cell).mkdir(parents=True)
    (fresh.folder / cell / "checkpoint.pt").write_bytes(b"no checkpoint")
    printed = fresh.snakemake(f"{cell}/metrics.json", "--retries", "2", succeeds=False)
    failure = fresh.json(f"{cell}/failure.json")
    assert (failure["deterministic"], failure["exit_code"]) == (True, 2)
    log = f"logs/quick/{VAE}/train.log"
    assert failure["log"] == log
    assert printed.splitlines()[-1] == f"failed: train {cell}: {failure['message']} (log: {log})"
    assert printed.count("Error in rule train") == 3
    assert (fresh.folder / log).read_text() == f"error: {failure['message']}\n"
    began = (fresh.folder / cell / "failure.json").stat().st_mtime
    assert (fresh.folder / log).stat().st_mtime > began  # the later tries wrote the log, and tried nothing
    (fresh.folder / cell / "checkpoint.pt").unlink()
    fresh.snakemake(f"{cell}/metrics.json")
    assert not (fresh.folder / cell / "failure.json").exists()


def started_with_a_long_cell(fresh: Checkout, *arguments: str) -> subprocess.Popen:
    """Start a workflow and return it once it trains a cell that would take hours."""
    fresh.write("quick", TINY.replace("iterations: 12", "iterations: 250000"))
    pipes = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    started = subprocess.Popen(fresh.command(*arguments), cwd=fresh.folder, env=fresh.environment(), **pipes)
    deadline = time.monotonic() + 120
    while not (fresh.folder / f"results/quick/{VAE}/cell.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return started


def kill_the_training(started: subprocess.Popen) -> str:
    """Kill the training of a workflow; return what the workflow printed until its end."""
    for process, command in descendants(started.pid):
        if "sintro\0train" in command:
            os.kill(process, 9)
    printed, _ = started.communicate(timeout=120)
    assert started.returncode != 0
    return printed


def test_a_cell_that_somebody_trains_while_the_workflow_runs_is_not_trained_again(fresh: Checkout) -> None:
    long, other = f"results/quick/{VAE}/provenance.json", f"results/other/{VAE}/provenance.json"
    how = ["--cores", "1", "--keep-going", "--prioritize", long]
    started = started_with_a_long_cell(fresh, long, other, *how)
    assert not (fresh.folder / other).exists()
    command = [sys.executable, "-m", "sintro", "train", f"results/other/{VAE}"]
    subprocess.run(command, cwd=fresh.folder, env=fresh.environment(), check=True, capture_output=True)
    own = (fresh.folder / other).read_bytes()
    printed = kill_the_training(started)
    assert f"train results/other/{VAE}" in printed
    assert (fresh.folder / other).read_bytes() == own
    fresh.snakemake(other, "--forcerun", other)
    assert (fresh.folder / other).read_bytes() != own, "one that was there before the workflow began"


def test_a_job_that_was_killed_is_named(fresh: Checkout) -> None:
    cell = f"results/quick/{VAE}"
    printed = kill_the_training(started_with_a_long_cell(fresh, f"{cell}/metrics.json"))
    assert re.fullmatch(f"failed: train {cell}: .*(died|Killed).*", printed.splitlines()[-1])
    assert fresh.json(f"{cell}/failure.json")["deterministic"] is False


def test_paths_with_spaces_and_signs_of_the_shell_are_no_obstacle(repository: Path, tmp_path: Path) -> None:
    place = tmp_path / "my project X, it's $HOME"
    checkout = Checkout(repository, place)
    python = place / "python"
    python.write_text(
        f"""#!/bin/bash
exec -a {shlex.quote(str(python))} {shlex.quote(str(Path(sys.executable).resolve()))} "$@"
"""
    )
    python.chmod(0o755)
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = checkout.environment() | {"PYTHONPATH": os.pathsep.join([str(repository), *packages])}

    def snakemake(*options: str) -> subprocess.CompletedProcess:
        command = [str(python), "-m", "snakemake", "--cores", "2", f"results/quick/{VAE}/provenance.json", *options]
        pipes = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(command, cwd=place, env=environment, check=False, **pipes)

    done = snakemake()
    assert done.returncode == 0, done.stdout
    assert checkout.json(f"results/quick/{VAE}/provenance.json")["status"] == "done"
    refused = snakemake("--executor", "slurm", "--jobs", "1", "--forcerun", "train")
    assert refused.returncode != 0
    assert f"starts its Slurm jobs with the Python {str(python)!r} unquoted" in refused.stdout


@pytest.mark.parametrize(
    "cell", ["table1/rings/vae/normal/none/seed0", "ffhq-256/ffhq-256/soft-introvae/normal/none/seed0"]
)
def test_every_try_on_a_cluster_asks_for_more_up_to_a_bound(cell: str, repository: Path) -> None:
    profile = yaml.safe_load((repository / "slurm" / "config.yaml").read_text())
    assert profile["retries"] >= 2
    asked = {"default": profile["default-resources"], **profile["set-resources"]}
    assert asked.keys() == {"default", "train", "fleet", "evaluate"}
    for rule, resources in asked.items():
        for name in ("mem_mb", "runtime"):
            known = {"wildcards": SimpleNamespace(cell=cell)}
            tries = [eval(resources[name], {"attempt": attempt, **known}) for attempt in range(1, 30)]
            assert tries[0] < tries[1] <= tries[2], (rule, name)
            assert tries == sorted(tries)
            assert tries[-2] == tries[-1] <= 6 * tries[0], (rule, name)


def descendants(process: int) -> list[tuple[int, str]]:
    """The processes below one, with their command lines."""
    import psutil

    return [(child.pid, "\0".join(child.cmdline())) for child in psutil.Process(process).children(recursive=True)]
