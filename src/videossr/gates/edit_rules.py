"""Rules for the edits of each task: which videos an edit uses, its faults, and the classes of its answer.

A task that is not in FAULTS and CLASSES is checked only by the rules that are common to all tasks.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videossr.pretext import Counting, Grounding, Jigsaw, shapes
from videossr.pretext.perturbations import PERTURBATIONS
from videossr.records import Sample, source_of

# The errors of reading an edit that does not have the form of its task.
UNREADABLE = (AttributeError, IndexError, KeyError, TypeError, ValueError)

_ROUNDING = 1e-3  # tolerance, because the numbers in edits are rounded
_POSITION_CLASSES = 5


@dataclass(frozen=True)
class AnswerClass:
    """An aspect of an answer (such as the number of circles), its value, and the value's share in a balanced set."""

    aspect: str
    value: str
    fair_share: float


def videos_used(sample: Sample) -> list[str]:
    """The ids of the sample's video and, if its edit names one, of the donor of frames."""
    params = sample.edit.get("params") if isinstance(sample.edit, Mapping) else None
    donor = params.get("donor") if isinstance(params, Mapping) else None
    return [sample.video_id] if donor is None else [sample.video_id, str(donor)]


def _grounding_faults(sample: Sample, task: Grounding, num_stored: int) -> Iterator[str]:
    edit, perturbation = sample.edit, PERTURBATIONS[sample.variant]
    start, length, num_frames = edit["start"], edit["length"], edit["num_frames"]
    if edit["perturbation"] != sample.variant:
        yield f"perturbation is {edit['perturbation']!r}, but the variant is {sample.variant!r}"
    if num_frames != task.num_frames:
        yield f"shows {num_frames} frames, not {task.num_frames}"
    if not task.min_length <= length <= task.max_length:
        yield f"length {length} is outside {task.min_length}..{task.max_length}"
    if start % task.align or length % task.align:
        yield f"start {start} and length {length} are not both multiples of {task.align}"
    if not 0 <= start <= num_frames - length:
        yield f"interval {start}..{start + length} is outside the {num_frames} shown frames"
    yield from _stride_faults(edit, perturbation.stride_ratio, num_stored)
    if perturbation.needs_donor and source_of(edit["params"].get("donor") or sample.video_id) == source_of(
        sample.video_id
    ):
        yield "has no donor, or its own video as donor"
    if "order" in edit["params"]:
        yield from _order_faults(edit["params"]["order"], length)


def _stride_faults(edit: Mapping[str, Any], ratio: tuple[int, int], num_stored: int) -> Iterator[str]:
    """Strides with another ratio than the perturbation, and shown frames that are not stored."""
    outside, inside = edit["stride"]
    if outside < 1 or outside * ratio[1] != inside * ratio[0]:
        yield f"strides {outside} and {inside} do not have the ratio {ratio[0]}:{ratio[1]}"
    # num_frames frames have num_frames - 1 steps between them: an interval at the end of the clip has one step less.
    num_inside = edit["length"] - (edit["start"] + edit["length"] >= edit["num_frames"])
    last = edit["offset"] + (edit["num_frames"] - 1 - num_inside) * outside + num_inside * inside
    if not 0 <= edit["offset"] <= last < num_stored:
        yield f"shows stored frames {edit['offset']}..{last} of {num_stored}"


def _order_faults(order: Sequence[int], length: int) -> Iterator[str]:
    if len(order) != length or not all(0 <= index < length for index in order):
        yield f"order {list(order)} does not fit {length} frames"
    elif list(order) == list(range(length)):
        yield "the order changes nothing"


def _counting_faults(sample: Sample, task: Counting, num_stored: int) -> Iterator[str]:
    edit, (max_frames, max_instances) = sample.edit, _counting_limits(sample.variant, task)
    if edit["num_frames"] != task.num_frames:
        yield f"shows {edit['num_frames']} frames, not {task.num_frames}"
    by_frame: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for shape in edit["shapes"]:
        yield from _shape_faults(shape, edit["num_frames"])
        by_frame[shape["frame"]].append(shape)
    frames_of: dict[str, list[int]] = {kind: [] for kind in shapes.KINDS}
    for frame, on_frame in sorted(by_frame.items()):
        yield from _frame_faults(frame, on_frame, max_instances)
        frames_of[on_frame[0]["kind"]].append(frame)
    for kind, frames in frames_of.items():
        if not 1 <= len(frames) <= max_frames:
            yield f"{kind}s are on {len(frames)} frames, not 1..{max_frames}"
        if any(after - before <= task.min_gap for before, after in itertools.pairwise(frames)):
            yield f"{kind}s are on frames {frames}, not all more than {task.min_gap} apart"


def _counting_limits(variant: str, task: Counting) -> tuple[int, int]:
    """The largest number of frames with the same kind of shape, and of shapes on one frame."""
    limits = {
        "easy": (task.easy_max_frames, task.easy_max_instances),
        "hard": (task.hard_max_frames, task.hard_max_instances),
    }
    return limits[variant]


def _shape_faults(shape: Mapping[str, Any], num_frames: int) -> Iterator[str]:
    name = f"the {shape['kind']} on frame {shape['frame']}"
    if not 0 <= shape["frame"] < num_frames:
        yield f"{name} is outside the {num_frames} shown frames"
    if not shapes.SIZE_RANGE[0] - _ROUNDING <= shape["size"] <= shapes.SIZE_RANGE[1] + _ROUNDING:
        yield f"{name} has size {shape['size']}, outside {shapes.SIZE_RANGE[0]}..{shapes.SIZE_RANGE[1]}"
    edge = max((1 - shapes.CENTRAL_FRACTION) / 2, shapes.bounding_radius(shape["kind"], shape["size"])) - _ROUNDING
    if not all(edge <= coordinate <= 1 - edge for coordinate in (shape["cx"], shape["cy"])):
        centre = f"{shape['cx']}, {shape['cy']}"
        yield f"{name} is centred at {centre}: outside the central part, or across the edge of the frame"
    if not all(shapes.CHANNEL_RANGE[0] <= channel <= shapes.CHANNEL_RANGE[1] for channel in shape["rgb"]):
        yield f"{name} has colour {shape['rgb']}, outside {shapes.CHANNEL_RANGE[0]}..{shapes.CHANNEL_RANGE[1]}"


def _frame_faults(frame: int, on_frame: Sequence[Mapping[str, Any]], max_instances: int) -> Iterator[str]:
    if len(on_frame) > max_instances:
        yield f"frame {frame} has {len(on_frame)} shapes, more than {max_instances}"
    if len({shape["kind"] for shape in on_frame}) > 1:
        yield f"frame {frame} has more than one kind of shape"
    if any(_shapes_overlap(first, second) for first, second in itertools.combinations(on_frame, 2)):
        yield f"shapes overlap on frame {frame}"


def _shapes_overlap(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    # Centres are fractions of width and height, sizes of the short side: shapes in a frame that is not square are
    # farther apart than this distance.
    distance = math.hypot(first["cx"] - second["cx"], first["cy"] - second["cy"])
    return distance < sum(shapes.bounding_radius(shape["kind"], shape["size"]) for shape in (first, second)) - _ROUNDING


def _jigsaw_faults(sample: Sample, task: Jigsaw, num_stored: int) -> Iterator[str]:
    order, num_clips = list(sample.edit["order"]), int(sample.variant)
    frames_per_clip = task.frames_per_clip(sample.variant)
    if sorted(order) != list(range(num_clips)):
        yield f"order {order} is not a permutation of {num_clips} clips"
    elif order == sorted(order):
        yield "the order changes nothing"
    if sample.edit["frames_per_clip"] != frames_per_clip:
        yield f"shows {sample.edit['frames_per_clip']} frames per clip, not {frames_per_clip}"
    if num_stored % (num_clips * frames_per_clip):
        yield f"{num_clips} clips of {frames_per_clip} frames do not divide the {num_stored} stored frames"


def _grounding_classes(sample: Sample, task: Grounding) -> Iterator[AnswerClass]:
    num_starts = (task.num_frames - sample.edit["length"]) // task.align + 1
    if not num_starts >= 1:  # longer than the clip, or NaN: the rule on the ranges of edits reports it
        return
    num_classes = min(_POSITION_CLASSES, num_starts)
    part = sample.edit["start"] // task.align * num_classes // num_starts + 1
    yield AnswerClass("position", f"part {part} of {num_classes}", 1 / num_classes)


def _counting_classes(sample: Sample, task: Counting) -> Iterator[AnswerClass]:
    max_frames, max_instances = _counting_limits(sample.variant, task)
    for kind, count in zip(shapes.KINDS, sample.answer.split(","), strict=True):
        yield AnswerClass(f"number of {kind}s", count, 1 / (max_frames * max_instances))


def _jigsaw_classes(sample: Sample, task: Jigsaw) -> Iterator[AnswerClass]:
    yield AnswerClass("order", sample.answer, 1 / (math.factorial(int(sample.variant)) - 1))
    for position, digit in enumerate(sample.answer, start=1):
        yield AnswerClass(f"position {position} is clip", digit, 1 / int(sample.variant))


# (sample, its task, number of stored frames of its video) -> sentences about its faults. An unreadable edit raises one
# of UNREADABLE.
FAULTS: dict[str, Callable[[Sample, Any, int], Iterator[str]]] = {
    "grounding": _grounding_faults,
    "counting": _counting_faults,
    "jigsaw": _jigsaw_faults,
}

# (sample, its task) -> the classes of its answer. An unreadable edit raises one of UNREADABLE.
CLASSES: dict[str, Callable[[Sample, Any], Iterator[AnswerClass]]] = {
    "grounding": _grounding_classes,
    "counting": _counting_classes,
    "jigsaw": _jigsaw_classes,
}
