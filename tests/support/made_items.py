"""Items of a benchmark made in memory, for tests of scores and comparisons."""

from videossr.evaluation.benchmarks import BENCHMARKS, Item, Items, VideoRef

OPTIONS = ("red", "yellow", "blue", "white")


def items_of(key: str, items: list[Item]) -> Items:
    """These items as those of the benchmark `key`."""
    return Items(BENCHMARKS[key], next(iter(BENCHMARKS[key].layouts)), tuple(items))


def choice(name: str, answer: str, **fields: object) -> Item:
    """A question with the labels A to D on a video of its own."""
    given = {"cluster": name, **fields}
    return Item(name, (VideoRef(f"{name}.mp4"),), "Which colour?", answer, tuple("ABCD"), OPTIONS, **given)
