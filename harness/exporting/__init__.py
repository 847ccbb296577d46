"""ONNX export: dynamo exporter, graph rewrites for engines, checks."""
