"""What is lost when trainings are killed, stopped, cut off from their disk or fed damaged files: the counts.

Run as ``python tests/reliability.py [KILLS] [STOPS]`` (20 and 10 if not said; some minutes). Every interrupted run is
started again by the same command and must end with the same bits as the one that nobody interrupted. What needs a
file system of its own (a full disk, a read-only one) mounts a small tmpfs, as root only.
"""

import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sintro.__main__ import main as sintro
from sintro.basics.files import read_json
from sintro.cells.cell import Cell
from sintro.evaluation import cell as evaluation
from sintro.runs import lock, processes

ITERATIONS, WARMUP, CONVERSION = 90, 40, 30
STUDY = f"""
title: tiny
comparable: false
seeds: [0]
length: {ITERATIONS / 30000}
overrides: {{batch_size: 32, samples: 4, evaluation_points: 200, evaluation_grid: 16}}
cells: [{{datasets: [rings], objectives: [soft-introvae], priors: [mog4-learned], regularizers: [clip]}}]
"""
CELL = "results/tiny/rings/soft-introvae/mog4-learned/clip/seed0"
FINAL = ("model.pt", "history.csv")
SLOW = 0.03  # seconds that a slow disk takes to write
MOMENTS = ("any", "warm-up", "mixture", "introspective", "writing a checkpoint", "writing the metrics")
Result = tuple[str, bool, str]  # what was tried, whether all of it came out right, in numbers or words


class Ground:
    """A folder in which one small cell trains, in processes forked from this one (torch is imported once)."""

    def __init__(self, folder: Path):
        self.folder, self.cell, self.log = folder, folder / CELL, folder / "log"
        (folder / "studies").mkdir(parents=True)
        (folder / "studies" / "tiny.yaml").write_text(STUDY)

    def start(self, *options: str, evaluate: bool = False, slow_disk: bool = False, cell: str = CELL) -> int:
        """Begin to train, and to evaluate if asked -> the process id. A slow disk makes every writing take long."""
        sys.stdout.flush()
        process = os.fork()
        if process:
            return process
        code = 1
        try:
            os.chdir(self.folder)
            os.environ["SINTRO_STUDIES"] = "studies"
            with self.log.open("w") as log:
                os.dup2(log.fileno(), 2)
            sys.stderr = os.fdopen(2, "w", 1, closefd=False)  # pytest has put another one in its place
            if slow_disk:
                quick = os.fsync
                os.fsync = lambda file: (quick(file), time.sleep(SLOW))
            code = sintro(["train", cell, "--device", "cpu", "--threads", "1", *options])
            if evaluate and code == 0:
                evaluation.evaluate(Cell.from_path(CELL), device="cpu", threads=1)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def end(self, process: int) -> int:
        """Wait for a process -> its exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def run(self, *options: str, evaluate: bool = False) -> int:
        """Train to the end -> the exit code."""
        return self.end(self.start(*options, evaluate=evaluate))

    def bits(self) -> str:
        """A hash of the final files, and of the metrics where there are any but for the times they tell."""
        content = b"".join((self.cell / name).read_bytes() for name in FINAL)
        if (self.cell / "metrics.json").exists():
            metrics = read_json(self.cell / "metrics.json")
            times = ("evaluated", "evaluation_seconds", "finished")
            content += repr(sorted(item for item in metrics.items() if item[0] not in times)).encode()
        return hashlib.sha256(content).hexdigest()

    def at(self) -> int:
        """The iteration of the checkpoint, 0 where there is none."""
        path = self.cell / "checkpoint.pt"
        try:
            return torch.load(path, weights_only=True)["iteration"]
        except FileNotFoundError:  # not there yet, or gone since the training has finished
            return 0

    def clear(self) -> None:
        """Back to nothing."""
        if self.cell.exists():
            shutil.rmtree(self.cell)

    def said(self) -> list[str]:
        """What the last process said about errors."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(("error:", "warning:"))]

    def stop_midway(self) -> None:
        """From nothing to a checkpoint in the middle."""
        self.clear()
        process = self.start("--checkpoint-every", "0")
        while self.at() < CONVERSION:
            time.sleep(0.01)
        os.kill(process, signal.SIGTERM)
        assert self.end(process) == 75

    def one_line(self) -> bool:
        """Whether the last process ended in one clear line."""
        return len(self.said()) == 1 and "Traceback" not in self.log.read_text()


def phase(ground: Ground) -> str:
    """What goes on, or was interrupted."""
    left = [path.name for path in ground.cell.glob(".*")] if ground.cell.exists() else []
    for name, words in (("checkpoint.pt", "writing a checkpoint"), ("metrics.json", "writing the metrics")):
        if any(path.startswith(f".unfinished-{name}") for path in left):
            return words
    if (ground.cell / "provenance.json").exists():
        return "evaluation"
    at = ground.at()
    return "warm-up" if at < CONVERSION else "mixture" if at < WARMUP else "introspective"


def until(ground: Ground, process: int, moment: str, source: random.Random, seconds: float) -> None:
    """Wait for a moment: any at all, one at random within a phase, or the next at which a file is being written."""
    if moment == "any":
        time.sleep(source.uniform(0.02, seconds))
        return
    if moment == "writing a checkpoint":  # any of them
        time.sleep(source.uniform(0.02, seconds))
    while phase(ground) != moment and not os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.002)
    time.sleep(source.uniform(0, 0.5 * SLOW if moment.startswith("writing") else 0.1 * seconds))


def interrupted(ground: Ground, number: signal.Signals, count: int, expected: str, seconds: float) -> Result:
    """`count` runs from nothing, each hit once, at random moments of every phase in turn, and started again."""
    equal, phases, source = 0, {}, random.Random(int(number))
    for moment in itertools.islice(itertools.cycle(MOMENTS), count):
        ground.clear()
        slow = moment.startswith("writing")
        process = ground.start("--checkpoint-every", "0", evaluate=True, slow_disk=slow)
        until(ground, process, moment, source, seconds)
        os.kill(process, number)
        ground.end(process)
        phases[phase(ground)] = phases.get(phase(ground), 0) + 1
        tries = 0
        while (code := ground.run(evaluate=True)) == 75 and tries < 3:
            tries += 1
        equal += code == 0 and ground.bits() == expected and not list(ground.cell.glob(".*"))
    hit = ", ".join(f"{times} in {name}" for name, times in sorted(phases.items()))
    return f"{number.name}, then the same command", equal == count, f"{equal} of {count} bit-identical ({hit})"


def truncated(ground: Ground, expected: str, count: int = 10) -> Result:
    """A checkpoint cut at so many places is refused each time and left alone; whole again, it is taken up."""
    ground.stop_midway()
    path = ground.cell / "checkpoint.pt"
    whole, refused = path.read_bytes(), 0
    for cut in (int(len(whole) * share / count) for share in range(count)):
        path.write_bytes(whole[:cut])
        refused += ground.run() == 2 and ground.one_line() and path.read_bytes() == whole[:cut]
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    path.write_bytes(damaged)
    flipped = ground.run() == 2 and ground.one_line()
    path.write_bytes(whole)
    resumed = ground.run(evaluate=True) == 0 and ground.bits() == expected
    words = f"{refused} of {count} refused in one line, a flipped bit {'refused' if flipped else 'NOT SEEN'}"
    return "checkpoint cut off or damaged", refused == count and flipped and resumed, words


def history_cut(ground: Ground, expected: str) -> Result:
    """A history cut off in the middle of a line is said, and training anew gives the same bits."""
    path = ground.cell / "history.csv"
    path.write_bytes(path.read_bytes()[:-7])
    refused = ground.run() == 2 and ground.one_line()
    mended = ground.run("--restart", evaluate=True) == 0 and ground.bits() == expected
    return "history cut off in mid-line", refused and mended, "refused in one line; --restart gives the same bits"


def clock_set_back(ground: Ground, expected: str) -> Result:
    """Files from a time to come: a checkpoint is taken up all the same."""
    ground.stop_midway()
    for path in ground.cell.iterdir():
        os.utime(path, (time.time() + 86400,) * 2)
    right = ground.run(evaluate=True) == 0 and ground.bits() == expected
    return "clock set back by a day", right, "resumed, bit-identical"


def hostile_checkpoint(ground: Ground, expected: str) -> Result:
    """A checkpoint that would run code when unpickled is refused, and nothing runs."""

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(ground.folder / "owned"),)

    ground.stop_midway()
    torch.save({"state": Payload()}, ground.cell / "checkpoint.pt")
    refused = ground.run() == 2 and ground.one_line() and not (ground.folder / "owned").exists()
    return "checkpoint with a payload", refused, "refused in one line, nothing ran"


def two_at_once(ground: Ground, expected: str) -> Result:
    """The second training of a cell is refused, with the first one's name; the first one does not notice."""
    ground.clear()
    first = ground.start()
    while not (ground.cell / lock.NAME).exists():
        time.sleep(0.005)
    refused = ground.run("--wait", "0") == 2 and f"process {first} on" in ground.said()[0]
    right = ground.end(first) == 0 and ground.run(evaluate=True) == 0 and ground.bits() == expected
    return "two trainings of one cell at once", refused and right, "the second refused, naming the first"


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A small file system in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(ground: Ground, expected: str) -> Result:
    """The disk fills while a cell is stopped, and while it trains; nothing is lost either time."""
    ballast = ground.folder / "results" / "ballast"

    def fill() -> None:
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass

    def fill_while_it_trains() -> int:
        """Train on; from the middle to the end no byte is free, whatever the training itself frees -> its exit code."""
        process = ground.start("--checkpoint-every", "0")
        while ground.at() <= CONVERSION + 5 and (ground.cell / "checkpoint.pt").exists():
            time.sleep(0.01)
        while not (ended := os.waitpid(process, os.WNOHANG))[0]:
            fill()
            time.sleep(0.001)
        return os.waitstatus_to_exitcode(ended[1])

    shutil.rmtree(ground.folder / "results", ignore_errors=True)
    with mounted(ground.folder / "results", "-o", "size=24m"):
        ground.stop_midway()
        kept = (ground.cell / "checkpoint.pt").read_bytes()
        fill()
        refused = ground.run() == 2 and ground.one_line() and "No space left" in ground.said()[0]
        refused &= (ground.cell / "checkpoint.pt").read_bytes() == kept
        ballast.unlink()
        tries = 0
        while (code := fill_while_it_trains()) == 0 and tries < 5:  # it was done before the disk was full
            tries += 1
            ballast.unlink(missing_ok=True)
            ground.stop_midway()
        ended = code == 2 and "error: cannot write" in ground.said()[-1] and ground.at() > CONVERSION
        ballast.unlink()
        right = ground.run(evaluate=True) == 0 and ground.bits() == expected
    words = {"refused at once": refused, "ended with the checkpoint kept": ended, "then bit-identical": right}
    said = ", ".join(word if true else f"NOT {word}" for word, true in words.items())
    return "disk full before and during a training", all(words.values()), said


def read_only(ground: Ground, expected: str) -> Result:
    """A results folder that cannot be written to is said before anything begins."""
    shutil.rmtree(ground.folder / "results", ignore_errors=True)
    with mounted(ground.folder / "results", "-o", "ro"):
        refused = ground.run() == 2 and ground.one_line() and "Read-only" in ground.said()[0]
    return "read-only results", refused, "refused in one line"


def links(ground: Ground, expected: str) -> Result:
    """A study's folder that is a link to another place is refused, and so are paths with `..`."""
    shutil.rmtree(ground.folder / "results", ignore_errors=True)
    (ground.folder / "results").mkdir()
    (ground.folder / "outside").mkdir()
    (ground.folder / "results" / "tiny").symlink_to(ground.folder / "outside")
    refused = ground.run() == 2 and ground.one_line() and not list((ground.folder / "outside").iterdir())
    (ground.folder / "results" / "tiny").unlink()
    for path in (f"results/../../{CELL}", f"{CELL}/../seed1", f"results/tiny/../../outside/{CELL}"):
        refused &= ground.end(ground.start(cell=path)) == 2 and ground.one_line()
        refused &= not list((ground.folder / "outside").iterdir()) and not list((ground.folder / "results").iterdir())
    return "a link or `..` that leaves results/", refused, "refused in one line each, nothing written"


def lock_of_another_host(ground: Ground, expected: str) -> Result:
    """The lock of another host is respected until its heartbeat is old. (That of a dead process: see the kills.)"""
    ground.stop_midway()
    path, before = ground.cell / lock.NAME, lock.SECONDS_UNTIL_OLD
    path.write_text(json.dumps(processes.this_one() | {"host": "elsewhere", "done": 1, "total": ITERATIONS}))
    lock.SECONDS_UNTIL_OLD = 2.0
    process = ground.start("--wait", "0")
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        os.utime(path)  # the other host's heartbeat
        time.sleep(0.05)
    refused = os.waitstatus_to_exitcode(ended[1]) == 2 and "on elsewhere" in ground.said()[0]
    taken = ground.run(evaluate=True) == 0 and ground.bits() == expected
    lock.SECONDS_UNTIL_OLD = before
    words = "respected while its heart beats" if refused else "NOT respected"
    return (
        "lock of another host",
        refused and taken,
        f"{words}, then {'' if taken else 'NOT '}taken over, bit-identical",
    )


CHECKS: tuple[Callable[[Ground, str], Result], ...] = (
    history_cut,
    truncated,
    clock_set_back,
    hostile_checkpoint,
    two_at_once,
    lock_of_another_host,
    read_only,
    full_disk,
    links,
)
NEED_A_MOUNT = (full_disk, read_only)


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a tmpfs."""
    try:
        with mounted(folder):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def results(folder: Path, kills: int, stops: int) -> Iterator[Result]:
    """Every check in turn, in a folder of their own."""
    torch.set_num_threads(1)
    ground = Ground(folder)
    began = time.monotonic()
    assert ground.run("--checkpoint-every", "0", evaluate=True) == 0, ground.log.read_text()
    seconds, expected = time.monotonic() - began, ground.bits()
    mounts = can_mount(folder / "mount")
    for check in CHECKS:
        if check in NEED_A_MOUNT and not mounts:
            yield check.__name__.replace("_", " "), True, "SKIPPED: mounting a tmpfs needs root"
            continue
        yield check(ground, expected)
    for number, count in ((signal.SIGKILL, kills), (signal.SIGTERM, stops), (signal.SIGUSR1, stops)):
        yield interrupted(ground, number, count, expected, seconds)


def main() -> int:
    """Print the counts; exit code 1 if anything was lost."""
    kills, stops = (int(given) for given in (*sys.argv[1:], *("20", "10")[len(sys.argv) - 1 :]))
    right = True
    with tempfile.TemporaryDirectory(prefix="sintro-reliability-") as folder:
        for what, passed, words in results(Path(folder), kills, stops):
            right &= passed
            print(f"{'ok    ' if passed else 'FAILED'} {what}: {words}", flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
