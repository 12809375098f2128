"""Names that the steps of the backtest share."""

NEVER = "never_retrained"
