# With model.refit, the model that a release predicts with: trained on all rows once the evaluated one was judged


rule refit_model:
    """Train the recipe of the evaluated model again on all rows, the held-out ones included"""
    input:
        script=script("refit_model"),
        helpers=helpers("refit_model"),
        model=model_path(config),
        metadata="model/model.json",
        features=features_path(config),
        description=features_path(config).replace(".csv", ".json"),
        metrics="reports/evaluation_metrics.json",
    output:
        model=update(refit_path(config)),
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
