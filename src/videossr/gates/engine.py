"""The calls to Great Expectations: open a context in memory, run a suite on a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.core.expectation_suite import ExpectationSuite
from great_expectations.core.validation_definition import ValidationDefinition
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from videossr.gates.results import Check, GateFailure
from videossr.gates.suites import Suite


@dataclass(frozen=True)
class Outcome:
    """The result of one expectation: the check, and the rows that fail it (None where none does)."""

    check: Check
    failure: GateFailure | None


def open_context() -> Any:
    """A Great Expectations context in memory, without progress bars and analytics."""
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
        analytics_enabled=False,
    )
    return gx.get_context(project_config=config, mode="ephemeral")


def run_suite(context: Any, table: str, rows: pd.DataFrame, suite: Suite, name_column: str) -> list[Outcome]:
    """Check `rows` by `suite`.

    Failures name a row by its value of `name_column`. Raises RuntimeError where an expectation cannot be computed: that
    is a bug of the gate, not a fault of the data.
    """
    asset = context.data_sources.add_pandas(table).add_dataframe_asset(table)
    definition = ValidationDefinition(
        name=table,
        data=asset.add_batch_definition_whole_dataframe("all"),
        suite=context.suites.add(ExpectationSuite(name=table, expectations=list(suite))),
    )
    result = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": rows},
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": [name_column],
            "return_unexpected_index_query": False,
        },
    )
    # Great Expectations sorts its results by column; restore the order of the suite.
    order = [expectation.description for expectation in suite]
    results = sorted(result.results, key=lambda item: order.index(item.expectation_config.description))
    return [_outcome(table, item, name_column) for item in results]


def _outcome(table: str, result: Any, name_column: str) -> Outcome:
    kind, rule = result.expectation_config.type, result.expectation_config.description
    if result.exception_info.get("raised_exception"):
        raise RuntimeError(f"{table}: {kind} could not be computed: {result.exception_info['exception_message']}")
    unexpected = result.result.get("unexpected_index_list") or []
    num_rows = int(result.result.get("element_count") or 0)
    check = Check(table, rule, kind, bool(result.success), num_rows, len(unexpected))
    if result.success and not unexpected:
        return Outcome(check, None)
    names = tuple(dict.fromkeys(str(row[name_column]) for row in unexpected))
    return Outcome(check, GateFailure(table, rule, names, _detail(result.result, unexpected, name_column)))


def _detail(result: Mapping[str, Any], unexpected: Sequence[Mapping[str, Any]], name_column: str) -> str:
    if not unexpected:
        missing = result.get("partial_missing_list")
        return f"missing: {', '.join(map(str, missing))}" if missing else f"found {result.get('observed_value')}"
    first = ", ".join(f"{key} {_truncate(value)}" for key, value in unexpected[0].items() if key != name_column)
    count = f"{len(unexpected)} of {result.get('element_count')} rows"
    return f"{count}; first: {first}" if first else count


def _truncate(value: Any, width: int = 80) -> str:
    plain = value.item() if hasattr(value, "item") else value
    text = f"{plain:.4g}" if isinstance(plain, float) else repr(plain)
    return text if len(text) <= width else text[: width - 3] + "..."
