# Many models, each in a folder that is a project by itself
from signoff.rules import models
from signoff.source.pieces import folder_name

try:
    GROUPS = models.groups(config)
except TaskError as error:
    sys.exit(f"ERROR - {error}")

# A model that cannot be trained does not stop the others, whatever the command line or a profile says.
snakemake_patches.keep_going()


if settings.models.by:

    include: "split.smk"


def model_names():
    """Return the folders of all models; if the models are of a column, only once split_source has run."""
    return parts.plan()["parts"] if settings.models.by else [folder_name(name) for name in settings.models.each]


# The rules of a project are read once for all models that have the same config.
for number, (names, own) in enumerate(GROUPS):
    GROUP = f"each{number or ''}_"
    WITHIN = {"folder": "models/{model}/", "names": names, "plan": parts.plan if settings.models.by else None}

    module:
        name: GROUP
        snakefile:
            "../../Snakefile"
        config:
            {**own, "within": WITHIN}
        prefix:
            "models/{model}"

    use rule * from GROUP exclude all, track as GROUP*


# The table, reports/models.csv, is written even if the run fails; the output is not.
rule models_verdict:
    """Write the table of all models, and make each model's folder a project; fail if a model failed"""
    input:
        script=script("models"),
        helpers=helpers("models"),
        metrics=lambda wildcards: expand("models/{model}/reports/evaluation_metrics.json", model=model_names()),
        validation=lambda wildcards: expand("models/{model}/reports/validation_report.json", model=model_names()),
    output:
        "reports/verdict.json",
    log:
        "logs/models_verdict.log",
    benchmark:
        "logs/benchmarks/models_verdict.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        options=flags(config=workflow.configfiles),
        # A model that no longer exists is not in the table.
        names=lambda wildcards: list(model_names()),
    shell:
        "python {input.script:q} {params.options} --output={output:q} --log={log:q}"


rule models_reports:
    """Write the reports of all models; for one: snakemake models/NAME/reports/final_report.md"""
    input:
        lambda wildcards: expand("models/{model}/reports/final_report.md", model=model_names()),
