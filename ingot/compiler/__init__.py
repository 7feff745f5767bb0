"""The driver: recipe, ingest, the pass pipeline, verification, bisect and the artifact writer."""
