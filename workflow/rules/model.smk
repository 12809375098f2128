# The model: trained, judged, reported
ON_FAILURE = config["validation"]["on_failure"]
MODEL = model_path(config)
FEATURES = features_path(config)
DESCRIPTION = str(Path(FEATURES).with_suffix(".json"))
CHAMPION = current_release()
TRACKING = "reports/tracking.json" if config["tracking"]["mlflow_uri"] else None
# With code of the user's own, the champion's may be another, and makes its own features.
CLEANED = "data/processed/cleaned_data.csv" if CHAMPION and config["features"]["custom"] else None
# The rows of a sample are not those of the cleaned data.
CLEANED = None if config["model"]["max_rows"] else CLEANED

# What training on fewer rows costs.
BUDGET = "reports/row_budget.json" if config["model"]["max_rows"] else None

# What the deployed release says of its data.
BEFORE = f"deployed/releases/{CHAMPION}/diagnostics.json" if CHAMPION else None
BEFORE = BEFORE if BEFORE and Path(BEFORE).is_file() else None


rule train_model:
    """Fit the pipeline on the training part"""
    input:
        script=script("train_model"),
        helpers=helpers("train_model"),
        features=FEATURES,
        description=DESCRIPTION,
        halt_on="reports/validation_report.json" if ON_FAILURE == "halt" else [],
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
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        options=flags(
            **model_options(),
            random_state=config["random_state"],
        ),
        # A param that is made of an input does not say that the job must run again: it stands by itself.
        halt_on=lambda wildcards, input: flags(halt_on=input.halt_on)(wildcards),
    shell:
        "python {input.script:q} --input={input.features:q} --output={output.model:q} {params.options} {params.halt_on}"
        " --threads={threads} --log={log:q}"


rule evaluate_model:
    """Score the model beside the baselines, and judge its thresholds"""
    input:
        script=script("evaluate_model"),
        helpers=helpers("evaluate_model"),
        model=MODEL,
        metadata="model/model.json",
        features=FEATURES,
        description=DESCRIPTION,
        champion=local(f"deployed/releases/{CHAMPION}/sign_off.json") if CHAMPION else [],
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
    threads: workflow.cores
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(
            baseline=config["evaluation"]["baseline"],
            mae_max=config["thresholds"]["mae_max"],
            r2_min=config["thresholds"]["r2_min"],
            max_regression=config["thresholds"]["max_regression"],
            champion=CHAMPION,
            metrics=config["evaluation"]["metrics"],
            limits=config["thresholds"]["custom"] or None,
            allowed_signers=config["release"]["allowed_signers"] if CHAMPION else None,
            required_approvals=config["release"]["required_approvals"] if CHAMPION else None,
        ),
        inputs=lambda wildcards, input: flags(validation_report=input.warn_of, cleaned=input.cleaned[:1])(wildcards),
    shell:
        "python {input.script:q} --model={input.model:q} --features={input.features:q} --output={output.metrics:q}"
        " {params.options} {params.inputs} --threads={threads} --log={log:q}"


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
        local("logs/verdict.log"),
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


rule diagnose:
    """Work out what a reviewer needs beyond the thresholds: intervals, slices, drift, alarms"""
    input:
        script=script("diagnose"),
        helpers=helpers("diagnose"),
        model=MODEL,
        metadata="model/model.json",
        features=FEATURES,
        description=DESCRIPTION,
        metrics="reports/evaluation_metrics.json",
        holdout="reports/holdout_predictions.csv",
        validation="reports/validation_report.json",
        # Releases that were made before there were diagnostics hold none.
        release=local(BEFORE) if BEFORE else [],
    output:
        update("reports/diagnostics.json"),
    log:
        "logs/diagnose.log",
    benchmark:
        "logs/benchmarks/diagnose.tsv"
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(
            interval_level=config["evaluation"]["interval_level"],
            random_state=config["random_state"],
            release=BEFORE,
        ),
    shell:
        "python {input.script:q} --model={input.model:q} --features={input.features:q} --metrics={input.metrics:q}"
        " --validation={input.validation:q} --output={output:q} {params.options} --threads={threads} --log={log:q}"


rule row_budget:
    """Train on half and on a quarter of the rows that model.max_rows allows, to say what fewer rows cost"""
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
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        options=flags(random_state=config["random_state"]),
    shell:
        "python {input.script:q} --model={input.model:q} --features={input.features:q} --output={output:q}"
        " {params.options} --threads={threads} --log={log:q}"


rule generate_report:
    """Write what a person decides from: snakemake reports/final_report.md"""
    input:
        script=script("generate_report"),
        helpers=helpers("generate_report"),
        captions=captions(),
        metrics="reports/evaluation_metrics.json",
        diagnostics="reports/diagnostics.json",
        holdout="reports/holdout_predictions.csv",
        budget=BUDGET or [],
    output:
        markdown=report(
            update("reports/final_report.md"),
            caption="../report/report.rst",
            category="Report",
        ),
        page=report(
            update("reports/final_report.html"),
            caption="../report/page.rst",
            category="Report",
        ),
        predicted=report(
            update("reports/figures/predicted_against_actual.png"),
            caption="../report/predicted_against_actual.rst",
            category="Results",
        ),
        residuals=report(
            update("reports/figures/residuals.png"),
            caption="../report/residuals.rst",
            category="Results",
        ),
        over_time=report(
            update("reports/figures/error_over_time.png"),
            caption="../report/error_over_time.rst",
            category="Results",
        ),
        slices=report(
            update("reports/figures/slices.png"),
            caption="../report/slices.rst",
            category="Slices",
        ),
        drift=report(
            update("reports/figures/drift.png"),
            caption="../report/drift.rst",
            category="Drift",
        ),
        coverage=report(
            update("reports/figures/coverage.png"),
            caption="../report/coverage.rst",
            category="Intervals",
        ),
        importance=report(
            update("reports/figures/importance.png"),
            caption="../report/importance.rst",
            category="Importance",
        ),
        partial_dependence=report(
            update("reports/figures/partial_dependence.png"),
            caption="../report/partial_dependence.rst",
            category="Importance",
        ),
    log:
        "logs/generate_report.log",
    benchmark:
        "logs/benchmarks/generate_report.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(**config["report"], row_budget=BUDGET),
    shell:
        "python {input.script:q} --input={input.metrics:q} --output={output.markdown:q} {params.options} --log={log:q}"
