"""The one training loop: iterations of one cell or a fleet of F, rows of the history, checkpoints and divergence."""

import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

from sintro import SintroError
from sintro.basics.progress import Progress
from sintro.runs.failures import INTERRUPTED
from sintro.runs.folder import HANDED_OVER, PROVENANCE
from sintro.runs.lock import SECONDS_OF_PATIENCE, Lock
from sintro.runs.signals import StopSignals
from sintro.training.players import Players
from sintro.training.record import Record

# Iterations between looks at the losses. A look at a GPU waits for all its work, and leaves it idle afterwards. So the
# terms stay on the GPU and come over together: a divergence is noticed late, but recorded with its own iteration. Rows
# of the history, checkpoints and snapshots look at once.
LOOK_EVERY = {"cpu": 1, "cuda": 50}


class Options(NamedTuple):
    """Options of a training; none of them changes a result beyond the last bits."""

    device: str = "cpu"
    threads: int = 1
    checkpoint_every: float = 120.0  # seconds; 0: after every iteration
    restart: bool = False
    graph: bool = False  # CUDA graphs (sintro/training/graphs.py)
    wait: float = SECONDS_OF_PATIENCE  # seconds for other processes that train these cells; 0: refuse at once
    hand_over: bool = False  # leave the last step to each cell's own `sintro train`


class Fleet:
    """One cell, or several of equal shape that train side by side. ``records`` and ``locks`` go in pairs."""

    def __init__(self, records: Sequence[Record], locks: Sequence[Lock], options: Options, stop: StopSignals):
        self.locks = dict(zip(records, locks, strict=True))
        self.waiting, self.options, self.stop = list(records), options, stop
        self.total = records[0].settings.iterations
        self.look_every = LOOK_EVERY[torch.device(options.device).type]
        self._gather()
        for record in records:
            record.use(self.players.data.facts)

    def _gather(self) -> None:
        """Select the cells with the fewest finished iterations; they train until they catch up with the next ones."""
        self.done = min(record.done for record in self.waiting)
        self.group = [record for record in self.waiting if record.done == self.done]
        self.until = min((record.done for record in self.waiting if record.done > self.done), default=self.total)
        for record in self.group:
            record.beside = max(record.beside, len(self.group))
        self._make_players([record.state for record in self.group])

    def _make_players(self, states: Sequence[dict | None]) -> None:
        self.players = Players([one.settings for one in self.group], self.options.device, self.options.graph)
        if self.done:
            self.players.load(states, self.done)
        self.names: list[str] = []  # of the terms
        self.unseen: list[torch.Tensor] = []  # the terms of each iteration since the last look

    def train(self) -> int:
        """Iterate until every cell has finished or diverged, or until a signal. Returns the exit code."""
        for record in self.waiting:
            record.announce()
        while True:
            if self._stretch():
                return INTERRUPTED
            if not self.waiting:
                return 0
            self._gather()

    def _stretch(self) -> bool:
        """Train the group until it finishes or catches up with others. Returns whether a signal stopped it."""
        self.began = last_saved = time.monotonic()
        for record in self.group:
            self.locks[record].begin(self.done)
        name = self.group[0].task.cell.path
        others = len(self.group) - 1
        with Progress(f"{name} and {others} more" if others else name, self.total, self.done) as progress:
            for iteration in range(self.done, self.until):
                self._iterate(iteration)
                if not self.group:
                    break
                progress.update(self.done)
                self._beat()
                if self.stop.caught and self.done < self.total:
                    self._look()
                    self._check_locks()
                    self._save_checkpoints()
                    said = f"stopped by {self.stop.caught} after {self.done} iterations, checkpoint written"
                    print(said, file=sys.stderr)
                    return True
                if time.monotonic() - last_saved >= self.options.checkpoint_every and self.done < self.total:
                    self._look()
                    self._check_locks()
                    self._try_checkpoints()
                    last_saved = time.monotonic()
        self._look()
        self._end_stretch()
        return False

    def _iterate(self, iteration: int) -> None:
        """Do one iteration of every cell in the group, and write its rows of the history."""
        shared = self.group[0].settings
        if iteration in shared.snapshots:
            self._look()
            for index, record in enumerate(self.group):
                record.save_model(f"snapshot-{iteration}.pt", self.players.state(index))
        if iteration == shared.warmup:  # the introspective iterations have other terms
            self._look()
        if not self.group:
            return
        logs = self.group[0].logs(iteration)
        terms = self.players.step(iteration, mean_responsibilities=logs)
        mean_responsibilities = terms.pop("mean_responsibilities", None)
        self.done = iteration + 1
        self.names = list(terms)
        self.unseen.append(torch.stack(list(terms.values())))  # a copy: CUDA graphs write the next ones over these
        if logs or len(self.unseen) >= self.look_every:
            self._look(mean_responsibilities, logs)

    def _look(self, mean_responsibilities: torch.Tensor | None = None, logs: bool = False) -> None:
        """Look at the losses since the last look. Cells that diverged leave; with ``logs`` the others get a row."""
        if not self.unseen:
            return
        names, first = self.names, self.done - len(self.unseen)
        table = torch.stack(self.unseen).cpu().reshape(len(self.unseen), len(names), -1)  # [iterations, terms, F]
        self.unseen = []
        finite = torch.isfinite(table[:, [names.index("loss_encoder"), names.index("loss_decoder")]]).all(1)
        mean_responsibilities = (
            None if mean_responsibilities is None else mean_responsibilities.cpu().reshape(table.shape[-1], -1)
        )  # [F, K]
        prior, log_vars = self.players.model.prior, None
        if (logs or not finite.all()) and prior.log_vars is not None:
            own = prior.log_vars.detach().cpu()
            log_vars = own.reshape(-1, *own.shape[-2:])  # [F, K, L]
        diverged = {}
        for index, record in enumerate(self.group):
            bad = (~finite[:, index]).nonzero()
            if len(bad):
                diverged[index] = int(bad[0])
            elif not logs:
                continue
            row = diverged.get(index, len(table) - 1)
            is_now = row == len(table) - 1  # the prior and its mean responsibilities are those of the last iteration
            record.add_row(
                first + row,
                self.players.learning_rate(first + row),
                dict(zip(names, table[row, :, index].tolist(), strict=True)),
                mean_responsibilities[index] if is_now and mean_responsibilities is not None else None,
                log_vars[index] if is_now and log_vars is not None else None,
            )
        if diverged:
            self._part({index: first + row for index, row in diverged.items()})

    def _part(self, diverged: dict[int, int]) -> None:
        """Finish the cells that diverged, place -> iteration; the others go on without them."""
        for index, iteration in diverged.items():
            self._finish(index, iteration)
        places = [index for index in range(len(self.group)) if index not in diverged]
        states = [self.players.state(index) for index in places]
        self.group = [self.group[index] for index in places]
        if self.group:
            self._make_players(states)

    def _end_stretch(self) -> None:
        """Finish the group, or keep its state where it has caught up with others of the fleet."""
        for index, record in enumerate(self.group):
            if self.until == self.total:
                self._finish(index, None)
            else:
                record.seconds, record.state, record.done = self._seconds(record), self.players.state(index), self.done

    def _finish(self, index: int, diverged_at: int | None) -> None:
        record = self.group[index]
        lock = self.locks.pop(record)
        lock.check()
        last = HANDED_OVER if self.options.hand_over else PROVENANCE
        record.finish(self.players, index, self._seconds(record), diverged_at, last)
        lock.release()
        self.waiting.remove(record)

    def _seconds(self, record: Record) -> float:
        return record.seconds + time.monotonic() - self.began

    def _beat(self) -> None:
        for record, lock in self.locks.items():
            if record in self.group:
                lock.beat(self.done)
            else:
                lock.hold()

    def _check_locks(self) -> None:
        for lock in self.locks.values():
            lock.check()

    def _save_checkpoints(self) -> None:
        for index, record in enumerate(self.group):
            record.save_checkpoint(self.players.state(index), self.done, self._seconds(record))

    def _try_checkpoints(self) -> None:
        """Save checkpoints; where the disk is full, warn and go on: the previous ones are still there."""
        try:
            self._save_checkpoints()
        except SintroError as error:
            print(f"warning: {error}; training goes on", file=sys.stderr, flush=True)
