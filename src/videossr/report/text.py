"""The report's sentences: what the figures say, in words that do not say more than the intervals allow."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from videossr.evaluation.intervals import MIN_VIDEOS

FEW_VIDEOS = 20  # below it, percentile intervals are noticeably too narrow

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

ANSWERERS = {
    "random": "Random guess",
    "constant": "Best constant answer",
    "before": "Before training",
    "after": "After training",
}


def verdict(results: Mapping[str, Any]) -> str:
    """One sentence: did training help, by how much, and can chance explain it. `results` is viubench.json."""
    gained = results["gain"]
    if too_few(results):
        return (
            f"The score on VIUBench changed by {signed(gained['overall'])} points, but on so few videos that chance "
            "cannot be told from learning."
        )
    low, high = gained["ci95"]
    interval = f"95 % interval {signed(low)} to {signed(high)}"
    if not gained["significant"]:
        return (
            f"Training made no difference that this benchmark can show: {signed(gained['overall'])} points on VIUBench "
            f"({interval}), which chance alone can explain."
        )
    if gained["overall"] < 0:
        return f"Training made the model worse: {signed(gained['overall'])} points on VIUBench ({interval})."
    return (
        f"Training helped: {signed(gained['overall'])} points on VIUBench ({interval}), on videos the model was not "
        "trained on. That is more than chance explains."
    )


def against_blind(results: Mapping[str, Any]) -> str:
    """One sentence: does the trained policy beat the best answer that can be given without looking."""
    rows = results["rows"]
    name = max(("random", "constant"), key=lambda blind: rows[blind]["overall"])
    blind, after = rows[name]["overall"], rows["after"]
    low = after["ci95"]["overall"][0]
    after_training = f"After training it scores {percent(after['overall'])}"
    floor = f"the best blind answerer ({ANSWERERS[name].lower()}, {percent(blind)})"
    if low > blind:
        return f"{after_training}, clearly above {floor}: it looks at the video."
    if after["overall"] > blind:
        return f"{after_training}, above {floor}, but not beyond doubt."
    return f"{after_training}, no better than {floor}: it may not be looking at all."


def caution(results: Mapping[str, Any]) -> str | None:
    """A warning where the benchmark is too small for its intervals to be trusted, else None."""
    videos = results["rows"]["after"]["videos"]
    if videos >= FEW_VIDEOS:
        return None
    rests = f"The benchmark rests on {videos} {'video' if videos == 1 else 'videos'}. "
    if too_few(results):
        return rests + (
            f"No 95 % interval can be drawn from fewer than {MIN_VIDEOS}, so all are left open: give more videos, or a "
            "larger share of them to the benchmark (ingest.bench_fraction)."
        )
    return rests + (
        f"Intervals from so few tend to be too narrow: take at least {FEW_VIDEOS} benchmark videos before you trust a "
        "small difference."
    )


def too_few(results: Mapping[str, Any]) -> bool:
    """Whether the benchmark has too few videos for any interval."""
    return bool(results["rows"]["after"]["videos"] < MIN_VIDEOS)


def columns_moved(results: Mapping[str, Any]) -> str:
    """One sentence: which columns rose or fell beyond their own interval."""
    columns = results["gain"]["columns"]
    if too_few(results):
        return "Taken one by one, no column can be told from chance on so few videos."
    rose = [LABELS[name] for name, one in columns.items() if one["ci95"][0] > 0]
    fell = [LABELS[name] for name, one in columns.items() if one["ci95"][1] < 0]
    parts = [f"rose in {listed(rose)}"] if rose else []
    parts += [f"fell in {listed(fell)}"] if fell else []
    still = len(columns) - len(rose) - len(fell)
    if not parts:
        return "Taken one by one, no column moved beyond its own 95 % interval."
    rest = f"; the other {still} did not move beyond theirs" if still else ""
    return f"Taken one by one, and beyond its own 95 % interval, the score {' and '.join(parts)}{rest}."


def unparsed(results: Mapping[str, Any]) -> str:
    """One sentence: how many replies were in no readable form, before and after."""
    before, after = (results["rows"][name] for name in ("before", "after"))
    if not before["unparsed"] and not after["unparsed"]:
        return "Every reply, before and after, was in the form that was asked for."
    return (
        f"Replies not in the form that was asked for: {before['unparsed']} of {before['n']} before, "
        f"{after['unparsed']} of {after['n']} after. They score 0 and stay in every mean."
    )


def trained(curves: Mapping[str, Any]) -> list[str]:
    """What train.json tells: warm-up loss, whether the loss sees the video, reward at both ends of the GRPO steps."""
    sentences = []
    warmup = series(curves.get("warmup", []), "loss")
    if warmup:
        first, last = ends([value for _, value in warmup])
        sentences.append(
            f"Warm start: {len(warmup):,} logged steps of supervised training took the loss from {first:.2f} to "
            f"{last:.2f}. It teaches the form of an answer and a first idea of the tasks."
        )
    else:
        sentences.append("There was no warm start: the policy had been trained before and went straight to GRPO.")
    if "vision_sensitivity_nats" in curves:
        sentences.append(
            "Before GRPO began it was proved that the loss depends on what is seen: other pixels in the video's place "
            f"moved the log-probabilities of the right answers by up to {curves['vision_sensitivity_nats']:.2g} nats."
        )
    reward = series(curves.get("grpo", []), "reward")
    if reward:
        first, last = ends([value for _, value in reward])
        sentences.append(
            f"GRPO: the mean smooth reward was {first:.3f} over the first tenth of {len(reward):,} logged steps and "
            f"{last:.3f} over the last."
        )
    else:
        sentences.append("No GRPO step was logged.")
    return sentences


def course(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """`Entropy, nats a token: grounding 1.2 to 0.31, counting 0.5 to 0.4`: first and last tenth of each line."""
    parts = []
    for name, line in lines.items():
        first, last = ends([value for _, value in line])
        parts.append(f"{name.rpartition('/')[2] if len(lines) > 1 else 'from'} {first:.3g} to {last:.3g}")
    return f"{title}: {', '.join(parts)}"


def series(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """(step, value) of one curve; rows without it, or with no number in it, are left out."""
    return [(row["step"], row[name]) for row in rows if row.get(name) is not None and math.isfinite(row[name])]


def ends(values: Sequence[float]) -> tuple[float, float]:
    """Means of the first and of the last tenth (at least one value each)."""
    size = max(1, len(values) // 10)
    return sum(values[:size]) / size, sum(values[-size:]) / size


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def percent(value: float) -> str:
    """`41.2 %`."""
    return f"{value:.1f}\N{NO-BREAK SPACE}%"


def signed(value: float) -> str:
    """`+3.1`, `−0.4` with a true minus sign."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
