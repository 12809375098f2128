# What a reviewer needs beyond the thresholds

# What training on fewer rows costs.
BUDGET = "reports/row_budget.json" if config["model"]["max_rows"] and not config["model"]["passes"] else None


rule explain_model:
    """Look into the model: what it rests on, how it does on rows it has not seen, which features give it away"""
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
        options=flags(random_state=config["random_state"]),
    shell:
        "python {input.script:q} --model={input.model:q} --features={input.features:q} --output={output:q}"
        " {params.options} --log={log:q}"


rule compare_model:
    """Compare the model with the champion and the baselines, its errors by slice, and its rows with those before"""
    input:
        script=script("compare_model"),
        helpers=helpers("compare_model"),
        features=FEATURES,
        description=DESCRIPTION,
        metrics="reports/evaluation_metrics.json",
        holdout="reports/holdout_predictions.csv",
        validation="reports/validation_report.json",
        raw=WHOLE_RAW,
        custom=on_disk(config["evaluation"]["metrics"]),
        # Releases that were made before there were diagnostics hold none.
        release=released("diagnostics.json"),
    output:
        update("reports/comparison.json"),
    log:
        "logs/compare_model.log",
    benchmark:
        "logs/benchmarks/compare_model.tsv"
    # Before the verdict, for which no other job waits.
    priority: 1
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000),
        runtime=minutes(60),
    params:
        options=flags(
            interval_level=config["evaluation"]["interval_level"],
            random_state=config["random_state"],
        ),
        # A param that is made of an input does not say that the job must run again: it stands by itself.
        release=lambda wildcards: words(release=released("diagnostics.json")(wildcards)),
        raw=lambda wildcards, input: words(raw=input.raw),
    shell:
        "python {input.script:q} --features={input.features:q} --metrics={input.metrics:q}"
        " --validation={input.validation:q} --output={output:q} {params.options} {params.release} {params.raw} --log={log:q}"


rule diagnose:
    """Put together what a reviewer needs beyond the thresholds, and say what speaks for the model and against it"""
    input:
        script=script("diagnose"),
        helpers=helpers("diagnose"),
        metrics="reports/evaluation_metrics.json",
        explanation="reports/explanation.json",
        comparison="reports/comparison.json",
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
    shell:
        "python {input.script:q} --metrics={input.metrics:q} --explanation={input.explanation:q}"
        " --comparison={input.comparison:q} --output={output:q} --log={log:q}"


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
        mem_mb=memory(2000, all_rows=True),
        runtime=minutes(60),
    params:
        options=flags(random_state=config["random_state"]),
    shell:
        "python {input.script:q} --model={input.model:q} --features={input.features:q} --output={output:q}"
        " {params.options} --threads={threads} --log={log:q}"
