"""The command line: ``sintro VERB ...``, the same as ``python -m sintro VERB ...``.

What a verb needs is imported when the verb runs, so that those which only read names start fast and without torch.
"""

import json
import math
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from sintro import SintroError
from sintro.basics.progress import print_whatever_comes
from sintro.cells import components
from sintro.cells.cell import RESULTS, Cell
from sintro.runs import failures
from sintro.runs.folder import cell_here
from sintro.runs.lock import SECONDS_OF_PATIENCE

CLOSED_PIPE = 1  # the exit code where the reader of the output has gone, as Typer has it
LONGEST_WORD = 300  # characters of a word that an error repeats whole
INTERRUPTED = 130  # where Ctrl-C stopped a verb: 128 + SIGINT

CELL = "results/quick/rings/soft-introvae/mog64-learned/clip/seed0"

app = typer.Typer(
    help="Train, evaluate and compare introspective variational autoencoders, one cell of a study at a time.",
    epilog="Start with: sintro studies",
    add_completion=False,
    pretty_exceptions_enable=False,
)

CellPath = Annotated[str, typer.Argument(metavar="CELL", help="The cell's folder, as `sintro cells STUDY` prints it")]
CellPaths = Annotated[
    list[str], typer.Argument(metavar="CELL...", help="Cells' folders, as `sintro cells STUDY` prints them")
]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name, as `sintro studies` lists them")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N")]
Precision = Literal["float32", "bfloat16"]
Data = Annotated[str | None, typer.Option(help="Where image sets are kept (default: $SINTRO_DATA, else data/)")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads for torch (default: torch's own choice)")]
Wait = Annotated[
    int,
    typer.Option(
        min=0, max=10**9, metavar="SECONDS", help="How long to wait for another process that trains a cell; 0: fail"
    ),
]
Graph = Annotated[bool, typer.Option("--graph", help="On a GPU: whole iterations as CUDA graphs")]


@app.command(epilog="Example: sintro studies")
def studies() -> None:
    """List the studies: how many cells each has and what it is for."""
    from sintro.cells import studies as known

    table = Table("study", "cells", "length", "comparable", "what")
    for name in known.names():
        study = known.load(name)
        length = "" if study.include else f"{study.length:.3g}"
        table.add_row(name, str(len(study.cells())), length, "yes" if study.comparable else "no", study.title)
    _print(table)


@app.command(epilog="Example: sintro cells table1")
def cells(study: StudyName) -> None:
    """Print the paths of a study's cells, one a line."""
    from sintro.cells import studies as known

    for cell in known.load(study).cells():
        print(cell.path)


@app.command(epilog=f"Example: sintro show {CELL}")
def show(
    cell: CellPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, the content of the cell's cell.json")] = False,
) -> None:
    """Show every setting of a cell and where it comes from; trains nothing."""
    from sintro.cells import presets
    from sintro.cells import studies as known
    from sintro.runs import stored

    one = cell_here(cell)
    settings, sources = known.settings(one), known.sources(one)
    if as_json:
        print(json.dumps(stored.cell_content(one, settings, sources), indent=1, sort_keys=True))
        return
    table = Table("setting", "value", "where it comes from", title=one.path, caption=f"digest {settings.digest}")
    for name, value in presets.in_words(settings).items():
        table.add_row(name, _plain(value), sources[name])
    _print(table)


@app.command(epilog=f"Example: sintro train {CELL} --device cpu --threads 1")
def train(
    cells: CellPaths,
    device: Device = "auto",
    threads: Threads = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Another length, to try something out; the rest follows in proportion")
    ] = None,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Seconds between checkpoints")
    ] = 120,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away a checkpoint or a finished run")] = False,
    fleet: Annotated[
        int | None, typer.Option(min=1, help="Train so many 2D cells side by side (default: 1, on a GPU what it holds)")
    ] = None,
    graph: Graph = False,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of image networks (default: the study's). bfloat16 changes results: not comparable"),
    ] = None,
    wait: Wait = SECONDS_OF_PATIENCE,
    data: Data = None,
) -> int:
    """Train cells, on a GPU 2D cells side by side; a stopped run goes on from its checkpoint, bit for bit.

    Exit code 0: trained, or diverged (which is a result); 75: stopped by a signal, its checkpoint written; 2: an error.
    """
    if not math.isfinite(checkpoint_every):
        raise SintroError(f"--checkpoint-every {checkpoint_every}: legal are 0 and more seconds")
    _use_data(data)  # first: an extension may count its images there
    grid = _cells(cells)
    given = {"device": device, "threads": threads, "iterations": iterations, "precision": precision, "data": data}
    return _train(grid, given, fleet, checkpoint_every=checkpoint_every, restart=restart, graph=graph, wait=wait)


@app.command(epilog="Example: sintro fleet search2d")
def fleet(
    study: StudyName,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A fleet; without it they are listed")] = None,
    device: Device = "auto",
    threads: Threads = None,
    graph: Graph = False,
    wait: Wait = SECONDS_OF_PATIENCE,
) -> int:
    """Train one of a study's fleets; the last step of each cell is left to its own `sintro train CELL`."""
    from sintro.cells import fleets
    from sintro.cells import studies as known

    one = known.load(study)
    found = fleets.of_study(one)
    if name is None:
        for each, members in found.items():
            print(f"{each}  {len(members)} cells")
        return 0
    size = None if one.fleet == "auto" else one.fleet
    given = {"device": device, "threads": threads}
    return _train(fleets.find(found, study, name), given, size, graph=graph, wait=wait, hand_over=True)


def _train(cells: Sequence[Cell], given: dict, fleet: int | None, **options: float) -> int:
    """Train cells, as `train` and `fleet` were told."""
    from sintro.cells import studies as known

    failures.refuse_repeated("train", [Path(cell.path) for cell in cells])
    asked = given.get("iterations"), given.get("precision")
    resolved = [(cell, known.settings(cell, *asked), known.sources(cell, *asked)) for cell in cells]
    for dataset in {cell.dataset for cell in cells if cell.data.kind == "images"}:
        from sintro.data.sources import missing_inception

        if note := missing_inception(dataset):
            print(f"note: {note}", file=sys.stderr)
    from sintro.runs.devices import pick_device, set_threads
    from sintro.training.loop import Options
    from sintro.training.record import Task
    from sintro.training.tasks import recording, train_all

    tasks = [Task(*one, _command("train", one[0], **given)) for one in resolved]
    with recording(tasks):
        device, threads = pick_device(given["device"]), set_threads(given["threads"])
    return train_all(tasks, Options(device, threads, **options), fleet)


@app.command(epilog=f"Example: sintro evaluate {CELL}")
def evaluate(
    cells: CellPaths,
    device: Device = "auto",
    threads: Threads = None,
    data: Data = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="A quick look at image cells with fewer images: look.json, which never counts"),
    ] = None,
) -> int:
    """Evaluate trained cells, one after another: their metrics.json and figures.

    A cell that cannot be evaluated does not stop the others; the exit code is then 2.
    """
    _use_data(data)  # first: an extension may count its images there
    grid = _cells(cells)
    if images is not None:
        _look(grid, images, device, threads)
        return 0
    failures.refuse_repeated("evaluate", [Path(one.path) for one in grid])
    from sintro.evaluation.cell import evaluate_each
    from sintro.report import draw_cell

    codes = [0]
    for one, status, error in evaluate_each(grid, draw_cell, device, threads):
        if error:
            codes.append(_fail(error))
        else:
            print(f"{one.path}: {status}")
    return max(codes)


def _look(grid: Sequence[Cell], images: int, device: str, threads: int | None) -> None:
    """Print what a quick look at image cells finds."""
    from sintro.evaluation.cell import look, numbered

    for one, label in numbered(grid):
        found = look(one, images, device, threads, label)
        table = Table("metric", "value", title=f"{one.path}, {images} images: a look, not a result")
        for name, value in found.items():
            if isinstance(value, float) and not name.endswith(("_last", "_last_published")):
                table.add_row(name, f"{value:.4g}")
        _print(table)


@app.command(epilog="Example: sintro report quick")
def report(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY]...", help="Studies' names (default: all that have results)")
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Show the runs packed in archive/ alone, whatever results/ holds")
    ] = False,
) -> None:
    """Write the HTML pages under reports/; an archived run, marked as such, stands where results/ lacks a cell."""
    from sintro import report as pages

    for path in pages.build(studies or [], archived_only=archive):
        print(path)


@app.command(epilog="Example: sintro archive table1-short")
def archive(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Studies' names, as `sintro studies` lists them")
    ],
) -> None:
    """Pack studies' finished cells into archive/STUDY.zip: numbers, settings, thin histories, a few pictures.

    Cells of an archive that is there already stay in it where results/ lacks them. `sintro report` reads archives.
    """
    from sintro.runs import archive as archives

    names = list(dict.fromkeys(studies))
    for name in names:
        archives.own_cells(name)
    for name in names:
        print(archives.pack(name).in_words())


@app.command(epilog="Example: sintro status table1 --watch")
def status(
    study: StudyName,
    watch: Annotated[bool, typer.Option("--watch", help="Show a live bar until every cell is finished")] = False,
    while_: Annotated[
        int | None, typer.Option("--while", metavar="PID", help="With --watch: until this process ends instead")
    ] = None,
) -> None:
    """Show what of a study is done, runs, waits, diverged or failed; reads folders only, so it works on any node."""
    from sintro.cells import studies as known
    from sintro.runs import status as state

    if while_ is not None and not watch:
        raise SintroError(f"--while {while_} says how long to watch: it needs --watch")
    grid = known.load(study).cells()
    if not watch:
        state.show(study, grid)
        return
    try:
        state.watch(study, grid, state.unfinished if while_ is None else state.while_alive(while_))
    except KeyboardInterrupt:  # only the looking ends, not what is looked at
        return


@app.command(epilog="Example: sintro plan table1 --jobs 40")
def plan(
    study: StudyName,
    jobs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Jobs at a time, for the time it takes")] = 8,
) -> None:
    """Say what of a study is left, how much work that is, how long it takes and how much disk it needs."""
    from sintro.cells import studies as known
    from sintro.runs import plan as needs

    for line in needs.describe(study, known.load(study).cells(), jobs):
        print(line)


@app.command(epilog="Example: sintro clean table1")
def clean(
    study: StudyName,
    everything: Annotated[
        bool,
        typer.Option("--everything", help="The whole study: results, logs, pages; else only what nothing needs"),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without this it is only shown")] = False,
) -> None:
    """Show what can be deleted: half-written files, checkpoints of finished cells. With --yes delete it."""
    from sintro.cells import studies as known
    from sintro.runs import plan as needs

    grid = known.load(study).cells()
    found = needs.everything(study, grid) if everything else needs.leftovers(grid)
    if not found:
        print("nothing to delete")
        return
    print("\n".join(needs.sized(found)))
    if yes:
        needs.remove(found)
    print("deleted" if yes else "nothing was deleted; --yes deletes these")


@app.command(epilog="Example: sintro doctor --gpu")
def doctor(
    gpu: Annotated[bool, typer.Option("--gpu", help="Ask for a GPU on the compute node")] = False,
    job: Annotated[bool, typer.Option(help="Look at a compute node too, by a tiny Slurm job")] = True,
    data: Data = None,
    probe: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> int:
    """Check everything a run needs, here and on a compute node. Exit code 1 if something would make runs fail."""
    from sintro.runs import doctor as checks

    _use_data(data)
    if probe is not None:
        print(checks.answer(probe))
        return 0
    looked = {"here": checks.here(), "compute node": checks.compute_node(gpu) if job else []}
    table = Table("where", "what", "", "found")
    for where, found in looked.items():
        for check in found:
            table.add_row(where, check.what, check.state, check.found)
    _print(table)
    return int(any(check.state == "bad" for found in looked.values() for check in found))


@app.command(epilog="Example: sintro fetch mnist cifar10 inception")
def fetch(
    datasets: Annotated[
        list[str] | None, typer.Argument(metavar="[DATASET]...", help="Data sets, or inception (default: everything)")
    ] = None,
    data: Data = None,
) -> None:
    """Download image sets and the Inception weights and check their hashes; the only verb that uses a network."""
    _check_data(data)
    from sintro.data import fetch as fetching

    fetching.fetch(datasets or (), data)


new = typer.Typer(help="Write an extension: a file under extensions/ with comments that works as it is.")
app.add_typer(new, name="new")
NewName = Annotated[str, typer.Argument(metavar="NAME", help="Its name, as it stands in paths and studies")]


@new.command("density", epilog="Example: sintro new density moons")
def new_density(name: NewName) -> None:
    """Write a density in the plane of your own."""
    _new("density", name, f"{name}/soft-introvae/mog64-learned/clip")


@new.command("images", epilog="Example: sintro new images faces")
def new_images(name: NewName) -> None:
    """Write a set of images that is read from a folder of pictures."""
    _new("images", name, f"{name}/vae/normal/none")


@new.command("prior", epilog="Example: sintro new prior flow")
def new_prior(name: NewName) -> None:
    """Write a prior that learns, a normalising flow."""
    _new("prior", name, f"8gaussians/soft-introvae/{name}/none")


@new.command("objective", epilog="Example: sintro new objective cycle")
def new_objective(name: NewName) -> None:
    """Write an objective, a variant of Soft-IntroVAE."""
    _new("objective", name, f"8gaussians/{name}/normal/none")


def _new(kind: str, name: str, example: str) -> None:
    from sintro.cells.components import new as templates

    path = templates.write(kind, name)
    print(f"{path}; its settings: sintro show {RESULTS}/quick/{example}/seed0")


@app.command(epilog="Example: sintro choose search2d")
def choose(study: StudyName) -> None:
    """Choose the hyper-parameters that a search study found best, for the studies which use them."""
    from sintro.cells import studies as known
    from sintro.runs import searches

    print(searches.choose(study, known.load(study).cells()))


@app.command(epilog="Example: sintro theory --points 8 --gamma 0.5")
def theory(
    points: Annotated[int, typer.Option(help="Points of the data space, 2 to 50 (8: seconds, 50: minutes)")] = 8,
    alpha: Annotated[float, typer.Option(help="Factor inside the soft exponential, 0.1 to 100 (published: 2)")] = 2.0,
    gamma: Annotated[
        float,
        typer.Option(help="The decoder's weight of generated data for the plays shown, 0.001 to 10 (published: 1)"),
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Draws the data's distribution and the starts")] = 0,
) -> None:
    """Solve the game's equilibrium exactly on a small data space, over a sweep of gamma: claim C6."""
    from sintro.theory import experiment

    experiment.check(points, alpha, gamma, seed)
    from sintro.report import draw_theory

    folder = experiment.write(points, alpha, gamma, seed)
    print("\n".join(map(str, [folder / experiment.RESULT, *draw_theory(folder)])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; what the user can mend is one line on stderr and code 2."""
    print_whatever_comes()
    try:
        given = sys.argv[1:] if arguments is None else list(arguments)
        if any("\0" in word for word in given):
            raise SintroError("a null byte stands in an argument, which no name and no number has")
        code = app(args=given or ["--help"], prog_name="sintro", standalone_mode=False)
        sys.stdout.flush()  # here, where a full disk or a reader that has gone is still caught
    except SintroError as error:
        return _fail(str(error))
    except typer.Abort:
        return _fail("stopped by Ctrl-C", INTERRUPTED)
    except BrokenPipeError:
        _drop_output()
        return CLOSED_PIPE
    except (OSError, MemoryError) as error:
        _drop_output()
        return _fail(failures.in_words(error))
    except Exception as error:
        # Typer's own exceptions for a wrong command line moved between its releases; this method is what they share.
        if not hasattr(error, "format_message"):
            if components.fault(error) is None:
                raise
            return _fail(failures.in_words(error))
        context = getattr(error, "ctx", None)
        verb = context.command_path if context else "sintro"
        return _fail(f"{error.format_message().rstrip('.')}; see {verb} --help")
    return code or 0


def _fail(message: str, code: int = 2) -> int:
    words = [
        word if len(word) <= LONGEST_WORD else f"{word[:80]}... ({len(word)} characters)" for word in message.split()
    ]
    print(f"error: {' '.join(words)}", file=sys.stderr)
    return code


def _drop_output() -> None:
    """Lead what cannot be printed nowhere, so that Python does not fail on it once more when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _cells(paths: Sequence[str]) -> list[Cell]:
    """The cells of these paths in their order, each once, in however many spellings it was given."""
    return list(dict.fromkeys(cell_here(path) for path in paths))


def _use_data(folder: str | None) -> None:
    """Make a folder the data root of everything this process does; None keeps the one that there is."""
    _check_data(folder)
    if folder is not None:
        os.environ["SINTRO_DATA"] = folder


def _check_data(folder: str | None) -> None:
    """Refuse a data root that is no folder; one that is not there yet is for `sintro fetch` to make."""
    if folder is None:
        return
    place = Path(folder).expanduser()
    if not folder.strip() or (place.exists() and not place.is_dir()):
        raise SintroError(f"--data {folder!r} is not a folder; legal is the folder in which image sets are kept")


def _command(verb: str, cell: Cell, **options: str | float | None) -> str:
    """The command line, as a shell reads it, that does the same again; the defaults are left out."""
    words = ["sintro", verb, cell.path]
    for name, value in options.items():
        if value not in (None, "auto"):
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def _plain(value: object) -> str:
    if value is None or value == ():
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _print(table: Table) -> None:
    """Print a table, as wide as it needs where no terminal bounds it."""
    console = Console()
    (console if console.is_terminal else Console(width=240)).print(table)


if __name__ == "__main__":
    sys.exit(main())
