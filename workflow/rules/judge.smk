# Snakemake would judge what is done by the times of files, by files that are there, and by what it remembers of its own
# runs. Here the content of a cell's files decides (sintro/runs/results.py): inputs are `ancient`, and a file that no
# longer counts, or that is made of missing cells, is forced, as by `--forcerun`.
import functools

LISTED = 20  # cells that are named
PRODUCT = {"train": "provenance.json", "evaluate": "metrics.json"}  # what a step makes last

# `snakemake --report` runs nothing: it shows what is there.
REPORT_ONLY = any(word.partition("=")[0] == "--report" for word in sys.argv) and "--report-after-run" not in sys.argv


def make_again(*files):
    """Have these files made in this run whether or not they are there."""
    workflow.dag.forcefiles.update(files)


def is_forced(rule, file):
    """Tell whether this run makes the file anew: it was judged so, or `--forcerun` names the file or its rule."""
    return file in workflow.dag.forcefiles or rule in {forced.name for forced in workflow.dag.forcerules}


def judge_cell(cell, *steps):
    """Have a cell's next step done in this run if it is one of these; return the step.

    What Snakemake remembers of the cell does not count.

    Refuse the run where a trained cell's settings are not known: Snakemake deletes what it forces before the step says so.
    """
    found = results.judge(cell)
    if found.step in steps:
        if found.state == results.OTHER and (why := results.Asked.of(cell).why):
            refuse(f"{cell.path} is trained, but whether with the settings of its study is not known: {why}")
        make_again(f"{cell.path}/{PRODUCT[found.step]}")
    return found.step


def there(files):
    """List the files; for `snakemake --report`, which makes none, those that are there."""
    return [file for file in files if os.path.exists(file)] if REPORT_ONLY else files


def metrics_of_study(name, made_of_them=()):
    """List every cell's metrics, once the fleets are trained; where one is missing, have `made_of_them` made again."""
    if REPORT_ONLY:
        return finished_metrics(name)
    study = studies.load(name)
    if any(results.needed(cell) != "nothing" for cell in study.cells()):
        make_again(*made_of_them)
        train_fleets(study)
    return [f"{cell.path}/metrics.json" for cell in study.cells()]


@functools.cache
def finished_metrics(name):
    """List the metrics that are there, and print once which cells lack theirs; refuse a report of no metrics at all."""
    cells = studies.load(name).cells()
    left = [cell.path for cell in cells if results.needed(cell) == "nothing"]
    missing = [cell.path for cell in cells if cell.path not in set(left)]
    said = f"study {name}: {len(missing)} of {len(cells)} cells lack their metrics"
    if not left:
        refuse(f"{said}: there is nothing to report yet; run the same command without --report first")
    if missing:
        listed = ", ".join(missing[:LISTED]) + (f" and {len(missing) - LISTED} more" if missing[LISTED:] else "")
        print(f"note: {said} and are not in the report: {listed}", file=sys.stderr)
    return [f"{path}/metrics.json" for path in left]


def train_fleets(study):
    """Wait for the study's fleets in which a cell is to be trained: each cell's own training finds its work done."""
    for part in study.include or (study.name,):
        waiting = untrained_fleets(part)
        if waiting:
            make_again(*(f"results/{part}/.fleets/{name}.done" for name in waiting))
            checkpoints.fleets.get(study=part)
