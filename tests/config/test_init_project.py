"""From a table to a project that runs: what init recognises, decides and refuses."""

import gzip
import io
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import ROOT, Project, make_project, rides, run, script
from init_project import _choose_time, init_project
from signoff.config.project_files import config_text, history_key
from signoff.config.settings import check_config
from signoff.features.evidence import facts_of
from signoff.features.history_plan import history_recipes
from signoff.source.sniffing import sniff
from signoff.tables.table import ParsedTable

PRESET = ["--preset", "fast"]


@pytest.fixture
def started(tmp_path):
    """Return a function that writes a source, runs init on it, and gives what it said and the new project.

    Its preset is fast, unless another is given, so that projects train in a moment.
    """
    made = make_project(tmp_path)

    def init(content: bytes | pd.DataFrame, target: str, name: str = "table.csv", *more: str):
        if isinstance(content, pd.DataFrame):
            content = content.to_csv(index=False).encode()
        (tmp_path / name).write_bytes(content)
        done = script(
            "init_project", "--source", name, "--target", target, "--output", "new", *PRESET, *more, cwd=tmp_path
        )
        assert (tmp_path / name).read_bytes() == content, "the user's own file"
        return done, Project(tmp_path / "new", made.workflow)

    return init


def few_trees(project: Project) -> Project:
    """Return a project that trains faster than as init has written it, where the model is not what is tested."""
    with open(project.folder / "config.yaml", "a", encoding="utf-8") as file:
        file.write("model: {params: {max_iter: 20}, intervals: constant}\n")
    return project


def config(project: Project) -> dict:
    return yaml.safe_load((project.folder / "config.yaml").read_text(encoding="utf-8"))


def homes(rows: int) -> pd.DataFrame:
    """A dirty table: an index and an id, dates of birth, percent signs, text, empty and mixed columns, gaps."""
    random = np.random.default_rng(5)
    size = random.uniform(30, 200, rows).round(1)
    frame = pd.DataFrame(
        {
            "": range(rows),
            "house id": random.permutation(np.arange(10_000, 10_000 + rows)),
            "Größe (m²)": size,
            "built": pd.to_datetime("1950-01-01") + pd.to_timedelta(random.integers(0, 20_000, rows), unit="D"),
            "share": [f"{each:.1f}%" for each in random.uniform(0, 100, rows)],
            "garden": random.choice(["true", "false"], rows),
            "note": [f"seen on {n}, {'very ' * (n % 4)}nice" for n in range(rows)],
            "empty": None,
            "mixed": [str(n) if n % 2 else f"floor {n % 5}" for n in range(rows)],
            "rooms": np.where(random.random(rows) < 0.3, np.nan, (size // 25).round()),
            "price": (size * 3 + random.normal(0, 10, rows)).round(2),
        }
    )
    frame.loc[::30, "price"] = np.nan
    return frame


def test_a_dirty_table_becomes_a_project_that_runs_at_once(started):
    rows = 100
    done, project = started(homes(rows), "price")
    assert done.returncode == 0, done.stdout
    found = config(project)
    assert found["features"]["drop"] == ["unnamed_1", "house id"]
    assert found["split"] == {"by": "hash"}
    assert set(found["cleaning"]["columns"]) == {"empty", "rooms"}
    for part in ("built does not seem to say when", "note", "without price are dropped", "make run DIR=new"):
        assert part in done.stdout
    few_trees(project).snakemake("all", "reports/final_report.md")
    metrics = project.json("reports/evaluation_metrics.json")
    assert metrics["model"]["test"]["MAE"] < metrics["baselines"]["mean"]["test"]["MAE"]
    assert metrics["features"]["share"] == "number"
    assert metrics["cleaning"]["rows_out"] == rows - len(range(0, rows, 30))


def test_a_written_project_holds_only_what_matters_and_its_comments(started):
    _, project = started(rides(), "minutes")
    text = (project.folder / "config.yaml").read_text(encoding="utf-8")
    assert set(yaml.safe_load(text)) == {"raw_data_source_url", "target", "time_column", "cleaning", "validation"}
    assert yaml.safe_load(text)["raw_data_source_url"] == "../table.csv"
    assert yaml.safe_load(text)["time_column"] == "started"
    assert "config/README.md" in text
    contract = (project.folder / "schema.yaml").read_text(encoding="utf-8")
    assert "tighten with checks: isin" in contract
    columns = yaml.safe_load(contract)["columns"]
    assert columns["km"]["checks"]["in_range"] == {"min_value": 0.0, "max_value": 39.0}
    few_trees(project).snakemake()


def test_small_tables_compare_models_and_those_that_would_take_too_long_do_not(monkeypatch):
    frame = pd.DataFrame({"x": np.arange(60.0), "when": pd.Timestamp("2024-01-01"), "y": np.arange(60) % 7.0})
    table = ParsedTable(frame.assign(text="a"), {"x": "number", "when": "date", "y": "number", "text": "text"})
    settings, _, said = init_project(table, "y")
    assert settings["model"] == {"preset": "good"}
    assert any("several kinds of models are compared by cross-validation (model.preset: good). For" in x for x in said)
    assert "model" not in init_project(table, "y", preset="fast")[0]
    settings, _, said = init_project(table, "y", preset="best")
    assert settings["model"] == {"preset": "best", "minutes": 10} and "as 10 minutes allow" in said[-1]
    # From here on, the time is measured.
    monkeypatch.setattr("init_project._FEW_VALUES", 1)
    settings, _, said = init_project(table, "y")
    assert settings["model"] == {"preset": "good"} and any("which takes about 1 min here" in line for line in said)
    monkeypatch.setattr("init_project._LONGEST", 0.001)
    settings, _, said = init_project(table, "y")
    assert "model" not in settings
    assert any("because comparing several kinds would take about 0 minutes here" in line for line in said)


def test_what_costs_less_than_a_twentieth_of_the_rows_is_dropped(started):
    frame = rides(400)
    frame["km"] = frame["km"].fillna(3)
    frame.loc[:15, "km"] = np.nan
    done, project = started(frame, "minutes")
    assert "cleaning" not in config(project)
    frame.loc[:25, "km"] = np.nan
    done, project = started(frame, "minutes", "table.csv", "--force")
    assert config(project)["cleaning"] == {"columns": {"km": "leave"}}
    assert "left to the model in km" in done.stdout


def german(rows: int = 300) -> pd.DataFrame:
    """Rides as a German program writes them; the fare has a unit, and the fuel is a word in one row."""
    frame = rides(rows).drop(columns="ride")
    fares = np.random.default_rng(6).uniform(500, 4000, rows)
    frame["fare"] = [f"{each:,.2f} €".translate(str.maketrans(",.", ".,")) for each in fares]
    frame["fuel"] = [f"{n % 50},5" for n in range(rows)]
    frame.loc[7, "fuel"] = "electric"
    frame["started"] = pd.to_datetime(frame["started"]).dt.strftime("%d.%m.%Y %H:%M")
    frame["minutes"] *= 100
    for name in ("km", "minutes"):
        frame[name] = [
            "" if pd.isna(each) else f"{each:,.2f}".translate(str.maketrans(",.", ".,")) for each in frame[name]
        ]
    return frame


def test_a_column_that_is_empty_in_the_newest_week_is_named_in_the_verdict(started):
    frame = rides(1000).drop(columns="ride").assign(temp=np.round(np.random.default_rng(1).normal(10, 5, 1000), 1))
    frame.loc[::90, "temp"] = np.nan
    frame["km"] = frame["km"].fillna(5)
    _, project = started(frame.head(944), "minutes")
    few_trees(project)
    project.snakemake("reports/validation_report.json")
    assert project.json("reports/validation_report.json")["status"] == "pass"
    frame.loc[944:, "temp"] = np.nan
    frame.to_csv(project.folder.parent / "table.csv", index=False)
    done = project.snakemake(check=False)
    assert done.returncode == 1
    assert project.json("data/processed/cleaned_data.json")["rows_dropped"]["missing"] > 56
    line = (
        "column temp: 56 of 56 values are missing in the newest 7 days (2024-04-28 to 2024-05-04) (100%); the contract"
    )
    assert "Contract    fail" in done.stdout and f"\n            {line}" in done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-16"])
def test_decimal_commas_semicolons_and_encodings_are_recognised_and_scored_alike(started, encoding):
    content = german().to_csv(index=False, sep=";").encode(encoding)
    _, project = started(content, "minutes")
    reader = config(project)["reader"]
    expected = {"delimiter": ";", "decimal": ","} | ({} if encoding == "utf-8" else {"encoding": encoding})
    assert reader == expected
    project.snakemake("data/raw/raw_data.csv")
    raw = pd.read_csv(project.folder / "data/raw/raw_data.csv")
    assert raw["minutes"].mean() == pytest.approx(rides(300)["minutes"].mean() * 100, abs=1)
    assert raw["km"].dtype == "float64"
    if encoding != "cp1252":
        return
    few_trees(project).snakemake("all", "reports/final_report.md")
    features = project.json("reports/evaluation_metrics.json")["features"]
    assert features["fare"] == features["fuel"] == "number"
    project.sign_off("--override", "one row has a word for the fuel")
    project.script("deploy")
    batch = project.folder / "data/batches/week.csv"
    batch.parent.mkdir()
    batch.write_bytes(content)
    project.snakemake("predictions/week.csv")
    scored = pd.read_csv(project.folder / "predictions/week.csv")
    # What init recognised is recognised in a batch, too: no row is rejected.
    assert scored["row_number"].tolist() == list(range(1, 301))
    assert (scored["prediction"] - scored["minutes"]).abs().mean() < 1000


def test_a_minus_behind_a_number_and_an_exponent_behind_a_decimal_comma_are_read(started):
    frame = rides(300).assign(ride=range(300))
    change = np.random.default_rng(2).normal(0, 50, 300).round(2)
    frame["change"] = [f"{abs(each):.2f}".replace(".", ",") + ("-" if each < 0 else "") for each in change]
    # In most rows behind a unit, so that the column is text of which the numbers are a feature.
    frame["fee"] = [f"{abs(each)} kg" if each > 0 else f"{abs(each)}- kg" for each in change.astype(int)]
    concentration = 10.0 ** -np.random.default_rng(3).uniform(5, 9, 300)
    frame["conc"] = [f"{each:.4e}".replace(".", ",") for each in concentration]
    frame["side"] = [f"{abs(each)} {'DR' if each < 0 else 'CR'}" for each in change.astype(int)]
    content = frame.to_csv(index=False, sep=";", decimal=",").encode()
    done, project = started(content, "minutes")
    assert "signs: of side, DR and CR do not say which number is negative, so it is text" in done.stdout
    project.snakemake("data/features/features.csv")
    found = pd.read_csv(project.folder / "data/features/features.csv")
    at = pd.Index(pd.to_datetime(frame["started"])).get_indexer(pd.to_datetime(found["started"]))
    assert found["change"].tolist() == change[at].tolist()
    assert found["conc"].tolist() == pytest.approx(concentration[at], rel=1e-3)
    assert found["fee"].tolist() == change.astype(int)[at].tolist()
    assert "side" not in found or not pd.api.types.is_numeric_dtype(found["side"])


def test_dates_in_common_notations_are_dates(started):
    notations = ["%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y %H:%M", "%d-%b-%y", "%B %d, %Y", "%m/%d/%Y %I:%M %p", "%Y/%m/%d"]
    frame = rides(300)
    frame["started"] = pd.date_range("2023-01-01", periods=300, freq="D").strftime("%d.%m.%y")
    for notation in notations:
        frame[notation] = pd.date_range("2023-01-01", periods=300, freq="D").strftime(notation)
    _, project = started(frame, "minutes")
    assert config(project)["time_column"] == "started"
    few_trees(project).snakemake("model/model.pkl")
    columns = project.json("model/model.json")["columns"]
    assert {name: columns[name]["date_format"] for name in notations} == dict(zip(notations, notations, strict=True))
    assert columns["started"]["date_format"] == "%d.%m.%y"


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_week_whose_days_could_be_months_is_read_as_the_week_before_was(started, partitioned):
    def week(first: str) -> pd.DataFrame:
        times = pd.date_range(first, periods=400, freq="40min")
        return rides(400).assign(started=times.strftime("%m/%d/%Y %H:%M"), ride=range(400))

    done, project = started(week("2024-01-20"), "minutes")
    assert "dates: started, written as %m/%d/%Y %H:%M" in done.stdout
    contract = yaml.safe_load((project.folder / "schema.yaml").read_text())
    assert contract["columns"]["started"]["date_format"] == "%m/%d/%Y %H:%M"
    if partitioned:
        text = (project.folder / "config.yaml").read_text() + "data: {partition_by: month}\n"
        (project.folder / "config.yaml").write_text(text)
    # By themselves, its days are all below 13.
    (project.folder.parent / "table.csv").write_text(week("2024-02-01").to_csv(index=False))
    if partitioned:
        project.snakemake("data/raw/raw_data.json")
        assert list(project.json("data/raw/raw_data.json")["parts"]) == ["2024-02"]
        return
    project.snakemake("data/processed/cleaned_data.csv", "reports/validation_report.json")
    found = project.json("reports/validation_report.json")
    assert (found["status"], found["violations"]) == ("pass", [])
    assert found["profile"]["started"]["min"] == "2024-02-01 00:00:00"
    assert found["profile"]["started"]["max"] == "2024-02-12 02:00:00"


def test_dates_of_which_no_value_says_the_month_are_text_and_init_says_so(started):
    frame = rides(400).assign(ride=range(400))
    frame["started"] = pd.date_range("2024-02-01", periods=400, freq="40min").strftime("%d/%m/%Y %H:%M")
    done, project = started(frame, "minutes")
    assert "dates: started may be written as %m/%d/%Y %H:%M or as %d/%m/%Y %H:%M, and no value decides" in done.stdout
    assert "time_column" not in config(project)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("minuets", "has no column 'minuets' (the target): did you mean minutes?"),
        ("city", "This workflow is for regression"),
        ("split", "the name 'split' is taken by the workflow"),
    ],
)
def test_a_target_that_is_none_is_refused(started, target, message):
    done, project = started(rides().assign(split=range(len(rides()))), target)
    assert done.returncode == 1
    assert message in done.stdout
    assert not project.folder.exists()


def test_values_that_are_no_numbers_cost_no_rows_and_fail_no_run(started):
    """In a batch, too: test_decimal_commas_…"""
    frame = rides(400).assign(km=lambda table: table["km"].fillna(3).map("{:.2f} km".format), ride=range(400))
    frame["fuel"] = [f"{n / 10}" for n in range(400)]
    frame.loc[[7, 70], "fuel"] = "electric"
    frame["minutes"] = frame["minutes"].map("${:,.2f}".format)
    frame.loc[5, "minutes"] = "12O"
    done, project = started(frame, "minutes")
    assert "fuel: 2 values are no number, such as 'electric'; so it is text" in done.stdout
    assert (
        "of km (km), fuel, the numbers; other words count as missing; fuel: 2 values, such as 'electric'" in done.stdout
    )
    assert "minutes: 1 values are no number, such as '12O'; their rows are dropped" in done.stdout
    assert config(project)["validation"] == {"schema": "schema.yaml", "on_failure": "warn"}
    few_trees(project).snakemake()
    found = {each["column"]: each for each in project.json("reports/validation_report.json")["violations"]}
    assert (found["fuel"]["check"], found["fuel"]["rows"]) == ("is a number", 2)
    assert found["fuel"]["examples"][0] == {"row": 8, "value": "electric"}
    assert "km" not in found
    metrics = project.json("reports/evaluation_metrics.json")
    assert metrics["cleaning"]["rows_out"] == 399
    assert {metrics["features"][name] for name in ("km", "fuel")} == {"number"}


def test_dates_that_look_like_numbers_are_dates_and_names_lose_their_spaces(started):
    days = pd.Series(pd.date_range("2023-01-01", periods=300))
    frame = pd.DataFrame({" day ": days.dt.strftime("%Y%m%d"), "empty": None})
    frame["born"] = pd.date_range("1960-01-01", periods=300, freq="MS").strftime("%b %Y")
    frame["sold"], frame[" price"] = days.dt.day_of_week * 3, days.dt.day_of_week * 2.5
    done, project = started(frame, " price")
    assert "dates: day, written as %Y%m%d" in done.stdout
    assert "dates: born, written as %b %Y" in done.stdout
    assert "rows are split by day" in done.stdout
    assert "empty left out, empty" in done.stdout
    assert "cleaning:" not in done.stdout
    assert config(project)["features"] == {"date_parts": ["year", "month", "day", "day_of_week"]}
    project.snakemake("data/features/features.csv")
    features = project.json("data/features/features.json")
    assert features["split"]["last_test"] == "2023-10-27 00:00:00"
    assert {"born_year", "day_day", "day_day_of_week", "sold"} <= set(features["features"])


@pytest.mark.parametrize(
    ("name", "is_time"),
    [
        *((name, True) for name in ("week_ending", "calendar_date", "period_end", "weekEnd", "sendDate", "agenda_day")),
        *(
            (name, False)
            for name in ("birthDate", "end_date", "endDate", "valid_until", "due", "expires", "date_hired")
        ),
    ],
)
def test_a_name_says_whether_dates_are_when_a_row_happened(name, is_time):
    frame = pd.DataFrame({name: pd.date_range("2024-01-01", periods=60), "x": range(60), "y": 1.0})
    kinds = {name: "date", "x": "number", "y": "number"}
    assert _choose_time(frame, kinds, "y")[0] == (name if is_time else None)


def test_times_that_cannot_be_right_are_said_and_each_run_warns_of_them():
    days = pd.Series(pd.date_range("2024-01-01", periods=100))
    frame = pd.DataFrame({"when": days, "x": range(100), "y": np.arange(100) % 7.0})
    frame.loc[[3, 4, 5], "when"] = pd.to_datetime(["1900-01-01", "1900-01-01", "2204-01-01"])
    table = ParsedTable(frame, {"when": "date", "x": "number", "y": "number"}, {"when": "ISO8601"})
    settings, contract, said = init_project(table, "y", pd.Timestamp("2024-04-20"))
    assert settings["validation"] == {"on_failure": "warn"} and settings["time_column"] == "when"
    lines = [line.partition("; they")[0] for line in said]
    assert "time: 2 rows have a time that is far before all other times, such as 1900-01-01 00:00:00" in lines
    assert "time: 1 rows have a time that is in the future, such as 2204-01-01 00:00:00" in lines
    assert contract["freshness"] == "32 days"


def test_years_months_and_days_in_columns_and_rows_of_one_entity_are_said():
    random = np.random.default_rng(0)
    days = pd.Series(pd.date_range("2020-01-01", periods=400))
    frame = pd.DataFrame({"Year": days.dt.year, "month": days.dt.month, "day": days.dt.day})
    frame["unitid"], frame["hour"], frame["y"] = np.arange(400) % 50, days.dt.day % 24, random.normal(size=400)
    table = ParsedTable(frame, dict.fromkeys(frame, "number"))
    settings, _, said = init_project(table, "y")
    assert "time_column" not in settings
    assert any(line.startswith("time: Year, month, day seem to say together when a row happened") for line in said)
    assert any("unitid has 50 different values in 400 rows" in line and "split.groups: unitid" in line for line in said)
    dated = ParsedTable(frame.assign(when=days), dict.fromkeys(frame, "number") | {"when": "date"})
    settings, _, said = init_project(dated, "y")
    assert settings["time_column"] == "when"
    assert not any("seem to say together" in line or "unitid has" in line for line in said)
    plain = ParsedTable(frame[["month", "hour", "y"]], dict.fromkeys(["month", "hour", "y"], "number"))
    assert not any("seem to say together" in line for line in init_project(plain, "y")[2])


def test_a_table_with_a_time_and_a_key_gets_a_comment_that_gives_the_features_of_earlier_rows():
    rows = pd.date_range("2024-01-01", periods=100)
    notes = [f"no {n}" for n in range(100)]
    frame = pd.DataFrame({"day": rows, "shop": ["a", "b"] * 50, "note": notes, "y": range(100)})
    kinds = {"day": "date", "shop": "text", "note": "text", "y": "number"}
    table = ParsedTable(frame, kinds)
    settings = {"target": "y", "time_column": "day"}
    assert history_key(table, settings) == "shop" and history_key(table, {"target": "y"}) is None
    assert history_key(ParsedTable(frame.drop(columns="shop"), kinds | {"shop": "number"}), settings) is None
    text = config_text("a.csv", settings, {}, "shop")
    assert "history" not in yaml.safe_load(text)
    (offered,) = re.findall(r"^# (features: .*)$", text, flags=re.M)
    found = yaml.safe_load(text) | yaml.safe_load(offered)
    check_config(found, ROOT / "workflow/schemas/config.schema.yaml")
    (entry,) = found["features"]["history"]
    assert list(history_recipes([entry], facts_of(frame), "y", "day")) == ["y_lag_1_by_shop", "y_mean_4w_by_shop"]


def test_free_text_is_told_from_ids_and_becomes_features():
    frame = pd.DataFrame({"y": np.arange(60.0), "code": [f"ride-{n:05}" for n in range(60)]})
    frame["title"] = [f"A {each} house by the {place} {n}" for n, (each, place) in enumerate([("big", "sea")] * 60)]
    settings, _, said = init_project(ParsedTable(frame, {"y": "number", "code": "text", "title": "text"}), "y")
    assert settings["features"] == {"text": ["title"]}
    assert any(line.startswith("features: code left out, text") for line in said)
    assert any(line.startswith("features: of title, free text, the words become features") for line in said)
    check_config(yaml.safe_load(config_text("a.csv", settings, {})), ROOT / "workflow/schemas/config.schema.yaml")


def test_ids_in_whose_order_the_target_rises_are_said():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"sale id": np.arange(1000, 1300), "other id": random.permutation(300) + 10_000})
    frame["x"] = random.normal(size=300)
    frame["y"] = frame["x"] + np.arange(300) / 100
    settings, _, said = init_project(ParsedTable(frame, dict.fromkeys(frame, "number")), "y")
    assert settings["features"] == {"drop": ["sale id", "other id"]}
    (line,) = [line for line in said if "rank correlation" in line]
    assert line.startswith("features: the order of sale id goes with y (rank correlation 0.")
    assert line.endswith("move sale id from features.drop to features.keep, and compare")


def test_lines_above_the_header_are_named(started):
    frame = pd.DataFrame({"a": range(50), "b": [1.5] * 50, "y": np.arange(50) * 2})
    done, _ = started(b"# exported by a tool\n\n" + frame.to_csv(index=False, sep=";").encode(), "y")
    assert "'y' (the target) is in line 3, which seems to be the header" in done.stdout


def test_ranges_hold_what_was_seen(started):
    frame = rides(200).assign(year=[2011, 2012] * 100, depth=[-100_001, -100_000] * 100)
    _, project = started(frame, "minutes")
    columns = yaml.safe_load((project.folder / "schema.yaml").read_text(encoding="utf-8"))["columns"]
    assert columns["year"]["checks"]["in_range"] == {"min_value": 0.0, "max_value": 2020.0}
    assert columns["depth"]["checks"]["in_range"]["min_value"] <= -100_002


def test_a_column_of_dates_with_gaps_is_not_what_splits(started):
    frame = rides(400)
    frame.loc[::12, "started"] = None
    done, project = started(frame, "minutes")
    assert "time_column" not in config(project)
    assert config(project)["cleaning"]["columns"]["started"] == "leave"
    assert "started does not seem to say when" in done.stdout


def test_many_long_names_in_another_script_and_many_gaps_fit_into_a_command(started):
    random = np.random.default_rng(0)
    # Together they have 120 kB.
    names = [
        f"{n}. Насколько вы удовлетворены качеством обслуживания в нашем {'самом ' * 190}лучшем отделении?"
        for n in range(50)
    ]
    frame = pd.DataFrame(random.normal(size=(150, 50)).round(3), columns=names)
    frame = frame.mask(random.random(frame.shape) < 0.1).assign(оценка=random.normal(size=150).round(3))
    done, project = started(frame, "оценка")
    assert config(project)["cleaning"] == {"default": "leave"}
    assert "left to the model in every column" in done.stdout
    project.snakemake("data/features/features.csv")
    assert project.json("data/features/features.json")["split"]["rows"]["test"] > 10


def test_a_target_that_most_rows_lack_is_said_and_may_be(started):
    frame = rides(900).astype({"minutes": "object"})
    frame.loc[::3, "minutes"] = None
    frame.loc[1::3, "minutes"] = "-"
    done, project = started(frame, "minutes")
    assert "600 without minutes are dropped, 300 are left" in done.stdout
    assert config(project)["cleaning"] == {"max_rows_lost": 0.78}
    project.snakemake("data/features/features.csv")
    assert project.json("data/features/features.json")["cleaning"]["rows_out"] == 286


def test_a_table_with_nothing_to_predict_from_is_refused(started):
    done, project = started(pd.DataFrame({"No": range(100), "note": "", "y": np.arange(100) * 2.0}), "y")
    assert done.returncode == 1
    assert "nothing to predict y from: each other column (No, note) only identifies rows" in done.stdout
    assert not project.folder.exists()


def test_nothing_is_overwritten_without_force(started):
    _, project = started(rides(), "minutes")
    (project.folder / "config.yaml").write_text("mine", encoding="utf-8")
    done, _ = started(rides(), "minutes")
    assert done.returncode == 1
    assert "new/config.yaml is there already" in done.stdout
    assert (project.folder / "config.yaml").read_text(encoding="utf-8") == "mine"
    started(rides(), "minutes", "table.csv", "--force")
    assert config(project)["target"] == "minutes"


def test_a_url_and_a_compressed_file_become_projects(server, tmp_path):
    made = make_project(tmp_path)
    server.answers = [(200, {"ETag": '"1"'}, gzip.compress(rides().to_csv(index=False).encode()))]
    source = f"{server.url}/some/rides.csv.gz?week=3"
    done = script("init_project", "--source", source, "--target", "minutes", *PRESET, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    project = Project(tmp_path / "rides", made.workflow)
    assert config(project)["raw_data_source_url"] == source
    project.snakemake("data/features/features.csv")


def test_make_init_makes_a_project(tmp_path):
    rides().to_csv(tmp_path / "some rides.csv", index=False)
    command = ["make", "init", f"SOURCE={tmp_path}/some rides.csv", "TARGET=minutes", f"DIR={tmp_path}/it's new"]
    done = run(command, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    config = yaml.safe_load((tmp_path / "it's new/config.yaml").read_text("utf-8"))
    assert config["model"] == {"preset": "good"}
    done = run([*command, "FORCE=1", "PRESET=quick"], cwd=ROOT)
    assert done.returncode == 2 and "invalid choice: 'quick'" in done.stdout


def test_wide_tables_and_few_columns(started):
    random = np.random.default_rng(0)
    wide = pd.DataFrame(random.normal(size=(120, 80)).round(3)).add_prefix("column ")
    wide["y"] = wide["column 3"] * 5
    _, project = started(wide, "y")
    few_trees(project).snakemake()
    narrow = pd.DataFrame({"x": random.normal(size=120), "k": random.choice(["a", "b"], 120)})
    narrow["y"] = narrow["x"] * 3
    _, project = started(narrow, "y", "table.csv", "--force")
    few_trees(project).snakemake()
    assert project.json("reports/evaluation_metrics.json")["model"]["test"]["R2"] > 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n", (",", ".")),
        ("a\tb\n1,5\t2\n3,25\t4\n", ("\t", ",")),
        ("a|b\n1.5|x,y\n2.5|z\n", ("|", ".")),
        ('a,b\n"1,5",x\n"2,75",y\n', (",", ",")),
        ("a;b\n1;2\n3;4\n", (";", ".")),
        ("only\n1\n2\n", (",", ".")),
        ('a,b\n"1,234",x\n"12,345",y\n', (",", ".")),
        ('a,b\n"$1,234.50",x\n"$2.75",y\n', (",", ".")),
        ('a,b\n"1,5",0.25\n"2,75",1.5\n', (",", ".")),
        ("a;b\n1,234;x\n2,345;y\n", (";", ",")),
        ("a;b\n1,234;1.5\n2,345;2.25\n", (";", ".")),
        ("a;b\n1.234,50 €;x\n-;y\n0,99 €;z\n", (";", ",")),
        ("a\tb\n1 234,5\t2\n0,25\t4\n", ("\t", ",")),
        ("a\tb\n1,404E-07\t2\n2,302E\u221208\t4\n", ("\t", ",")),
        ('a,b\n"1,404E-07",x\n"5-",y\n', (",", ",")),
        ("a;b\n1,234;1.404E-07\n2,345;2.302E-08\n", (";", ".")),
        ("a;b\n1,234;42.07-\n2,345;1.20\n", (";", ".")),
        ("a;b\n1,234;\u221242.07\n2,345;1.20\n", (";", ".")),
        ("a\tb\n42,07-\t7-\n\u22121,5\t8\n", ("\t", ",")),
    ],
)
def test_the_way_a_file_is_written_is_recognised(text, expected):
    found = sniff(lambda: io.BytesIO(text.encode()), "x")
    assert (found["delimiter"], found["decimal"]) == expected
