"""The services of a project that run together in the background: Prefect, its workers, MLflow, the pages."""
