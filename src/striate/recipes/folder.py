"""What the files in a run's folder are called, beside the model file and the record of the split."""

PLAN_NAME = "experiment.json"
REPORT_NAME = "report.html"
"""What a run writes last."""
CHECKPOINTS = "checkpoints"
