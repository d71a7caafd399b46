"""The rules of each table, as Great Expectations suites.

The `description` of every expectation is its rule in one sentence, which the reports show. A rule compares columns that
`tables` computes, so that no expectation holds 30,000 names and no metric iterates over rows.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations import core as expect
from great_expectations.expectations.expectation import Expectation, MulticolumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider import (
    MulticolumnMapMetricProvider,
    multicolumn_condition_partial,
)
from great_expectations.expectations.row_conditions import Column

from videossr import rewards
from videossr.dataset.params import VIUBENCH
from videossr.decode import REASONS
from videossr.gates.results import ValidateParams

Suite = Sequence[Expectation]


class AnswerScoresOne(MulticolumnMapMetricProvider):
    """For each row of (task, answer): whether the reward of the task gives the answer 1."""

    condition_metric_name = "multicolumn_values.answer_scores_one"
    condition_domain_keys = ("batch_id", "table", "column_list", "row_condition", "condition_parser", "ignore_row_if")
    condition_value_keys = ()

    @multicolumn_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_list: pd.DataFrame, **_: Any) -> pd.Series:
        tasks, answers = (column_list[name] for name in column_list.columns)
        return pd.Series(
            [scores_one(task, answer) for task, answer in zip(tasks, answers, strict=True)], index=column_list.index
        )


class ExpectAnswerToScoreOne(MulticolumnMapExpectation):
    """The reward of the row's task parses the row's answer and gives it 1."""

    map_metric = "multicolumn_values.answer_scores_one"
    success_keys = ("mostly",)
    args_keys = ("column_list",)


def scores_one(task: str, answer: str) -> bool:
    """Whether the reward of `task` gives 1 to `answer` as a reply; a malformed answer gets 0."""
    try:
        return abs(rewards.score(task, answer, answer) - 1.0) < 1e-6
    except (ValueError, KeyError):
        return False


def manifest_suite(params: ValidateParams, has_windows: bool = False) -> Suite:
    """The rules of the manifest; `has_windows` says whether long videos were cut into windows."""
    one_split = _one_of("splits_of_source", [1], "all windows of a source video have the same split")
    return [
        expect.ExpectTableRowCountToBeBetween(
            min_value=params.min_videos, description=f"the source has at least {params.min_videos} usable videos"
        ),
        expect.ExpectColumnValuesToBeUnique(column="video_id", description="no video appears twice"),
        expect.ExpectColumnValuesToMatchRegex(column="video_id", regex=r"\S", description="every video has an id"),
        *(_positive(name) for name in ("width", "height", "num_frames", "fps", "duration_seconds")),
        _one_of("split", ["train", "bench"], "every video has the split train or bench"),
        expect.ExpectColumnDistinctValuesToContainSet(
            column="split", value_set=["train", "bench"], description="training and benchmark both have videos"
        ),
        _one_of("stored_or_rejected", [True], "every video is stored or in the quarantine"),
        *([one_split] if has_windows else []),
    ]


def _positive(column: str) -> Expectation:
    # `tables` writes missing and not finite values as -1, because column expectations ignore nulls.
    return expect.ExpectColumnValuesToBeBetween(
        column=column, min_value=0, strict_min=True, description=f"{column} is a positive number"
    )


def _one_of(column: str, values: Iterable[Any], rule: str) -> Expectation:
    return expect.ExpectColumnValuesToBeInSet(column=column, value_set=list(values), description=rule)


def quarantine_suite() -> Suite:
    return [
        _one_of("reason", sorted(REASONS), "every rejected file has a known reason"),
        _one_of("stored", [False], "no file is both rejected and stored"),
    ]


def source_suite(params: ValidateParams) -> Suite:
    return [
        expect.ExpectColumnValuesToBeBetween(
            column="share_quarantined",
            max_value=params.max_quarantined,
            description=f"at most {params.max_quarantined:.0%} of the source's files are rejected",
        )
    ]


def store_suite() -> Suite:
    return [
        expect.ExpectColumnValuesToBeUnique(column="video_id", description="no video is stored twice"),
        _one_of("in_manifest", [True], "every stored video is in the manifest"),
        expect.ExpectColumnPairValuesToBeEqual(
            column_A="num_frames",
            column_B="usual_num_frames",
            description="all videos have the same number of stored frames",
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="shortest_step_seconds", min_value=0, strict_min=True, description="presentation times increase"
        ),
        expect.ExpectColumnValuesToBeBetween(
            column="first_seconds", min_value=0, description="no frame is shown before the video starts"
        ),
        expect.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="end_seconds",
            column_B="last_seconds",
            or_equal=True,
            description="no frame is shown after the video ends (tolerance: two frames)",
        ),
        _one_of("used_in", ["nothing", "train", "viubench"], "no video is used in both sets, donors included"),
    ]


def viubench_suite(kinds: Iterable[str], params: ValidateParams) -> Suite:
    """The rules of `samples_suite`, and the rule that every column of the benchmark has questions."""
    columns = expect.ExpectColumnDistinctValuesToContainSet(
        column="kind", value_set=list(VIUBENCH), description="the benchmark has questions in all nine columns"
    )
    return [*samples_suite("bench", kinds, params), columns]


def samples_suite(split: str, kinds: Iterable[str], params: ValidateParams) -> Suite:
    """The rules of one set of samples, which may use videos of `split`. `kinds` are the known "task/variant"."""
    duplicates = "no two samples have the same video and edit"
    if params.max_duplicates:
        duplicates = f"at most {params.max_duplicates:.0%} of the samples have the same video and edit as another"
    return [
        expect.ExpectTableRowCountToBeBetween(min_value=1, description="the set is not empty"),
        expect.ExpectColumnValuesToMatchRegex(column="sample_id", regex=r"\S", description="every sample has an id"),
        expect.ExpectColumnValuesToBeUnique(column="sample_id", description="no sample_id appears twice in a set"),
        _one_of("in_other_set", [False], "no sample_id appears in both sets"),
        _one_of("kind", sorted(kinds), "task and variant are known"),
        expect.ExpectColumnValuesToMatchRegex(column="question", regex=r"\S", description="the question is not empty"),
        expect.ExpectColumnPairValuesToBeEqual(
            column_A="num_markers",
            column_B="num_clips",
            ignore_row_if="either_value_is_missing",
            description="the question has one <video> marker for each rendered clip",
        ),
        expect.ExpectColumnValuesToBeJsonParseable(column="edit", description="the edit is valid JSON"),
        _absent("edit_fault", "the edit is within the parameters of its task"),
        _absent("not_stored", "every video the sample uses is in the frame store"),
        _absent("outside_split", f"every video the sample uses, donors included, is a {split} video"),
        expect.ExpectColumnPairValuesToBeEqual(
            column_A="answer",
            column_B="derived_answer",
            description="the answer equals the one derived from the edit and the frame times",
        ),
        ExpectAnswerToScoreOne(column_list=["task", "answer"], description="the reward of the task gives the answer 1"),
        expect.ExpectCompoundColumnsToBeUnique(
            column_list=["task", "video_id", "edit"],
            mostly=1 - params.max_duplicates,
            description=duplicates,
        ),
    ]


def _absent(column: str, rule: str) -> Expectation:
    """A rule that fails where `column` has a text. The text describes the fault, and the reports show it."""
    return expect.ExpectColumnValuesToBeNull(column=column, description=rule)


def balance_suite(params: ValidateParams) -> Suite:
    return [
        expect.ExpectColumnValuesToBeBetween(
            column="ratio_lower_bound",
            max_value=params.max_imbalance,
            description=f"no class of answers has more than {params.max_imbalance:g} times its fair share",
        )
    ]


def renders_suite(kinds: Iterable[str], params: ValidateParams) -> Suite:
    """One rule for each "task/variant", so that a visible kind cannot compensate for an invisible one."""
    share = f"{params.min_perceptible:.0%}"
    return [
        expect.ExpectColumnValuesToBeBetween(
            column="difference",
            min_value=params.perceptible_difference,
            mostly=params.min_perceptible,
            row_condition=Column("kind") == kind,
            description=f"{kind}: at least {share} of the rendered samples differ visibly from the unedited clip",
        )
        for kind in sorted(kinds)
    ]
