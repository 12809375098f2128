# Retrain a tabular regression model on fresh data; ship nothing until a person has signed it off.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


include: "workflow/rules/config.smk"
include: "workflow/rules/code.smk"
include: "workflow/rules/options.smk"
include: "workflow/rules/ending.smk"


if MANY_MODELS:

    include: "workflow/rules/models.smk"

else:

    include: "workflow/rules/data.smk"
    include: "workflow/rules/model.smk"
    include: "workflow/rules/diagnose.smk"
    include: "workflow/rules/report.smk"
    include: "workflow/rules/release.smk"
    include: "workflow/rules/backtest.smk"


if PARTITION_BY and not MANY_MODELS:

    include: "workflow/rules/split.smk"
    include: "workflow/rules/parts.smk"
    include: "workflow/rules/gather.smk"


rule all:
    """Everything up to the evaluation, and the verdict: exit code 1 where a threshold or the data contract failed"""
    default_target: True
    input:
        [] if MANY_MODELS or PARTITION_BY else ["data/raw/raw_data.csv", "data/processed/cleaned_data.csv"],
        [] if MANY_MODELS else ["reports/validation_report.json", FEATURES, MODEL, "reports/evaluation_metrics.json"],
        [] if MANY_MODELS else TRACKING or [],
        "reports/verdict.json",
