"""What is measured, and how; the record of results is docs/benchmarks.md."""
