# The backtest: what the weekly job would have done, week by week: snakemake backtest


# A checkpoint, since only the data say which weeks there are.
checkpoint split_weeks:
    """Give each week's rows a file of their own, and plan which weeks train and which score"""
    input:
        script=script("split_weeks"),
        helpers=helpers("split_weeks"),
        features="data/features/features.csv",
        description="data/features/features.json",
    output:
        # The weeks' files lie beside it, and those that have not changed stay: no rule may delete them first.
        plan=update("data/weeks/plan.json"),
    log:
        "logs/split_weeks.log",
    benchmark:
        "logs/benchmarks/split_weeks.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=memory(1000, all_rows=True),
        runtime=minutes(60),
    params:
        options=flags(**config["backtest"]),
    shell:
        "python {input.script:q} --input={input.features:q} --output={output.plan:q} {params.options} --log={log:q}"


rule backtest_week:
    """Train on the weeks before one week (or before the first one) and score that week (or all): one core each"""
    input:
        script=script("backtest_week"),
        helpers=helpers("backtest_week"),
        train=lambda wildcards: expand("data/weeks/{week}.parquet", week=backtest_plan()[wildcards.model]["train"]),
        score=lambda wildcards: expand("data/weeks/{week}.parquet", week=backtest_plan()[wildcards.model]["score"]),
    output:
        update("reports/backtest/{model}.json"),
    log:
        "logs/backtest_week/{model}.log",
    benchmark:
        "logs/benchmarks/backtest_week/{model}.tsv"
    wildcard_constraints:
        model=r"\d{4}-W\d\d|never_retrained",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, input, attempt: attempt * max(1000, int(60 * input.size_mb)),
        runtime=minutes(60),
    params:
        options=flags(
            **model_options(),
            random_state=config["random_state"],
            baseline=config["evaluation"]["baseline"],
        ),
    shell:
        "python {input.script:q} --train {input.train:q} --score {input.score:q} --output={output:q} {params.options}"
        " --threads={threads} --log={log:q}"


rule backtest:
    """Say what weekly retraining is worth, and which releases the gate would have stopped"""
    input:
        script=script("backtest"),
        helpers=helpers("backtest"),
        models=lambda wildcards: expand("reports/backtest/{model}.json", model=backtest_plan()),
    output:
        csv=update("reports/backtest.csv"),
        summary=update("reports/backtest.json"),
        markdown=report(update("reports/backtest.md"), caption="../report/backtest.rst", category="Backtest"),
        figure=report(update("reports/backtest.png"), caption="../report/backtest.rst", category="Backtest"),
    log:
        "logs/backtest.log",
    benchmark:
        "logs/benchmarks/backtest.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        options=flags(**THRESHOLDS),
    shell:
        "python {input.script:q} --input {input.models:q} --output={output.csv:q} {params.options} --log={log:q}"
