"""The command line: ``sintro VERB ...``, the same as ``python -m sintro VERB ...``.

A verb reads its arguments and calls the room that does the work. It imports that room when it runs, so that verbs which
only read names start fast and without torch.
"""

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from sintro import SintroError
from sintro.basics.memory import keep_memory
from sintro.basics.output import drop_output, print_error, print_table, print_whatever_comes
from sintro.cells import components
from sintro.cells.cell import RESULTS, Cell
from sintro.runs import failures
from sintro.runs.folder import cell_here
from sintro.runs.lock import SECONDS_OF_PATIENCE

ALLOCATING = (["train"], ["evaluate"])  # the verbs whose memory comes and goes with each iteration
CLOSED_PIPE = 1  # the exit code where the reader of the output has gone, as Typer has it
INTERRUPTED = 130  # where Ctrl-C stopped a verb: 128 + SIGINT

CELL = "results/quick/rings/soft-introvae/mog64-learned/clip/seed0"

app = typer.Typer(
    help="Train, evaluate and compare introspective variational autoencoders, one cell of a study at a time.",
    epilog="Start with: sintro studies",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _use_data(folder: str | None) -> str | None:
    """Make a folder the data root of everything that this process does; None keeps the one that is set.

    Raises SintroError for a path that is no folder; a folder that does not exist is for `sintro fetch` to make.
    """
    if folder is not None:
        place = Path(os.path.expanduser(folder))
        if not folder.strip() or (place.exists() and not place.is_dir()):
            raise SintroError(f"--data {folder!r} is not a folder; legal is the folder in which image sets are kept")
        os.environ["SINTRO_DATA"] = folder  # before cells are read: an extension may count its images there
    return folder


CellPath = Annotated[str, typer.Argument(metavar="CELL", help="The cell's folder, as `sintro cells STUDY` prints it")]
CellPaths = Annotated[
    list[str], typer.Argument(metavar="CELL...", help="Cells' folders, as `sintro cells STUDY` prints them")
]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name, as `sintro studies` lists them")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:N")]
Precision = Literal["float32", "bfloat16"]
Data = Annotated[
    str | None, typer.Option(callback=_use_data, help="The folder of image sets (default: $SINTRO_DATA, else data/)")
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads for torch (default: torch's own choice)")]
Wait = Annotated[
    int,
    typer.Option(
        min=0,
        max=10**9,
        metavar="SECONDS",
        help="How long to wait for another process that trains a cell; 0: do not wait",
    ),
]
Graph = Annotated[bool, typer.Option("--graph", help="On a GPU, replay whole iterations as CUDA graphs")]


@app.command(epilog="Example: sintro studies")
def studies() -> int:
    """List the studies: how many cells each has and what it is for.

    A broken study file does not hide the others; the exit code is then 2.
    """
    from sintro.cells import studies as known

    codes = [0]
    table = Table("study", "cells", "length", "comparable", "what")
    for name in known.names():
        try:
            study = known.load(name)
        except SintroError as error:
            codes.append(print_error(str(error)))
            continue
        length = "" if study.include else f"{study.length:.3g}"
        table.add_row(name, str(len(study.cells())), length, "yes" if study.comparable else "no", study.title)
    print_table(table)
    return max(codes)


@app.command(epilog="Example: sintro cells table1")
def cells(study: StudyName) -> None:
    """Print the paths of a study's cells, one a line."""
    from sintro.cells import studies as known

    for cell in known.load(study).cells():
        print(cell.path)


@app.command(epilog=f"Example: sintro show {CELL}")
def show(
    cell: CellPath,
    as_json: Annotated[bool, typer.Option("--json", help="Print the settings as cell.json holds them")] = False,
) -> None:
    """Show every setting of a cell and where it comes from; trains nothing."""
    from sintro.cells import origins
    from sintro.cells import studies as known
    from sintro.runs import stored

    one = cell_here(cell)
    settings, sources = known.settings(one), known.sources(one)
    if as_json:
        print(json.dumps(stored.cell_content(one, settings, sources), indent=1, sort_keys=True))
        return
    table = Table("setting", "value", "where it comes from", title=one.path, caption=f"digest {settings.digest}")
    for name, value in origins.in_words(settings).items():
        table.add_row(name, _plain(value), sources[name])
    print_table(table)


@app.command(epilog=f"Example: sintro train {CELL} --device cpu --threads 1")
def train(
    cells: CellPaths,
    device: Device = "auto",
    threads: Threads = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Another length, for a trial; the schedule shrinks in proportion")
    ] = None,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Seconds between checkpoints")
    ] = 120,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away a checkpoint or a finished run")] = False,
    fleet: Annotated[
        int | None, typer.Option(min=1, help="2D cells that train side by side (default: 1, on a GPU what fits)")
    ] = None,
    graph: Graph = False,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of image networks (default: the study's); bfloat16 changes results: not comparable"),
    ] = None,
    wait: Wait = SECONDS_OF_PATIENCE,
    data: Data = None,
) -> int:
    """Train cells; a stopped run goes on from its checkpoint, bit for bit. On a GPU 2D cells train side by side.

    Exit code 0: trained, or diverged, which is a result; 75: stopped by a signal, the checkpoint is written; 2: error.
    """
    if not math.isfinite(checkpoint_every):
        raise SintroError(f"--checkpoint-every {checkpoint_every}: legal are 0 and more seconds")
    from sintro.training.command import train_cells

    given = {"device": device, "threads": threads, "iterations": iterations, "precision": precision, "data": data}
    how = {"checkpoint_every": checkpoint_every, "restart": restart, "graph": graph, "wait": wait}
    return train_cells(_cells(cells), given, fleet, **how)


@app.command(epilog="Example: sintro fleet search2d")
def fleet(
    study: StudyName,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A fleet (default: list the fleets)")] = None,
    device: Device = "auto",
    threads: Threads = None,
    graph: Graph = False,
    wait: Wait = SECONDS_OF_PATIENCE,
) -> int:
    """Train one of a study's fleets; `sintro train CELL` then takes over each cell for its last step."""
    from sintro.cells import fleets
    from sintro.cells import studies as known
    from sintro.training.command import train_cells

    one = known.load(study)
    found = fleets.of_study(one)
    if name is None:
        for each, members in found.items():
            print(f"{each}  {len(members)} cells")
        if not found:
            print(f"study {study} has no fleets: its cells train one by one (sintro train)", file=sys.stderr)
        return 0
    grid = fleets.find(found, study, name)
    size = None if one.fleet == "auto" else one.fleet
    given = {"device": device, "threads": threads}
    return train_cells(grid, given, size, graph=graph, wait=wait, hand_over=True)


@app.command(epilog=f"Example: sintro evaluate {CELL}")
def evaluate(
    cells: CellPaths,
    device: Device = "auto",
    threads: Threads = None,
    data: Data = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="A quick look at image cells, with fewer images: look.json, which never counts"),
    ] = None,
) -> int:
    """Evaluate trained cells one after another: write their metrics.json and figures.

    A cell that cannot be evaluated does not stop the others; the exit code is then 2.
    """
    grid = _cells(cells)
    if images is not None:
        return _look(grid, images, device, threads)
    failures.refuse_repeated("evaluate", [Path(one.path) for one in grid])
    from sintro.evaluation.cell import evaluate_each
    from sintro.report import draw_cell

    codes = [0]
    for one, status, error in evaluate_each(grid, draw_cell, device, threads):
        if error:
            codes.append(print_error(error))
        else:
            print(f"{one.path}: {status}")
    return max(codes)


def _look(grid: Sequence[Cell], images: int, device: str, threads: int | None) -> int:
    """Print the metrics of a quick look at image cells; return the exit code."""
    from sintro.evaluation.cell import look, numbered

    codes = [0]
    for one, label in numbered(grid):
        try:
            found = look(one, images, device, threads, label)
        except SintroError as error:
            codes.append(print_error(str(error)))
            continue
        table = Table("metric", "value", title=f"{one.path}, {images} images: a look, not a result")
        for name, value in found.items():
            if isinstance(value, float) and not name.endswith(("_last", "_last_published")):
                table.add_row(name, f"{value:.4g}")
        print_table(table)
    return max(codes)


@app.command(epilog="Example: sintro report quick, or sintro report --self-contained to send reports/ without results/")
def report(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY]...", help="Studies' names (default: all with results)")
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Show the runs packed in archive/ alone, whatever results/ holds")
    ] = False,
    self_contained: Annotated[
        bool,
        typer.Option("--self-contained", help="Put cells' pictures into their pages (default: links into results/)"),
    ] = False,
) -> None:
    """Write the HTML pages under reports/; an archived run, marked as such, stands where results/ lacks a cell."""
    from sintro import report as pages

    for path in pages.build(studies or [], archived_only=archive, self_contained=self_contained):
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
        int | None, typer.Option("--while", metavar="PID", help="With --watch: until this process ends")
    ] = None,
) -> None:
    """Show which cells of a study are done, running, to evaluate, missing, diverged or failed; on any node."""
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
    except KeyboardInterrupt:  # it ends the watching, not the training
        return


@app.command(epilog="Example: sintro plan table1 --jobs 40")
def plan(
    study: StudyName,
    jobs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Jobs at a time, to estimate the duration")] = 8,
) -> None:
    """Show how many cells of a study are left, and how much work, time and disk they need."""
    from sintro.cells import studies as known
    from sintro.runs import plan as needs

    for line in needs.describe(study, known.load(study).cells(), jobs):
        print(line)


@app.command(epilog="Example: sintro clean table1")
def clean(
    study: StudyName,
    everything: Annotated[
        bool, typer.Option("--everything", help="All of the study: results, logs, pages (default: what nothing needs)")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the files that are shown")] = False,
) -> None:
    """Show which files nothing needs: half-written ones, checkpoints of finished cells. With --yes delete them."""
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
    """Check everything that a run needs, here and on a compute node. Exit code 1: something would make runs fail."""
    from sintro.runs import doctor as checks

    if probe is not None:
        print(checks.answer(probe))
        return 0
    looked = {"here": checks.here(), "compute node": checks.compute_node(gpu) if job else []}
    table = Table("where", "what", "", "found")
    for where, found in looked.items():
        for check in found:
            table.add_row(where, check.what, check.state, check.found)
    print_table(table)
    return int(any(check.state == "bad" for found in looked.values() for check in found))


@app.command(epilog="Example: sintro fetch mnist cifar10 inception")
def fetch(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATASET]...",
            help="Data sets; weights: inception, dinov2, lpips, vgg16 (default: the papers' image sets and inception)",
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Download image sets and the weights of networks and check their hashes; the only verb that uses a network."""
    from sintro.data import fetch as fetching

    fetching.fetch(datasets or (), data)


@app.command(epilog="Examples: sintro prepare celebahq-256 /scratch/celeba_hq; sintro prepare mine pictures --size 64")
def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="celeba-128, celebahq-256, ffhq-256, or a name of yours")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of the images; it is only read")],
    size: Annotated[int | None, typer.Option(help="Pixels of a side, when prepared: 32, 64, 128 or 256")] = None,
    crop: Annotated[
        Literal["none", "centre", "celeba"] | None,
        typer.Option(help="centre (default): the largest square; none: squeezed; celeba: 128 pixels around the face"),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Only the first of the sorted names (default: all)")] = None,
    test: Annotated[
        int | None, typer.Option(min=1, help="How many of the last names are the test split (default: a tenth)")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="A file with the split of each image, as list_eval_partition.txt of CelebA")
    ] = None,
    force_count: Annotated[
        bool, typer.Option("--force-count", help="Take other counts than published; all results say so")
    ] = False,
    data: Data = None,
) -> None:
    """Prepare a folder of images once, as data set folder-NAME-SIZE or as that of a released configuration.

    Images that are converted or left out get a line each. A killed preparation goes on with the same command.
    """
    from sintro.data import prepare as preparing
    from sintro.data import prepare_names as naming

    request = naming.Request(path, crop or "", count, test, split, force_count)
    images, request = naming.asked_for(name, size, request)
    folder = preparing.prepare(images, request)
    found = images.manifest(folder)["images"]
    print(f"{images.name}: {found['train']:,} training and {found['test']:,} test images in {folder}")


@app.command(epilog="Example: sintro new density moons")
def new(
    kind: Annotated[Literal["density", "images", "prior", "objective"], typer.Argument(help="What the file defines")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name in paths and studies")],
) -> None:
    """Write an extension: a file with comments under extensions/ that works as it is."""
    from sintro.cells.components import new as templates

    path = templates.write(kind, name)
    print(f"{path}; its settings: sintro show {RESULTS}/quick/{templates.EXAMPLES[kind].format(name)}/seed0")


@app.command(epilog="Example: sintro compare results ../another-machine/results --out compared")
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A results folder, a folder that holds one, or an archive")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one: of another machine, commit or lab")],
    out: Annotated[str | None, typer.Option(metavar="FOLDER", help="Write a page and a CSV file there")] = None,
    margin: Annotated[
        float, typer.Option(help="What counts as equivalent: so many typical standard deviations over A's seeds")
    ] = 2.0,  # five seeds a side have wider intervals than a margin of one standard deviation
) -> int:
    """Compare two runs row by row: differs, equivalent or undecided. Exit code 1 if a row differs significantly."""
    from sintro.report.numbers.compare import compare_trees
    from sintro.report.numbers.trees import read_tree
    from sintro.report.pages import compare as pages

    found = compare_trees(read_tree(a), read_tree(b), margin)
    written = pages.write(found, Path(out)) if out is not None else []
    for table in pages.tables(found):
        print_table(table)
    for path in written:
        print(path)
    return int(found.differs)


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
    """Run the command line; return the exit code. An error that the user can mend is one line on stderr, and code 2."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if arguments is None and given[:1] in ALLOCATING:
        keep_memory()
    print_whatever_comes()
    try:
        if any("\0" in word for word in given):
            raise SintroError("an argument holds a null byte, which no name and no number has")
        code = app(args=given or ["--help"], prog_name="sintro", standalone_mode=False)
        sys.stdout.flush()  # here, where the error of a full disk or of a closed pipe is still caught
    except SintroError as error:
        return print_error(str(error))
    except typer.Abort:
        return print_error("stopped: there is no answer to read", INTERRUPTED)
    except BrokenPipeError:
        drop_output()
        return CLOSED_PIPE
    except (OSError, MemoryError) as error:
        drop_output()
        return print_error(failures.in_words(error))
    except Exception as error:
        # Typer's exceptions for a wrong command line moved between its releases; all of them have this method.
        if not hasattr(error, "format_message"):
            if components.fault(error) is None:
                raise
            return print_error(failures.in_words(error))
        context = getattr(error, "ctx", None)
        verb = context.command_path if context else "sintro"
        return print_error(f"{error.format_message().rstrip('.')}; see {verb} --help")
    if code == INTERRUPTED:  # what typer makes of Ctrl-C
        return print_error("stopped by Ctrl-C", INTERRUPTED)
    return code or 0


def _cells(paths: Sequence[str]) -> list[Cell]:
    """Return the cells of these paths in their order; a cell that was given in several spellings comes once."""
    return list(dict.fromkeys(cell_here(path) for path in paths))


def _plain(value: object) -> str:
    if value is None or value == ():
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    sys.exit(main())
