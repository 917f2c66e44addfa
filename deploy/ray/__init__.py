"""`ganagerie.v1` as a Ray Serve application: docs/ray.md."""
