# What people need to decide on many models: the reports of all, and one page
from dataclasses import replace

from signoff.rules.chunks import releases_of

reports = replace(chunks, kind="reports")


rule models_reports_chunk:
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
    wildcard_constraints:
        chunk=r"\d+",
    conda:
        "../../environment.yml"
    threads: lambda wildcards: 1 if len(reports.models(wildcards)) > 1 else workflow.cores
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        releases=reports.releases,
        # The live record of a model compares new ones, too.
        predictions=reports.predictions,
        force=lambda wildcards, input: words(force="yes" if reports.forced() else None),
    shell:
        "python {input.script:q} --plan={input.plan:q} --output={output:q} --after={input.after:q} {params.force}"
        " --threads={threads} --log={log:q}"


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
            options=flags(config=workflow.configfiles, by=settings.models.by),
            # The data need not be split again to know which models are released.
            releases=lambda wildcards: releases_of(path.name for path in Path("models").glob("*")),
        shell:
            "python {input.script:q} --input={input.batch:q} --output={output.scored:q} {params.options} --log={log:q}"
