"""A step that finds its cell in training elsewhere: waits, then takes over or accepts the result. Real processes."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from reliability import CELL, Ground

from sintro import SintroError
from sintro.runs import failures, lock
from sintro.runs.lock import Lock

OTHER = CELL.replace("seed0", "seed1")
PATIENCE = 100

pytestmark = pytest.mark.slow


class Two(Ground):
    """A small cell, trained by one process, which is halted in the middle, while a second one wants it too."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.started: list[int] = []

    def start(self, *options: str, **how) -> int:
        self.started.append(super().start(*options, **how))
        return self.started[-1]

    def first(self, *options: str) -> int:
        self.log = self.folder / "first.log"
        process = self.start("--checkpoint-every", "0", *options)
        self.until(lambda: self.at() > 0)
        os.kill(process, signal.SIGSTOP)
        return process

    def second(self, *options: str) -> int:
        self.log = self.folder / "second.log"
        process = self.start(*options)
        self.until(lambda: "waiting for it" in self.text())
        return process

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, self.text()
            time.sleep(0.02)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    torch.set_num_threads(1)
    made = Two(tmp_path)
    yield made
    for process in made.started:  # of a test that failed; the others are waited for
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(process, os.WNOHANG) == (0, 0):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)


def test_the_second_says_what_it_waits_for_and_accepts_what_the_first_made(two: Two) -> None:
    first = two.first()
    second = two.second()
    (said,) = two.text().splitlines()
    assert f"/90, trained by process {first} on" in said
    os.kill(first, signal.SIGCONT)
    assert two.end(first) == 0
    made = (two.cell / "model.pt").stat().st_mtime_ns
    assert two.end(second) == 0
    assert "is done already" in two.text()
    assert (two.cell / "model.pt").stat().st_mtime_ns == made


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_second_takes_over_from_the_checkpoint_and_ends_with_the_same_bits(two: Two, number) -> None:
    assert two.run() == 0
    expected = two.bits()
    two.clear()
    first = two.first()
    second = two.second()
    os.kill(first, number)
    os.kill(first, signal.SIGCONT)
    assert two.end(first) == (75 if number == signal.SIGTERM else -signal.SIGKILL)
    assert two.end(second) == 0
    assert "resuming" in two.text()
    assert two.bits() == expected


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_one_that_waits_can_be_stopped_and_disturbs_nobody(two: Two, number) -> None:
    first = two.first()
    second = two.second()
    os.kill(second, number)
    assert two.end(second) == 75
    assert f"stopped by {number.name} while it waited" in two.text()
    assert not (two.cell / failures.NAME).exists()
    os.kill(first, signal.SIGCONT)
    assert two.end(first) == 0


def test_patience_ends_and_none_at_all_is_a_refusal(two: Two) -> None:
    first = two.first()
    assert two.end(two.second("--wait", "1")) == 2
    assert two.text().splitlines()[-1].startswith(f"error: {CELL} is being trained by process {first} on")
    two.log = two.folder / "third.log"
    assert two.run("--wait", "0") == 2
    assert two.one_line()
    assert not (two.cell / failures.NAME).exists()  # the cell is well
    os.kill(first, signal.SIGKILL)
    two.end(first)


def test_two_fleets_that_want_the_same_cells_in_another_order_both_end(two: Two) -> None:
    first = two.first(OTHER, "--fleet", "2")
    two.log = two.folder / "second.log"
    second = two.start(CELL, "--fleet", "2", cell=OTHER)
    two.until(lambda: "waiting for it" in two.text())
    os.kill(first, signal.SIGCONT)
    assert two.end(first) == 0
    assert two.end(second) == 0
    assert two.text().count("is done already") == 2


def test_a_process_does_not_wait_for_itself(tmp_path: Path) -> None:
    with Lock(tmp_path, 9, "cpu"), pytest.raises(SintroError, match="by this very process") as caught:
        Lock(tmp_path, 9, "cpu").__enter__()
    assert not isinstance(caught.value, lock.BusyError)
    assert not list(tmp_path.iterdir())
