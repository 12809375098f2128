# The backtest replays the weekly job week by week: snakemake backtest
from functools import partial

from signoff.rules.parts import plan_of_weeks
from signoff.rules.task_chunks import TaskChunks
from signoff.rules.trials import trials_of_last_model

weeks = partial(plan_of_weeks, checkpoints)
week_chunks = TaskChunks(
    workflow,
    rules,
    "backtest_weeks",
    ("backtest_week",),
    wildcard="model",
    rows=lambda: {model: each["rows"] for model, each in weeks().items()},
    marker="reports/backtest/.chunks/{chunk}.json",
    few_rows=50_000,
)
# If many models are compared for a week, it takes far longer than starting a process.
COMPARES = settings.model.candidates or settings.model.preset != "fast"


# A checkpoint, since only the data contain the list of weeks.
checkpoint split_weeks:
    """Write each week's rows to a file, and plan which weeks train and which are scored"""
    input:
        script=script("split_weeks"),
        helpers=helpers("split_weeks"),
        features="data/features/features.csv",
        description="data/features/features.json",
    output:
        # The files of the weeks are in its folder. No rule may delete those that have not changed.
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
        options=flags(**vars(settings.backtest)),
    shell:
        "python {input.script:q} --input={input.features:q} --output={output.plan:q} {params.options} --log={log:q}"


rule backtest_week:
    """Train on the weeks before one week (or before the first one), and score that week (or all), on one core"""
    input:
        script=script("backtest_week"),
        helpers=code.digests("backtest_week"),
        train=lambda wildcards: expand("data/weeks/{week}.parquet", week=weeks()[wildcards.model]["train"]),
        score=lambda wildcards: expand("data/weeks/{week}.parquet", week=weeks()[wildcards.model]["score"]),
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
        runtime=minutes(60 + settings.draws),
    params:
        options=flags(
            **settings.trained,
            random_state=settings.random_state,
            baseline=settings.evaluation.baseline,
        ),
        # Otherwise, each week would take as many minutes as a run.
        trials=trials_of_last_model(Path("model/model.json")) if settings.draws else "",
    shell:
        "python {input.script:q} --train {input.train:q} --score {input.score:q} --output={output:q} {params.options}"
        " {params.trials} --threads={threads} --log={log:q}"


# Unless models are compared, the rule above is for those who ask for one week, and a backtest makes many in one process.
rule backtest_weeks:
    """Train and score for some weeks in one process; each has its own log"""
    input:
        script=script("tasks_chunk"),
        helpers=helpers("tasks_chunk"),
        # The plan, and what its tasks read.
        plan=week_chunks.inputs,
    output:
        update("reports/backtest/.chunks/{chunk}.json"),
    log:
        "logs/backtest_weeks/{chunk}.log",
    benchmark:
        "logs/benchmarks/backtest_weeks/{chunk}.tsv"
    wildcard_constraints:
        chunk=r"\d+",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, input, attempt: attempt * max(1000, int(60 * input.size_mb)),
        runtime=minutes(60),
    params:
        # With the input, so that Snakemake does not take a forced run for a change.
        options=lambda wildcards, input: words(force="yes" if week_chunks.forced() else None),
    shell:
        "python {input.script:q} --plan={input.plan[0]:q} --output={output:q} {params.options} --log={log:q}"


rule backtest:
    """Report what weekly retraining gains, and which releases the thresholds would have stopped"""
    input:
        script=script("backtest"),
        helpers=helpers("backtest"),
        weeks=lambda wildcards: (
            expand("reports/backtest/{model}.json", model=weeks()) if COMPARES else week_chunks.markers(wildcards)
        ),
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
        options=flags(**settings.limits),
        models=lambda wildcards: expand("reports/backtest/{model}.json", model=weeks()),
    shell:
        "python {input.script:q} --input {params.models:q} --output={output.csv:q} {params.options} --log={log:q}"
