"""Measurements: each module prints a table and writes it as CSV into results/.

Run them as `python -m benchmarks.forward` and so on; `--quick` is a toy-size run that only shows that they work.
"""
