# Many models, each in a folder that is a project by itself; and what people need to decide on all of them
from dataclasses import replace

from signoff.rules import models
from signoff.rules.chunks import Chunks, Group, no_backtest, releases_of
from signoff.source.names import folder_name

try:
    GROUPS = models.groups(config)
except TaskError as error:
    sys.exit(f"ERROR - {error}")

# A model that cannot be trained does not stop the others, whatever the command line or a profile says.
snakemake_patches.keep_going()


if settings.models.by:

    include: "split.smk"


def model_names():
    """Return the folders of all models; if the models are of a column, only once split_source has run."""
    return list(model_parts())


# The rules of a project are read once for all models that have the same config.
ALIKE = [Group(f"each{number or ''}_", names, own) for number, (names, own) in enumerate(GROUPS)]
for group in ALIKE:
    GROUP = group.prefix
    WITHIN = {"folder": "models/{model}/", "names": group.names, "plan": parts.plan if settings.models.by else None}

    module:
        name: GROUP
        snakefile:
            "../../Snakefile"
        config:
            {**group.config, "within": WITHIN}
        prefix:
            "models/{model}"

    use rule * from GROUP exclude all, track as GROUP*


def model_parts():
    """Return by model what split_source has recorded of its rows; None if the model has a source of its own."""
    if settings.models.by:
        return parts.with_model()
    return NAMED


NAMED = dict.fromkeys(folder_name(name) for name in settings.models.each)
chunks = Chunks(workflow, rules, ALIKE, model_parts, settings.models.per_job)
reports = replace(chunks, kind="reports")


# The rules of a project are for those who ask for a file of one model. A run makes all models, many in one process.
rule models_chunk:
    """Ingest, validate, clean, train and evaluate some of the models in one process; each has its own logs"""
    input:
        script=script("models_chunk"),
        helpers=helpers("models_chunk"),
        plan=chunks.plan,
        of_tasks=chunks.inputs,
    output:
        update("models/.chunks/{chunk}.json"),
    log:
        "logs/models_chunk/{chunk}.log",
    benchmark:
        "logs/benchmarks/models_chunk/{chunk}.tsv"
    wildcard_constraints:
        chunk=r"\d+",
    conda:
        "../../environment.yml"
    threads: chunks.threads
    resources:
        mem_mb=memory(2000, all_rows=True),
        runtime=minutes(60),
    params:
        # After a deployment or a rollback, the model is compared with another release.
        releases=chunks.releases,
        # With the input, so that Snakemake does not take a forced run for a change.
        options=lambda wildcards, input: words(force="yes" if chunks.forced() else None),
    shell:
        "python {input.script:q} --plan={input.plan:q} --output={output:q} {params.options} --threads={threads}"
        " --log={log:q}"


# The table, reports/models.csv, is written even if the run fails; the output is not.
rule models_verdict:
    """Write the table of all models, and make each model's folder a project; fail if a model failed"""
    input:
        script=script("models"),
        helpers=helpers("models"),
        chunks=chunks.markers,
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
        # A model that no longer exists is not in the table.
        names=lambda wildcards: list(model_names()),
        chunks=lambda wildcards: words(chunks=chunks.number()),
    shell:
        "python {input.script:q} {params.options} {params.chunks} --output={output:q} --log={log:q}"


rule backtest:
    """For many models, it only says that a backtest replays one model"""
    input:
        no_backtest,


use rule models_chunk as models_reports_chunk with:
    """Explain, compare and diagnose some of the models in one process, and write their reports"""
    input:
        script=script("models_chunk"),
        helpers=helpers("models_chunk"),
        plan=reports.plan,
        of_tasks=reports.inputs,
        after="models/.chunks/{chunk}.json",
    output:
        update("models/.chunks/{chunk}.reports.json"),
    log:
        "logs/models_reports_chunk/{chunk}.log",
    benchmark:
        "logs/benchmarks/models_reports_chunk/{chunk}.tsv"
    threads: reports.threads
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        releases=reports.releases,
        # The live record of a model compares new ones, too.
        predictions=reports.predictions,
        options=lambda wildcards, input: words(force="yes" if reports.forced() else None, after=input.after),


rule models_reports:
    """Write the reports of all models, and one page for all of them: snakemake reports/final_report.md"""
    input:
        script=script("models_page"),
        helpers=helpers("models_page"),
        chunks=reports.markers,
    output:
        markdown=update("reports/final_report.md"),
        page=update("reports/final_report.html"),
    log:
        "logs/models_reports.log",
    benchmark:
        "logs/benchmarks/models_reports.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        options=flags(config=workflow.configfiles),
        names=lambda wildcards: list(model_names()),
        chunks=lambda wildcards: words(chunks=reports.number()),
        releases=lambda wildcards: reports.all_releases(),
    shell:
        "python {input.script:q} {params.options} {params.chunks} --output={output.markdown:q} --log={log:q}"


if settings.models.by:

    rule predict:
        """Score data/batches/BATCH.csv, each row with the release of its model: snakemake predictions/BATCH.csv"""
        input:
            script=script("predict_models"),
            helpers=helpers("predict_models"),
            batch=batch_file,
        output:
            scored=update("predictions/{batch}.csv"),
            rejected=update("predictions/{batch}.rejected.csv"),
            report=update("predictions/{batch}.report.json"),
        log:
            "logs/predict/{batch}.log",
        benchmark:
            "logs/benchmarks/predict/{batch}.tsv"
        wildcard_constraints:
            batch=r".*(?<!\.rejected)",
        conda:
            "../../environment.yml"
        resources:
            mem_mb=memory(2000),
            runtime=minutes(60),
        params:
            options=flags(config=workflow.configfiles, by=settings.models.by, pool=settings.pool_column),
            # The data need not be split again to know which models are released.
            releases=lambda wildcards: releases_of(path.name for path in Path("models").glob("*")),
        shell:
            "python {input.script:q} --input={input.batch:q} --output={output.scored:q} {params.options} --log={log:q}"
