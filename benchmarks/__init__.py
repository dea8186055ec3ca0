"""Measures the app beside a floor: the same host, storage and run, with the unavoidable SDK calls alone.

See docs/explanation/performance.md.
"""
