"""Evaluation: from a trained model to metrics, arrays and figures."""
