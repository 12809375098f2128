# The model: trained, judged, reported
ON_FAILURE = config["validation"]["on_failure"]
MODEL = model_path(config)
FEATURES = features_path(config)
DESCRIPTION = str(Path(FEATURES).with_suffix(".json"))
CHAMPION = None if WITHIN else current_release()
THRESHOLDS = {name: config["thresholds"][name] for name in sorted(config["thresholds"]) if name != "custom"}
TRACKING = "reports/tracking.json" if config["tracking"]["mlflow_uri"] else None
# With code of the user's own, the champion's may be another, and makes its own features.
CLEANED = "data/processed/cleaned_data.csv" if (CHAMPION or WITHIN) and config["features"]["custom"] else None
# The rows of a sample are not those of the cleaned data.
CLEANED = None if config["model"]["max_rows"] else CLEANED


# What is learnt from in passes: all rows, while the encoding is fitted on the sample.
ALL_ROWS, PASSES = [], ""
if config["model"]["passes"]:
    ALL_ROWS = "data/features/features.csv"
    PASSES = lambda wildcards: words(passes=config["model"]["passes"], all_rows=f"{home(wildcards)}{ALL_ROWS}")
if config["model"]["passes"] and PARTITION_BY:
    ALL_ROWS = of_all_parts("data/features/parts/{part}.csv")
    PASSES = flags(passes=config["model"]["passes"], all_rows="data/features/parts", plan="data/raw/raw_data.json")


rule train_model:
    """Fit the pipeline on the training part"""
    input:
        script=script("train_model"),
        helpers=helpers("train_model"),
        features=FEATURES,
        description=DESCRIPTION,
        halt_on="reports/validation_report.json" if ON_FAILURE == "halt" else [],
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
        runtime=minutes(60),
    params:
        options=flags(
            **model_options(),
            random_state=config["random_state"],
        ),
        passes=PASSES,
        # A param that is made of an input does not say that the job must run again: it stands by itself.
        halt_on=lambda wildcards, input: words(halt_on=input.halt_on),
    shell:
        "python {input.script:q} --input={input.features:q} --output={output.model:q} {params.options} {params.halt_on}"
        " {params.passes} --threads={threads} --log={log:q}"


rule evaluate_model:
    """Score the model beside the baselines, and judge its thresholds"""
    input:
        script=script("evaluate_model"),
        helpers=helpers("evaluate_model"),
        model=MODEL,
        metadata="model/model.json",
        features=FEATURES,
        description=DESCRIPTION,
        champion=released("sign_off.json"),
        cleaned=[CLEANED, "data/processed/cleaned_data.json"] if CLEANED else [],
        custom=on_disk(config["evaluation"]["metrics"]),
        warn_of="reports/validation_report.json" if ON_FAILURE == "warn" else [],
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
    # One is left for explain_model, which begins at the same time.
    threads: max(1, workflow.cores - 1)
    resources:
        mem_mb=memory(1000, all_rows=CLEANED or config["evaluation"]["metrics"]),
        runtime=minutes(60),
    params:
        options=flags(
            baseline=config["evaluation"]["baseline"],
            **THRESHOLDS,
            metrics=config["evaluation"]["metrics"],
            limits=config["thresholds"]["custom"] or None,
        ),
        champion=champion_flags,
        inputs=lambda wildcards, input: words(validation_report=input.warn_of, cleaned=input.cleaned[:1]),
    shell:
        "python {input.script:q} --model={input.model:q} --features={input.features:q} --output={output.metrics:q}"
        " {params.options} {params.champion} {params.inputs} --threads={threads} --log={log:q}"


rule track:
    """Log the run to MLflow, where tracking.mlflow_uri is set; a server that is down is a warning"""
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
        tracking=config["tracking"],
        # One more after each failure: so the next run tries again, and one that has logged all does not.
        failures=read_record().get("failures", 0),
    shell:
        "python {input.script:q} {params.options} --log={log:q}"


rule verdict:
    """Print the summary of the run; fail where a threshold or the data contract did"""
    input:
        script=script("verdict"),
        helpers=helpers("verdict"),
        validation="reports/validation_report.json",
        metrics="reports/evaluation_metrics.json",
        tracking=TRACKING or [],
    output:
        "reports/verdict.json",
    log:
        # On disk in any case: its summary is shown when the run ends.
        local(f"{WITHIN}logs/verdict.log"),
    benchmark:
        "logs/benchmarks/verdict.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        options=flags(on_failure=ON_FAILURE, tracking=TRACKING),
    shell:
        "python {input.script:q} --validation={input.validation:q} --metrics={input.metrics:q} --output={output:q}"
        " {params.options} --log={log:q}"
