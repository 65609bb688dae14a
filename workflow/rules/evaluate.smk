def trained(wildcards):
    """Name the file that says that a cell is trained, and judge whether to evaluate it, when Snakemake plans that."""
    cell = Cell.from_path(f"results/{wildcards.cell}")
    judge_cell(cell, "train", "evaluate")
    provenance = f"{cell.path}/provenance.json"
    # The evaluation follows where this run makes the file; the file's time does not count.
    return provenance if is_forced("train", provenance) else ancient(provenance)


# `update`: Snakemake keeps the old metrics until the cell is measured anew, which may be impossible by now.
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
