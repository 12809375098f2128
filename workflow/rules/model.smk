# The model is trained and evaluated, and the run gets its verdict
# data/features/features.csv, or data/features/sample.csv with model.max_rows
FEATURES = features_path(settings)
DESCRIPTION = FEATURES.replace(".csv", ".json")
# model/model.pkl, or model/model.skops with model.format
MODEL = model_path(settings)
# model/refit.pkl with model.refit, in the form of the model; otherwise None
REFIT = refit_path(settings)
# With model.passes, all rows train the model, some at a time. The encoding is fitted on the sample.
ALL_ROWS, PASSES = [], ""
if settings.model.passes and settings.data.partition_by:
    ALL_ROWS = part_chunks.markers
    PASSES = flags(passes=settings.model.passes, all_rows="data/features/parts", plan="data/raw/raw_data.json")
elif settings.model.passes:
    ALL_ROWS = "data/features/features.csv"
    PASSES = lambda wildcards: words(passes=settings.model.passes, all_rows=f"{place.of(wildcards)}{ALL_ROWS}")
# A champion may have another function for features, and computes its own from the cleaned data. A sample has other
# rows than these.
CLEANED = []
if settings.features.custom and not settings.model.max_rows and (place.folder or Releases().current()):
    CLEANED = ["data/processed/cleaned_data.csv", "data/processed/cleaned_data.json"]


rule train_model:
    """Fit the pipeline on the training rows"""
    input:
        script=script("train_model"),
        helpers=helpers("train_model"),
        features=FEATURES,
        description=DESCRIPTION,
        halt_on="reports/validation_report.json" if settings.validation.on_failure == "halt" else [],
        all_rows=ALL_ROWS,
    output:
        model=update(MODEL),
        metadata=update("model/model.json"),
    log:
        "logs/train_model.log",
    benchmark:
        "logs/benchmarks/train_model.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=memory(2000, all_rows=True),
        runtime=minutes(60 + settings.draws),
    params:
        options=flags(**settings.training),
        passes=PASSES,
        # By itself, because Snakemake does not rerun a job if a param that uses an input changes.
        halt_on=lambda wildcards, input: words(halt_on=input.halt_on),
    shell:
        "python {input.script:q} --input={input.features:q} --output={output.model:q} {params.options} {params.halt_on}"
        " {params.passes} --threads={threads} --log={log:q}"


rule evaluate_model:
    """Score the model and the baselines on the held-out rows, and check the thresholds"""
    input:
        script=script("evaluate_model"),
        helpers=helpers("evaluate_model"),
        model=MODEL,
        metadata="model/model.json",
        features=FEATURES,
        description=DESCRIPTION,
        champion=place.released("sign_off.json"),
        cleaned=CLEANED,
        custom=on_disk(settings.evaluation.metrics),
        warn_of="reports/validation_report.json" if settings.validation.on_failure == "warn" else [],
    output:
        metrics=report(
            update("reports/evaluation_metrics.json"),
            caption="../report/metrics.rst",
            category="Model",
        ),
        holdout=update("reports/holdout_predictions.csv"),
    log:
        "logs/evaluate_model.log",
    benchmark:
        "logs/benchmarks/evaluate_model.tsv"
    conda:
        "../../environment.yml"
    # One core is left for explain_model, which begins at the same time.
    threads: max(1, workflow.cores - 1)
    resources:
        mem_mb=memory(1000, all_rows=CLEANED or settings.evaluation.metrics),
        runtime=minutes(60),
    params:
        options=flags(
            baseline=settings.evaluation.baseline,
            **settings.limits,
            metrics=settings.evaluation.metrics,
            limits=settings.thresholds.custom or None,
        ),
        champion=place.champion_flags(settings.release),
        inputs=lambda wildcards, input: words(validation_report=input.warn_of, cleaned=input.cleaned[:1]),
    shell:
        "python {input.script:q} --model={input.model:q} --features={input.features:q} --output={output.metrics:q}"
        " {params.options} {params.champion} {params.inputs} --threads={threads} --log={log:q}"


if REFIT:

    rule refit_model:
        """Train the recipe of the evaluated model again on all rows, the held-out ones included"""
        input:
            script=script("refit_model"),
            helpers=helpers("refit_model"),
            model=MODEL,
            metadata="model/model.json",
            features=FEATURES,
            description=DESCRIPTION,
            metrics="reports/evaluation_metrics.json",
        output:
            model=update(REFIT),
            metadata=update("model/refit.json"),
        log:
            "logs/refit_model.log",
        benchmark:
            "logs/benchmarks/refit_model.tsv"
        conda:
            "../../environment.yml"
        threads: workflow.cores
        resources:
            mem_mb=memory(2000, all_rows=True),
            runtime=minutes(60),
        params:
            options=flags(random_state=settings.random_state),
        shell:
            "python {input.script:q} --model={input.model:q} --input={input.features:q} --metrics={input.metrics:q}"
            " --output={output.model:q} {params.options} --threads={threads} --log={log:q}"


rule track:
    """Log the run to MLflow if tracking.mlflow_uri is set; a server that is down is a warning"""
    input:
        script=script("track"),
        helpers=helpers("track"),
        model=MODEL,
        metadata="model/model.json",
        metrics="reports/evaluation_metrics.json",
        validation="reports/validation_report.json",
        report=["reports/final_report.md", "reports/final_report.html"],
    output:
        update("reports/tracking.json"),
    log:
        "logs/track.log",
    benchmark:
        "logs/benchmarks/track.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        options=flags(config=workflow.configfiles),
        tracking=vars(settings.tracking),
        # One more after each failure, so that the next run tries again, but not after a success.
        failures=read_tracking().get("failures", 0),
    shell:
        "python {input.script:q} {params.options} --log={log:q}"


rule verdict:
    """Print the summary of the run; fail if a threshold or the data contract failed"""
    input:
        script=script("verdict"),
        helpers=helpers("verdict"),
        validation="reports/validation_report.json",
        metrics="reports/evaluation_metrics.json",
        tracking="reports/tracking.json" if settings.tracking.mlflow_uri else [],
    output:
        "reports/verdict.json",
    log:
        # Always on disk: its summary is printed when the run ends.
        local(f"{place.folder}logs/verdict.log"),
    benchmark:
        "logs/benchmarks/verdict.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        options=flags(
            on_failure=settings.validation.on_failure,
            tracking="reports/tracking.json" if settings.tracking.mlflow_uri else None,
        ),
    shell:
        "python {input.script:q} --validation={input.validation:q} --metrics={input.metrics:q} --output={output:q}"
        " {params.options} --log={log:q}"
