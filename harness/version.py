"""The version of the package, where every module can read it without importing another."""

__version__ = "0.1.0"
