"""Compare the first 20 iterations of every kind of cell, bit for bit, with those of another commit.

    python tests/same_bits.py COMMIT

Run it from the repository's root before a change of structure is committed; it is no part of the tests, since bits hold
on one machine only. Both versions train the same cells by their command line: 20 iterations in which every phase of a
run comes. A line a kind says whether histories and models are equal; exit code 1 where one is not, 2 where a version
could not be run.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
SCHEDULE = "iterations: 20, warmup: 2/5, conversion_lead: 1/5, samples: 4"
STUDIES = {
    "bits": f"""
title: Every kind of cell
comparable: false
seeds: [0]
overrides: {{{SCHEDULE}, batch_size: 32, milestones: [3/5, 4/5], adam_at_introspection: restarted}}
image_overrides: {{{SCHEDULE}, batch_size: 25, channels: [4, 8], training_images: 200}}
cells:
  - {{datasets: [8gaussians, digits], objectives: [vae], priors: [normal, vamp4, vamp4-lc]}}
  - {{datasets: [8gaussians, digits], objectives: [introvae, soft-introvae], priors: [normal]}}
  - {{datasets: [digits], objectives: [soft-introvae-bootstrap], priors: [normal, mog4-learned-lc]}}
  - datasets: [8gaussians, digits]
    objectives: [soft-introvae]
    priors: [mog1-fixed, mog4-fixed, mog4-fixed-lc]
    regularizers: [none, resp1]
  - datasets: [8gaussians, digits]
    objectives: [soft-introvae]
    priors: [mog4-learned, mog4-learned-lc, mog4-learned-encoder, mog4-learned-lc-encoder]
    regularizers: [none, clip, clip-resp1]
  - {{datasets: [spirals, checkerboard, rings], objectives: [soft-introvae], priors: [mog4-learned]}}
  - {{datasets: [spirals], objectives: [vae-rec3{"0" * 38}-kl1], priors: [normal]}}
""",
    "bits-si": f"""
title: The other protocol
comparable: false
protocol: si
seeds: [0]
overrides: {{{SCHEDULE}, batch_size: 32}}
image_overrides: {{iterations: 20, batch_size: 25, channels: [4, 8], training_images: 200, precision: bfloat16}}
cells:
  - {{datasets: [8gaussians, digits], objectives: [vae, introvae, soft-introvae], priors: [normal]}}
""",
    "bits-fleet": f"""
title: Side by side
comparable: false
fleet: 3
seeds: [0, 1, 2]
overrides: {{{SCHEDULE}, batch_size: 32}}
cells:
  - {{datasets: [rings], objectives: [soft-introvae], priors: [normal, mog4-learned-lc], regularizers: [none]}}
""",
}


def run(code: Path, folder: Path, *words: str) -> str:
    """Run a command of the sintro in ``code`` in a folder -> what it printed. SystemExit where it fails."""
    environment = os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    environment.pop("SINTRO_RUN", None)
    command = [sys.executable, "-m", "sintro", *words]
    made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if made.returncode:
        print(f"sintro {words[0]} of {code} ended with {made.returncode}: {made.stderr}", file=sys.stderr)
        raise SystemExit(2)
    return made.stdout


def train(code: Path, folder: Path) -> list[str]:
    """Train all cells with the sintro in ``code`` -> their paths."""
    studies = folder / "workflow" / "studies"
    studies.mkdir(parents=True)
    for name, text in STUDIES.items():
        (studies / f"{name}.yaml").write_text(text)
    alone = [path for name in ("bits", "bits-si") for path in run(code, folder, "cells", name).split()]
    run(code, folder, "train", *alone, "--device", "cpu", "--threads", "1")
    for line in run(code, folder, "fleet", "bits-fleet").splitlines():
        run(code, folder, "fleet", "bits-fleet", line.split()[0], "--device", "cpu", "--threads", "1")
    return alone + run(code, folder, "cells", "bits-fleet").split()


def rows(folder: Path) -> list[str]:
    """The history's rows, without its heads: a column may be called otherwise, its numbers stay."""
    return (folder / "history.csv").read_text().splitlines()[1:]


def tensors(value: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of a stored model with its place in there."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key in value:
            yield from tensors(value[key], f"{name}/{key}")
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from tensors(each, f"{name}/{place}")


def hash_of_model(folder: Path) -> str:
    """sha256 over the parameters, buffers and bounds of model.pt; "no model" of a cell that diverged."""
    path = folder / "model.pt"
    if not path.exists():
        return "no model"
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors(torch.load(path, weights_only=True))):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def difference(here: Path, there: Path) -> str:
    """What of a cell differs between two folders; "" where nothing does."""
    found = rows(here), rows(there)
    if len(found[0]) != len(found[1]):
        return f"{len(found[0])} and {len(found[1])} rows of the history"
    for number, (one, other) in enumerate(zip(*found, strict=True), start=1):
        if one != other:
            return f"the history differs from row {number} on"
    return "" if hash_of_model(here) == hash_of_model(there) else "the histories are equal, the models differ"


def main() -> int:
    """Read the command line, train twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="what to compare the working tree with: a commit, a branch or a tag")
    commit = parser.parse_args().commit
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        other = folder / "code"
        git = ["git", "-C", str(ROOT), "worktree"]
        if subprocess.run([*git, "add", "--quiet", "--detach", str(other), commit]).returncode:
            return 2
        try:
            cells = train(ROOT, folder / "here")
            if cells != train(other, folder / "there"):
                print("the two versions have other cells")
                return 1
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)
        differences = {cell: difference(folder / "here" / cell, folder / "there" / cell) for cell in cells}
    for cell, found in differences.items():
        print(f"{found or 'equal'}: {cell}")
    return int(any(differences.values()))


if __name__ == "__main__":
    sys.exit(main())
