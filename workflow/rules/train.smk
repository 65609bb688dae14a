import functools
import signal

from sintro import preemption

# A Slurm job that is warned is warned as a whole. Snakemake and the shell would die of it before the training inside has
# written its checkpoint: the one lets it pass, the other makes way by `exec`.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
preemption.ends_a_job()


GRAPH = " --graph" if str(config["graph"]).lower() == "true" else ""


def gpus(wildcards):
    image = Cell.from_path(f"results/{wildcards.cell}").dataset in IMAGES
    return int({"images": image, "all": True, "none": False}[config["gpus"]])


def data(wildcards):
    dataset = Cell.from_path(f"results/{wildcards.cell}").dataset
    return [ancient(fetched(dataset))] if dataset in IMAGES and dataset != "digits" else []


# The one declared output is what training writes last. It is there for a diverged cell too, which is a result;
# the checkpoint is not declared, so Snakemake never deletes it and a run that was stopped goes on from it.
rule train:
    input:
        data,
    output:
        "results/{cell}/provenance.json",
    params:
        digest=lambda wildcards: studies.settings(Cell.from_path(f"results/{wildcards.cell}")).digest,
    log:
        "logs/{cell}/train.log",
    threads: config["threads"]
    resources:
        gpu=gpus,
    message:
        "train results/{wildcards.cell}"
    shell:
        "exec {SINTRO} train results/{wildcards.cell} --device {config[device]} --threads {threads}{GRAPH} > {log} 2>&1"


# Fleets: cells of equal shape that train side by side. A study as a whole waits for its fleets, and then asks for its
# cells, whose `sintro train` finds them trained; a cell that is asked for by itself knows nothing of fleets.
# `fleet: auto` is for GPUs: without them more cells side by side are not faster, and could not go to several nodes.
PLANE_ON_GPUS = config["gpus"] == "all" or config["device"].startswith("cuda")


@functools.cache
def fleets_of(study):
    known = studies.load(study)
    return list(fleets.of_study(known)) if known.fleet != "auto" or PLANE_ON_GPUS else []


def metrics_of(wildcards):
    """What a study's pages are made of, once its fleets are trained."""
    study = studies.load(wildcards.study)
    for part in study.include or (study.name,):
        if fleets_of(part):
            checkpoints.fleets.get(study=part)
    return [f"{cell.path}/metrics.json" for cell in study.cells()]


rule fleet:
    output:
        touch("results/{study}/.fleets/{fleet}.done"),
    log:
        "logs/{study}/.fleets/{fleet}.log",
    threads: config["threads"]
    resources:
        gpu=int(PLANE_ON_GPUS),
    message:
        "train fleet {wildcards.fleet} of study {wildcards.study}"
    shell:
        "exec {SINTRO} fleet {wildcards.study} {wildcards.fleet} --device {config[device]} --threads {threads}{GRAPH} > {log} 2>&1"


# Other fleets are other params, so that they train even where the pages of earlier ones are there.
checkpoint fleets:
    input:
        lambda wildcards: [f"results/{wildcards.study}/.fleets/{name}.done" for name in fleets_of(wildcards.study)],
    output:
        touch("results/{study}/.fleets/all"),
    params:
        fleets=lambda wildcards: fleets.digest_of(fleets_of(wildcards.study)),
    message:
        "the fleets of study {wildcards.study} are trained"
