"""The sentences of the report. A sentence claims an effect only if its interval excludes zero."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from videossr.evaluation.habits import collapsed_reply
from videossr.evaluation.intervals import MIN_VIDEOS
from videossr.evaluation.viubench import BLIND_ROWS, COLUMNS
from videossr.records import ScoredReply

FEW_VIDEOS = 20  # with fewer, percentile intervals are noticeably too narrow

LABELS = {
    "counting_easy": "Counting easy",
    "counting_hard": "Counting hard",
    "channel_swap": "Channel swap",
    "rotate_180": "Rotate 180°",
    "zoom_out": "Zoom out",
    "mirror": "Mirror",
    "shuffle": "Shuffle",
    "jigsaw_6": "Jigsaw 6",
    "jigsaw_8": "Jigsaw 8",
    "counting": "Counting",
    "grounding": "Grounding",
    "jigsaw": "Jigsaw",
    "overall": "Overall",
}

ROW_LABELS = {
    "random": "Random guess",
    "constant": "Best constant answer",
    "blind": "Without the video",
    "before": "Before training",
    "after": "After training",
}


def verdict(results: Mapping[str, Any]) -> str:
    """One sentence: whether training helped, by how much, and whether chance explains it.

    `results` is viubench.json, here and in the functions below.
    """
    gain = results["gain"]
    if too_few(results):
        return (
            f"The score on VIUBench changed by {signed(gain['overall'])} points. With so few videos, learning "
            "cannot be distinguished from chance."
        )
    low, high = gain["ci95"]
    interval = f"95 % interval {signed(low)} to {signed(high)}"
    if not gain["significant"]:
        return (
            f"This benchmark shows no effect of training: {signed(gain['overall'])} points on VIUBench ({interval}), "
            "which chance alone can explain."
        )
    if gain["overall"] < 0:
        return f"Training made the model worse: {signed(gain['overall'])} points on VIUBench ({interval})."
    return (
        f"Training helped: {signed(gain['overall'])} points on VIUBench ({interval}), on videos that the model "
        "was not trained on. Chance does not explain that much."
    )


def against_blind(results: Mapping[str, Any]) -> str:
    """One sentence: whether the trained policy scores above the best blind baseline."""
    rows = results["rows"]
    name = max(BLIND_ROWS, key=lambda row: rows[row]["overall"])
    blind, after = rows[name]["overall"], rows["after"]
    low = after["ci95"]["overall"][0]
    after_training = f"After training it scores {percent(after['overall'])}"
    baseline = f"the best blind baseline ({ROW_LABELS[name].lower()}, {percent(blind)})"
    if low > blind:
        return f"{after_training}, clearly above {baseline}, so it uses the video."
    if after["overall"] > blind:
        return f"{after_training}, above {baseline}, but its 95 % interval includes that score."
    return f"{after_training}, no better than {baseline}: it may not use the video at all."


def caution(results: Mapping[str, Any]) -> str | None:
    """A warning where the benchmark has too few videos for reliable intervals; else None."""
    videos = results["rows"]["after"]["videos"]
    if videos >= FEW_VIDEOS:
        return None
    size = f"The benchmark has {videos} {'video' if videos == 1 else 'videos'}. "
    if too_few(results):
        return size + (
            f"A 95 % interval needs at least {MIN_VIDEOS}, so none is shown: add videos, or raise the share of the "
            "benchmark (ingest.bench_fraction)."
        )
    return size + (
        f"Intervals from so few tend to be too narrow: use at least {FEW_VIDEOS} benchmark videos before you trust a "
        "small difference."
    )


def too_few(results: Mapping[str, Any]) -> bool:
    """Whether the benchmark has too few videos for any interval."""
    return bool(results["rows"]["after"]["videos"] < MIN_VIDEOS)


def no_interval(videos: int) -> str:
    """Why a score from this number of benchmark videos has no interval, and what to do."""
    return (
        f"{videos} benchmark {'video gives' if videos == 1 else 'videos give'} no 95 % interval, which needs "
        f"{MIN_VIDEOS}: add videos, or raise ingest.bench_fraction"
    )


def columns_moved(results: Mapping[str, Any]) -> str:
    """One sentence: for which columns the interval of the change excludes zero."""
    columns = results["gain"]["columns"]
    if too_few(results):
        return "With so few videos, the change of a single column cannot be distinguished from chance."
    rose = [LABELS[name] for name, change in columns.items() if change["ci95"][0] > 0]
    fell = [LABELS[name] for name, change in columns.items() if change["ci95"][1] < 0]
    parts = [f"rose in {join_names(rose)}"] if rose else []
    parts += [f"fell in {join_names(fell)}"] if fell else []
    num_others = len(columns) - len(rose) - len(fell)
    if not parts:
        return "For every single column, the 95 % interval of the change includes zero."
    others = f"; for the other {num_others} columns it includes zero" if num_others else ""
    return f"The score {' and '.join(parts)}: there the 95 % interval of the change excludes zero{others}."


def unparsed(results: Mapping[str, Any]) -> str:
    """One sentence: how many replies could not be parsed, before and after training."""
    before, after = (results["rows"][name] for name in ("before", "after"))
    if not before["unparsed"] and not after["unparsed"]:
        return "Every reply, before and after training, could be parsed."
    return (
        f"Replies that could not be parsed: {before['unparsed']} of {before['n']} before training, "
        f"{after['unparsed']} of {after['n']} after. They score 0 and count in every mean."
    )


def count_correlations(results: Mapping[str, Any]) -> str:
    """One sentence: how far the counts that the trained policy replies follow the true ones."""
    values = results["rows"]["after"]["count_correlation"]
    parts = [f"{value:+.2f} in {LABELS[name]}".replace("-", "\N{MINUS SIGN}") for name, value in values.items()]
    return f"The rank correlation of the counts replied after training and the true counts is {join_names(parts)}."


def collapsed_columns(scored: Sequence[ScoredReply]) -> list[str]:
    """One warning for each column of VIUBench in which nearly all replies are one text."""
    sentences = []
    for name, (task, variant) in COLUMNS.items():
        items = [item for item in scored if (item.task, item.variant) == (task, variant)]
        collapsed = collapsed_reply(items) if items else None
        if collapsed is not None:
            reply, share = collapsed
            sentences.append(
                f"{LABELS[name]}: {percent(100 * share)} of the replies after training are '{reply}', whatever the "
                "video shows. The policy has learned the constant that pays best: set train.reward_by_task to metric "
                "or strict for this task, or make it easier to see"
            )
    return sentences


def training_sentences(curves: Mapping[str, Any]) -> list[str]:
    """Sentences about train.json: loss of the warm start, sensitivity to the video, reward at start and end of GRPO."""
    sentences = []
    warmup = series(curves.get("warmup", []), "loss")
    if warmup:
        first, last = first_and_last_tenth([value for _, value in warmup])
        sentences.append(
            f"Warm start: {len(warmup):,} logged steps of supervised training changed the loss from {first:.2f} "
            f"to {last:.2f}. They teach the answer format and the basics of the tasks."
        )
    else:
        sentences.append("There was no warm start: GRPO started from a pretrained policy.")
    if "vision_sensitivity_nats" in curves:
        sentences.append(
            "A check before GRPO showed that the loss depends on the video: other pixels in its place changed the "
            f"log-probabilities of the right answers by at least {curves['vision_sensitivity_nats']:.2g} nats."
        )
    reward = series(curves.get("grpo", []), "reward")
    if reward:
        first, last = first_and_last_tenth([value for _, value in reward])
        sentences.append(
            f"GRPO: the mean smooth reward was {first:.3f} over the first tenth of {len(reward):,} logged steps and "
            f"{last:.3f} over the last."
        )
    else:
        sentences.append("No GRPO step was logged.")
    return sentences


def describe_change(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """The first and last tenth of each line, such as `Entropy: grounding 1.2 to 0.31, counting 0.5 to 0.4`."""
    parts = []
    for name, line in lines.items():
        first, last = first_and_last_tenth([value for _, value in line])
        parts.append(f"{name.rpartition('/')[2] if len(lines) > 1 else 'from'} {first:.3g} to {last:.3g}")
    return f"{title}: {', '.join(parts)}"


def series(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """(step, value) of one curve, without the rows where it is missing or not finite."""
    return [(row["step"], row[name]) for row in rows if row.get(name) is not None and math.isfinite(row[name])]


def first_and_last_tenth(values: Sequence[float]) -> tuple[float, float]:
    """Means of the first and of the last tenth of `values`, each of at least one value."""
    size = max(1, len(values) // 10)
    return sum(values[:size]) / size, sum(values[-size:]) / size


def join_names(names: Sequence[str]) -> str:
    """Such as `a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def percent(value: float) -> str:
    """Such as `41.2 %`."""
    return f"{value:.1f}\N{NO-BREAK SPACE}%"


def signed(value: float) -> str:
    """Such as `+3.1` and `−0.4`, with a true minus sign."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
