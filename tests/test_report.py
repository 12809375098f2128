"""The report that a person decides from: its words, its figures, its page."""

import json
from pathlib import Path


def diagnostics() -> dict:
    """Return what diagnostics.json holds for the rides, nothing being deployed: made up, in its exact shape."""
    kinds = {"city": "category", "km": "number", "riders": "number", "started_hour": "number"}
    scores = {"MAE": 2.0, "RMSE": 2.5, "R2": 0.5, "median_absolute_error": 1.9}
    worse = {"mean": 6.0, "km": 9.0, "model": 1.0}
    slices = [("city", "Köln"), ("city", "Trier, West"), ("riders", "4"), ("km", "15.2 … 20"), ("city", "Bonn")]
    drift = [
        {"feature": name, "kind": kind, "psi": psi, "statistic": "KS" if kind == "number" else "total variation"}
        | {"size": psi / 2, "p": 0.5 - psi, "new": [], "vanished": [], "missing": [0.05, 0.04], "flagged": psi > 0.25}
        for (name, kind), psi in zip(kinds.items(), (0.01, 0.31, 0.12, 0.0), strict=True)
    ]
    return {
        "level": 0.95,
        "seed": 0,
        "bootstrap": {"resamples": 1000, "by": "days", "blocks": 15},
        "intervals": {
            name: {metric: [value * times * 0.9, value * times * 1.1] for metric, value in scores.items()}
            for name, times in worse.items()
        },
        "paired": None,
        "slices": {
            "min_rows": 30,
            "looked_at": 14,
            "correction": "Holm",
            "rows": [
                {"feature": feature, "value": value, "rows": 40 - n, "MAE": 2.6 - n / 5, "bias": 0.1 - n / 20}
                | {"MAE_interval": [2.2 - n / 5, 3.0 - n / 5], "champion_MAE": None, "difference_interval": None}
                | {"worse": False}
                for n, (feature, value) in enumerate(slices)
            ],
        },
        "drift": {"training": drift, "release": None},
        "profile": {},
        "prediction_interval": {
            "level": 0.9,
            "half_width": 2.1,
            "method": "split conformal",
            "coverage": 0.885,
            "rows": 125,
            "by_slice": [
                {"feature": feature, "value": value, "rows": 40 - n, "coverage": 0.8 + n / 50}
                for n, (feature, value) in enumerate(slices)
            ],
            "over_time": [
                {"time": f"2024-02-{day:02}T00:00:00", "rows": 56, "coverage": 0.94 - n / 20}
                for n, day in enumerate((19, 26))
            ],
        },
        "importance": [
            {"feature": name, "mean": 9.0 / 3**n, "std": 0.4 / (n + 1)}
            for n, name in enumerate(("km", "riders", "city", "started_hour"))
        ],
        "partial_dependence": {
            "riders": {"kind": "number", "values": [1, 2, 3, 4], "mean": [20.0, 22.0, 24.0, 26.0]},
            "km": {"kind": "number", "values": [1.0, 5.0, 10.0, 19.0], "mean": [6.0, 14.0, 25.0, 44.0]},
            "city": {"kind": "category", "values": ["Bonn", "Köln", "Trier, West"], "mean": [20.0, 30.0, 16.0]},
        },
        "alarms": [],
        "reasons": {
            "for": [f"For reason {n}, with {n}.5 in numbers." for n in range(1, 5)],
            "against": ["Against, the feature km has drifted (PSI 0.31)."],
        },
    }


def write_diagnostics(project: Path, **changes: object) -> None:
    """Write diagnostics.json of a project."""
    (project / "reports").mkdir(exist_ok=True)
    text = json.dumps(diagnostics() | changes, indent=2, ensure_ascii=False)
    (project / "reports/diagnostics.json").write_text(text, encoding="utf-8")
