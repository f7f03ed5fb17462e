"""The only inference path: the predictor, and evaluation with it."""
