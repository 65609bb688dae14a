# `snakemake --cores 2` runs study "quick" to reports/index.html; `--config study=table1` runs another one.
# Snakemake decides what to run, `sintro` decides what it means: every rule is one of its command lines.
import sys

from snakemake.utils import min_version, validate

from sintro import fleets, studies
from sintro.cells import IMAGES, PARTS, Cell

min_version("9.27")
validate(config, "workflow/schemas/config.schema.yaml")  # also sets the defaults

SINTRO = f"{sys.executable} -m sintro"  # the same Python as Snakemake's, with or without an activated environment
STUDY = studies.load(config["study"]).name


wildcard_constraints:
    study="[^/]+",
    cell=".+",


localrules: all, choose, report, index, theory, fleets


rule all:
    input:
        "reports/index.html",


onerror:  # the pages are written all the same, with a reason for every cell that is missing
    shell("{SINTRO} report {STUDY} && {SINTRO} status {STUDY}")


include: "workflow/rules/fetch.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
