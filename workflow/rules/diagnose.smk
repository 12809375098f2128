# What a reviewer needs beyond the thresholds

# data/features/features.csv, or data/features/sample.csv with model.max_rows
FEATURES = features_path(settings)
DESCRIPTION = FEATURES.replace(".csv", ".json")
# model/model.pkl, or model/model.skops with model.format
MODEL = model_path(settings)


rule explain_model:
    """Measure what the model relies on, how it does on new rows, and which features may leak the target"""
    input:
        script=script("explain_model"),
        helpers=helpers("explain_model"),
        model=MODEL,
        metadata="model/model.json",
        features=FEATURES,
        description=DESCRIPTION,
    output:
        update("reports/explanation.json"),
    log:
        "logs/explain_model.log",
    benchmark:
        "logs/benchmarks/explain_model.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(random_state=settings.random_state, known_before=settings.features.known_before),
    shell:
        "python {input.script:q} --model={input.model:q} --features={input.features:q} --output={output:q}"
        " {params.options} --log={log:q}"


rule compare_model:
    """Compare the model with the champion and the baselines, its errors by slice, and its rows with earlier ones"""
    input:
        script=script("compare_model"),
        helpers=helpers("compare_model"),
        features=FEATURES,
        description=DESCRIPTION,
        metrics="reports/evaluation_metrics.json",
        holdout="reports/holdout_predictions.csv",
        validation="reports/validation_report.json",
        # Parts are not gathered for this.
        raw=[] if settings.data.partition_by else "data/raw/raw_data.csv",
        custom=on_disk(settings.evaluation.metrics),
        # Old releases have no diagnostics.
        release=place.released("diagnostics.json"),
    output:
        update("reports/comparison.json"),
    log:
        "logs/compare_model.log",
    benchmark:
        "logs/benchmarks/compare_model.tsv"
    # It begins before the verdict, for which no other job waits.
    priority: 1
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(
            interval_level=settings.evaluation.interval_level,
            least_difference=settings.evaluation.least_difference,
            random_state=settings.random_state,
        ),
        # By itself, because Snakemake does not rerun a job if a param that uses an input changes.
        release=place.diagnosed_flags,
        raw=lambda wildcards, input: words(raw=input.raw),
    shell:
        "python {input.script:q} --features={input.features:q} --metrics={input.metrics:q}"
        " --validation={input.validation:q} --output={output:q} {params.options} {params.release} {params.raw} --log={log:q}"


rule diagnose:
    """Collect what a reviewer needs beyond the thresholds, with the reasons for and against the model"""
    input:
        script=script("diagnose"),
        helpers=helpers("diagnose"),
        metrics="reports/evaluation_metrics.json",
        explanation="reports/explanation.json",
        comparison="reports/comparison.json",
        refit="model/refit.json" if refit_path(settings) else [],
    output:
        update("reports/diagnostics.json"),
    log:
        "logs/diagnose.log",
    benchmark:
        "logs/benchmarks/diagnose.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        refit=lambda wildcards, input: words(refit=input.refit),
    shell:
        "python {input.script:q} --metrics={input.metrics:q} --explanation={input.explanation:q}"
        " --comparison={input.comparison:q} --output={output:q} {params.refit} --log={log:q}"


rule row_budget:
    """Train on half and on a quarter of model.max_rows, to measure what fewer rows cost"""
    input:
        script=script("row_budget"),
        helpers=helpers("row_budget"),
        model=MODEL,
        metadata="model/model.json",
        features="data/features/sample.csv",
        description="data/features/sample.json",
    output:
        update("reports/row_budget.json"),
    log:
        "logs/row_budget.log",
    benchmark:
        "logs/benchmarks/row_budget.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=memory(2000, all_rows=True),
        runtime=minutes(60),
    params:
        options=flags(random_state=settings.random_state),
    shell:
        "python {input.script:q} --model={input.model:q} --features={input.features:q} --output={output:q}"
        " {params.options} --threads={threads} --log={log:q}"
