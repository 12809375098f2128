# Many models: for each the whole chain, in a folder that is a project of its own
from signoff.rules import models
from signoff.source.pieces import folder_name

BY = config["models"]["by"]
NAMED = {folder_name(name): each for name, each in config["models"]["each"].items()}
try:
    GROUPS = models.groups(config)
except TaskError as error:
    sys.exit(f"ERROR - {error}")


if BY:

    include: "split.smk"


def model_names():
    """Return the folders of all models; where the data tell them, once split_source has run."""
    return part_plan()["parts"] if BY else NAMED


# The rules of the chain are read once for all models that have the same config.
for number, (names, settings) in enumerate(GROUPS):
    GROUP = f"each{number or ''}_"

    module:
        name: GROUP
        snakefile:
            "each_model.smk"
        config:
            {**settings, "within": {"folder": "models/{model}/", "names": names, "plan": part_plan if BY else None}}
        prefix:
            "models/{model}"

    use rule * from GROUP exclude track as GROUP*


# Its table lies beside the output, which only a run that has passed leaves.
rule models_verdict:
    """Write the table of all models, and make each model's folder a project; fail where one has failed"""
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
        # A model that is gone is no longer in the table.
        names=lambda wildcards: list(model_names()),
    shell:
        "python {input.script:q} {params.options} --output={output:q} --log={log:q}"


rule models_reports:
    """The reports of all models: snakemake models_reports; that of one: snakemake models/NAME/reports/final_report.md"""
    input:
        lambda wildcards: expand("models/{model}/reports/final_report.md", model=model_names()),
