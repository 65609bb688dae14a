def trained(wildcards):
    """A trained cell; called when Snakemake plans the evaluation, which is judged then."""
    cell = Cell.from_path(f"results/{wildcards.cell}")
    judge_cell(cell, "train", "evaluate")
    provenance = f"{cell.path}/provenance.json"
    # Not the file's time says that it is new, but that this run makes it: then the evaluation follows.
    return provenance if is_forced("train", provenance) else ancient(provenance)


# `update`: Snakemake deletes no metrics before their cell is measured anew, which may be impossible by now.
rule evaluate:
    input:
        trained,
    output:
        report(
            update("results/{cell}/metrics.json"),
            caption="../report/cell.rst",
            category=lambda wildcards: Cell.from_path(f"results/{wildcards.cell}").study,
            labels=lambda wildcards: dict(zip(PARTS[1:], wildcards.cell.split("/")[1:])),
        ),
    log:
        "logs/{cell}/evaluate.log",
    threads: config["threads"]
    resources:
        gpu=gpus,
    message:
        "evaluate results/{wildcards.cell}"
    shell:
        "{SINTRO} evaluate results/{wildcards.cell} --device {config[device]} --threads {threads} > {log} 2>&1"


rule choose:
    input:
        lambda wildcards: metrics_of_study(wildcards.study, [f"results/{wildcards.study}/chosen.json"]),
    output:
        update("results/{study}/chosen.json"),
    log:
        "logs/{study}/choose.log",
    message:
        "choose the hyper-parameters of study {wildcards.study}"
    shell:
        "{SINTRO} choose {wildcards.study} > {log} 2>&1"
