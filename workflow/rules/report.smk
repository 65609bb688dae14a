rule report:
    input:
        lambda wildcards: metrics_of_study(wildcards.study, [f"reports/{wildcards.study}/index.html"]),
    output:
        report("reports/{study}/index.html", caption="../report/study.rst", category="pages"),
    log:
        "logs/{study}/report.log",
    message:
        "write the pages of study {wildcards.study}"
    shell:
        "{SINTRO} report {wildcards.study} > {log} 2>&1"


# Writing a study's pages writes the index of all studies too; this is for an index that was lost.
rule index:
    input:
        f"reports/{STUDY}/index.html",
    output:
        update("reports/index.html"),
    log:
        "logs/index.log",
    message:
        "reports/index.html is up to date"
    shell:
        "(test -s {output} || {SINTRO} report {STUDY}) > {log} 2>&1"


# The equilibrium of the game, which needs no cell; its page is made with the others, and the index judges claim C6.
ruleorder: theory > report


rule theory:
    output:
        report("reports/theory/index.html", category="pages"),
    log:
        "logs/theory.log",
    message:
        "solve the game's equilibrium"
    shell:
        "({SINTRO} theory && {SINTRO} report) > {log} 2>&1"
