"""The one training loop: from a cell to its folder's cell.json, history.csv, model.pt and provenance.json.

A run that is stopped, however, and started again by the same command ends with the same bits as one that was not
(docs/design.md, invariant 3). Divergence is a result: it is written down and the run ends with exit code 0.
"""

import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from sintro import SintroError, __version__
from sintro.cells import Cell
from sintro.history import COLUMNS, to_csv
from sintro.players import Players
from sintro.presets import Settings
from sintro.priors import MixturePrior
from sintro.progress import Progress
from sintro.running import Claim, StopSignals
from sintro.runs import (
    cell_folder,
    environment,
    load_tensors,
    now,
    peak_memory,
    read_json,
    remove_unfinished,
    save_tensors,
    write_atomic,
    write_json,
)

ROWS_OF_HISTORY = 300
INTERRUPTED = 75  # the exit code that asks for another try (sysexits: EX_TEMPFAIL)
NAN = math.nan


class Run:
    """One cell's training in its folder: settings, players, history, and everything that is written."""

    def __init__(self, cell: Cell, settings: Settings, device: str, threads: int, command: str):
        self.cell, self.settings, self.device, self.command = cell, settings, device, command
        self.folder = cell_folder(cell)
        self.players = Players([settings], device)
        self.every = max(1, settings.iterations // ROWS_OF_HISTORY)
        self.rows: list[list[float]] = []
        self.start, self.resumed, self.seconds = 0, 0, 0.0
        self.provenance = environment(device, threads) | {"started": now(), "digest": settings.digest}
        if settings.precision is not None:
            self.provenance["precision"] = settings.precision

    # --- what is written

    def announce(self, sources: dict[str, str]) -> None:
        """cell.json, before the first step."""
        write_json(
            self.folder / "cell.json",
            {
                "cell": self.cell.model_dump() | {"path": self.cell.path},
                "settings": self.settings.model_dump(mode="json"),
                "digest": self.settings.digest,
                "sources": sources,
                "command": self.command,
                "version": __version__,
            },
        )

    def save_checkpoint(self, iteration: int, seconds: float) -> None:
        """Everything a resumed run needs. Rows of the history travel with it."""
        save_tensors(
            self.folder / "checkpoint.pt",
            {
                "digest": self.settings.digest,
                "version": __version__,
                "iteration": iteration,
                "seconds": seconds,
                "resumed": self.resumed,
                "started": self.provenance["started"],
                "rows": torch.tensor(self.rows, dtype=torch.float64).reshape(-1, len(COLUMNS)),
                "state": self.players.state(),
            },
        )

    def save_model(self, name: str) -> None:
        """What evaluation needs of the players as they are now: model.pt, and the snapshots at evaluation epochs."""
        state = self.players.state()
        model = {key: state[key] for key in ("prior_kind", "parameters", "buffers", "bounds")}
        save_tensors(self.folder / name, model | {"digest": self.settings.digest, "version": __version__})

    def take_up(self, checkpoint: dict[str, Any]) -> None:
        """Goes on from a checkpoint of the same settings."""
        self.start, self.seconds = checkpoint["iteration"], checkpoint["seconds"]
        self.resumed = checkpoint["resumed"] + 1
        self.provenance["started"] = checkpoint["started"]
        self.rows = checkpoint["rows"].tolist()
        self.players.load([checkpoint["state"]], self.start)

    def finish(self, seconds: float, diverged_at: int | None) -> None:
        """The final files, provenance last: with it the cell is done."""
        write_atomic(self.folder / "history.csv", to_csv(self.rows))
        outcome: dict[str, Any] = {"status": "done"}
        if diverged_at is None:
            self.save_model("model.pt")
        else:
            outcome = {
                "status": "diverged",
                "diverged_at": diverged_at,
                "reason": f"the loss was not finite in iteration {diverged_at} of {self.settings.iterations}",
            }
            (self.folder / "model.pt").unlink(missing_ok=True)
        self.provenance |= outcome | {
            "finished": now(),
            "wall_seconds": round(seconds, 3),
            "peak_memory_bytes": peak_memory(),
            "iterations": self.settings.iterations,
            "resumed": self.resumed,
            "data_sha256": self.players.data.sha256,
        }
        if self.device.startswith("cuda"):
            self.provenance["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(self.device)
        write_json(self.folder / "provenance.json", self.provenance)
        (self.folder / "checkpoint.pt").unlink(missing_ok=True)

    # --- the loop

    def train(self, checkpoint_every: float, progress: Progress, claim: Claim, stop: StopSignals) -> int:
        """Iterates to the end, to divergence or to a signal. Returns the exit code."""
        began, last_saved = time.monotonic(), time.monotonic()
        diverged_at = None
        claim.begin(self.start)
        with progress:
            for iteration in range(self.start, self.settings.iterations):
                if iteration in self.settings.snapshots:
                    self.save_model(f"snapshot-{iteration}.pt")
                logs = (iteration + 1) % self.every == 0 or iteration + 1 == self.settings.iterations
                terms = self.players.step(iteration, usage=logs)
                if not _finite(terms):
                    diverged_at = iteration
                    self.rows.append(self._row(iteration, terms))
                    break
                if logs:
                    self.rows.append(self._row(iteration, terms))
                done = iteration + 1
                progress.update(done)
                claim.beat(done)
                elapsed = self.seconds + time.monotonic() - began
                if stop.caught and done < self.settings.iterations:
                    claim.check()
                    self.save_checkpoint(done, elapsed)
                    print(f"stopped by {stop.caught} after {done} iterations, checkpoint written", file=sys.stderr)
                    return INTERRUPTED
                if time.monotonic() - last_saved >= checkpoint_every and done < self.settings.iterations:
                    claim.check()
                    self._try_checkpoint(done, elapsed)
                    last_saved = time.monotonic()
        claim.check()
        self.finish(self.seconds + time.monotonic() - began, diverged_at)
        return 0

    def _try_checkpoint(self, done: int, elapsed: float) -> None:
        """A disk that is full now may not be later, and the checkpoint before is still there: training goes on."""
        try:
            self.save_checkpoint(done, elapsed)
        except SintroError as error:
            print(f"warning: {error}; training goes on", file=sys.stderr, flush=True)

    def _row(self, iteration: int, terms: dict[str, torch.Tensor]) -> list[float]:
        values = dict.fromkeys(COLUMNS, NAN)
        values |= {name: float(term) for name, term in terms.items() if name in values}
        values["iteration"] = iteration + 1
        values["phase"] = int(iteration >= self.settings.warmup)
        values["learning_rate"] = self.players.learning_rate(iteration)
        prior = self.players.model.prior
        if isinstance(prior, MixturePrior):
            log_vars = prior.log_vars.detach()
            values |= {"prior_log_var_min": float(log_vars.min()), "prior_log_var_max": float(log_vars.max())}
        if "usage" in terms:
            usage = terms["usage"].double()
            values["responsibility_entropy"] = float(-torch.special.xlogy(usage, usage).sum())
            values["active_modes"] = float((usage >= 1 / usage.numel() ** 2).sum())
        return [values[name] for name in COLUMNS]


def _finite(terms: dict[str, torch.Tensor]) -> bool:
    losses = torch.stack([terms[name] for name in ("loss_encoder", "loss_decoder")])
    return bool(torch.isfinite(losses).all())


def pick_device(device: str) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` to a device that is there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() and not _given_no_gpu() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise SintroError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise SintroError(f"device {device!r} asked for, but torch {torch.__version__} sees no GPU; use cpu or auto")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise SintroError(f"device {device!r} asked for, but there are only {torch.cuda.device_count()} GPUs")
    return device


def _given_no_gpu() -> bool:
    """A Slurm job that asked for no GPU may see those of others on its node, and leaves them alone."""
    given = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS", "SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES")
    return "SLURM_JOB_ID" in os.environ and not any(os.environ.get(name) for name in given)


def set_threads(threads: int | None) -> int:
    """Bounds torch's threads; None keeps torch's own choice. Returns how many there are."""
    if threads is not None:
        if threads < 1:
            raise SintroError(f"--threads {threads}: at least 1")
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def train(
    cell: Cell,
    settings: Settings,
    sources: dict[str, str] | None = None,
    device: str = "auto",
    threads: int | None = None,
    checkpoint_every: float = 120.0,
    restart: bool = False,
    command: str = "",
) -> int:
    """Trains a cell in its folder, taking up a checkpoint if there is one. Returns the exit code: 0, or 75 if stopped.

    Args:
        settings: the cell's resolved hyper-parameters (``sintro.studies.settings``), sources where each comes from.
        checkpoint_every: seconds between checkpoints; 0 writes one after every iteration.
        restart: begin anew even where a finished run or a checkpoint (readable or not) stands.
    Errors: SintroError for unreadable checkpoints, folders without write permission, full disks, unknown devices.
    """
    device, threads = pick_device(device), set_threads(threads)
    folder = cell_folder(cell)
    if not restart and _is_finished(folder, settings):
        return 0
    with StopSignals() as stop, Claim(folder, settings.iterations, device) as claim:
        remove_unfinished(folder)
        checkpoint_path, provenance_path = folder / "checkpoint.pt", folder / "provenance.json"
        checkpoint = None
        if not restart and checkpoint_path.exists():
            checkpoint = _read_checkpoint(checkpoint_path, settings)
        run = Run(cell, settings, device, threads, command or f"sintro train {cell.path}")
        run.announce(sources or {})
        for stale in (provenance_path, *([checkpoint_path] if restart else [])):
            stale.unlink(missing_ok=True)
        if checkpoint is not None:
            run.take_up(checkpoint)
            print(f"resuming {cell.path} after {run.start} of {settings.iterations} iterations", file=sys.stderr)
        progress = Progress(cell.path, settings.iterations, run.start)
        return run.train(checkpoint_every, progress, claim, stop)


def _is_finished(folder: Path, settings: Settings) -> bool:
    """Whether a run of these settings stands there already; said aloud."""
    provenance_path, history_path = folder / "provenance.json", folder / "history.csv"
    if not provenance_path.exists() or not history_path.exists():
        return False
    finished = read_json(provenance_path)
    if finished.get("digest") != settings.digest:
        return False
    if not history_path.read_bytes().endswith(b"\n"):
        raise SintroError(f"{history_path} is cut off; train the cell anew: sintro train {folder} --restart")
    print(f"{folder} is {finished['status']} already; --restart trains it anew", file=sys.stderr)
    return True


def _read_checkpoint(path: Path, settings: Settings) -> dict[str, Any] | None:
    """The checkpoint, if it belongs to these settings; one of other settings is put aside, said aloud."""
    remedy = "delete it, or start over with --restart"
    checkpoint = load_tensors(path, remedy)
    expected = {"digest", "iteration", "seconds", "resumed", "started", "rows", "state"}
    if not isinstance(checkpoint, dict) or not expected <= checkpoint.keys():
        raise SintroError(f"{path} is not a checkpoint of a training run; {remedy}")
    if checkpoint["digest"] != settings.digest:
        aside = path.with_name("checkpoint.other-settings.pt")
        os.replace(path, aside)
        print(f"{path} belongs to other hyper-parameters; kept as {aside.name}, starting anew", file=sys.stderr)
        return None
    return checkpoint
