DATA = os.environ.get("SINTRO_DATA", "data")


# The one step that uses a network, on the node where snakemake runs. The lock file is what it leaves beside the data.
# FID's weights are tried for with it. Without them cells are measured by the data set's own classifier (which training
# says before it starts): their absence stops nothing.
rule fetch:
    localrule: True
    output:
        DATA + "/{dataset}.lock.json",
    wildcard_constraints:
        dataset="|".join(name for name in IMAGES if name != "digits"),
    log:
        "logs/fetch-{dataset}.log",
    message:
        "fetch {wildcards.dataset}"
    shell:
        "{SINTRO} fetch {wildcards.dataset} > {log} 2>&1 && ({SINTRO} fetch inception >> {log} 2>&1 || true)"
