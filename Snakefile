# `snakemake --cores 2` runs study "quick" to reports/index.html; `--config study=table1` runs another one.
# Snakemake decides what to run, `sintro` decides what it means: every rule is one of its command lines.
import os
import shlex
import sys

from snakemake.logging import logger
from snakemake.utils import min_version, validate

min_version("9.27")


SCHEMA = workflow.source_path("workflow/schemas/config.schema.yaml")  # beside this file, wherever Snakemake works


def refuse(said):
    print(f"error: {said}", file=sys.stderr)
    sys.exit(2)


try:
    from sintro import SintroError
    from sintro.runs import loading
except ImportError as error:
    refuse(
        f"this snakemake runs in {sys.executable}, which cannot import sintro ({error}); "
        "use the snakemake of sintro's environment (make setup makes .venv/bin/snakemake)"
    )
try:
    loading.check(sys.argv[1:], config, SCHEMA)
except SintroError as error:
    refuse(error)

from sintro.cells import fleets, studies
from sintro.cells.cell import PARTS, Cell
from sintro.cells.components import datasets
from sintro.runs import jobs, places, results

validate(config, SCHEMA)  # also sets the defaults

# The same Python as Snakemake's, with or without an activated environment.
SINTRO = f"{shlex.quote(sys.executable)} -m sintro"
try:
    STUDY = studies.load(config["study"]).name
except SintroError as error:
    refuse(error)

if workflow.is_main_process:  # not in a job, which loads this file too
    jobs.begin(logger)


wildcard_constraints:
    study="[^/]+",
    cell=".+",


localrules: all, choose, report, index, theory, fleets


include: "workflow/rules/judge.smk"


# The cells and the pages: pages are written after a failure too, so they are no proof that the cells are done.
rule all:
    input:
        lambda wildcards: metrics_of_study(STUDY),
        lambda wildcards: there([f"reports/{STUDY}/index.html", "reports/index.html"]),


onstart:  # before any job; while this file is read, who runs the jobs is not known yet
    if not workflow.local_exec and (reason := places.why_no_slurm_job_starts()):
        raise SintroError(reason)


onerror:  # the pages are written all the same, with a reason for every cell that is missing
    shell("{SINTRO} report {STUDY} && {SINTRO} status {STUDY}")


include: "workflow/rules/fetch.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
