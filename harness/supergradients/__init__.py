"""An interface compatible with SuperGradients, for use from Python."""
