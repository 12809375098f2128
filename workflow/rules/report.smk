# The report, from which a person decides
# How large errors were one week ahead. As an input, the backtest would run again for each report.
BACKTEST = None
if refit_path(settings) and not place.folder and Path("reports/backtest.json").is_file():
    BACKTEST = "reports/backtest.json"


rule generate_report:
    """Write the report, from which a person decides: snakemake reports/final_report.md"""
    input:
        script=script("generate_report"),
        helpers=helpers("generate_report"),
        captions=code.captions(),
        metrics="reports/evaluation_metrics.json",
        diagnostics="reports/diagnostics.json",
        holdout="reports/holdout_predictions.csv",
        budget="reports/row_budget.json" if settings.measures_budget else [],
        # How right the releases turned out to be; there is none before the first.
        live=place.live,
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
        model_table=report(
            update("reports/tables/model.html"),
            caption="../report/model_table.rst",
            category="Model",
        ),
        scores_table=report(
            update("reports/tables/scores.html"),
            caption="../report/scores_table.rst",
            category="Results",
        ),
        slices_table=report(
            update("reports/tables/slices.html"),
            caption="../report/slices_table.rst",
            category="Slices",
        ),
        drift_table=report(
            update("reports/tables/drift.html"),
            caption="../report/drift_table.rst",
            category="Drift",
        ),
        coverage_table=report(
            update("reports/tables/coverage.html"),
            caption="../report/coverage_table.rst",
            category="Intervals",
        ),
        importance_table=report(
            update("reports/tables/importance.html"),
            caption="../report/importance_table.rst",
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
        options=flags(
            **{name: value for name, value in vars(settings.report).items() if name != "url"},
            backtest=BACKTEST,
        ),
        backtest=Path(BACKTEST).stat().st_mtime_ns if BACKTEST else None,
        budget=lambda wildcards, input: words(row_budget=input.budget),
        live=place.live_flags,
    shell:
        "python {input.script:q} --input={input.metrics:q} --output={output.markdown:q} {params.options}"
        " {params.budget} {params.live} --log={log:q}"
