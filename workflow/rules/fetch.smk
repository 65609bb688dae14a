import hashlib
import os

from sintro.data import sources

DATA = sources.data_root()
# The marker of a fetched data set lies beside the results, since the data root may be read-only; each root has its own.
FETCHED = "results/.fetched/" + hashlib.sha256(os.path.abspath(DATA).encode()).hexdigest()[:12]


def fetched(dataset, needed):
    """Name the marker of a data set that is there. The lock file that earlier versions left beside it still counts.

    Where a cell needs the data now and a file is gone, neither counts, and the data are fetched again.
    """
    lock, marker = sources.lock_path(dataset, DATA), f"{FETCHED}/{dataset}"
    if needed and not sources.all_there(dataset, DATA):
        make_again(marker)
        return marker
    return str(lock) if os.path.exists(lock) else marker


# The one step that uses a network, on the node where snakemake runs. It takes files that lie on this machine first.
# The step tries to fetch FID's weights too. Their absence stops nothing: cells are then measured by the data set's own
# classifier, and training says so before it starts.
rule fetch:
    localrule: True
    output:
        touch(FETCHED + "/{dataset}"),
    wildcard_constraints:
        dataset="|".join(name for name, one in datasets("images").items() if one.fetched),
    log:
        "logs/fetch-{dataset}.log",
    message:
        "fetch {wildcards.dataset}"
    shell:
        "{SINTRO} fetch {wildcards.dataset} > {log} 2>&1 && ({SINTRO} fetch inception >> {log} 2>&1 || true)"
