# Retrain a tabular regression model on new data; nothing is released until a person has signed it off.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


if settings.has_many_models:

    include: "workflow/rules/models.smk"

else:

    include: "workflow/rules/data.smk"
    include: "workflow/rules/model.smk"
    include: "workflow/rules/diagnose.smk"
    include: "workflow/rules/report.smk"
    include: "workflow/rules/release.smk"


# Each of many models is released from its own folder.
if not settings.has_many_models and not place.folder:

    include: "workflow/rules/backtest.smk"


if settings.data.partition_by:

    include: "workflow/rules/split.smk"
    include: "workflow/rules/parts.smk"
    include: "workflow/rules/gather.smk"


rule all:
    """Run all tasks up to the evaluation and the verdict; fail if a threshold or the data contract failed"""
    default_target: True
    input:
        "reports/verdict.json",
        [] if settings.has_many_models else ["reports/validation_report.json", "reports/evaluation_metrics.json"],
        [] if settings.has_many_models else [features_path(settings), model_path(settings)],
        [] if settings.has_many_models or settings.data.partition_by else ["data/raw/raw_data.csv"],
        [] if settings.has_many_models or settings.data.partition_by else ["data/processed/cleaned_data.csv"],
        "reports/tracking.json" if settings.tracking.mlflow_uri and not settings.has_many_models else [],
