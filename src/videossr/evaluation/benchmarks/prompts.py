"""The exact text of a question, in the words of a protocol."""

from videossr.errors import ConfigError
from videossr.evaluation.benchmarks.entries import PROTOCOLS, Benchmark
from videossr.evaluation.benchmarks.items import Item
from videossr.records import VIDEO_MARKER


def render_prompt_text(benchmark: Benchmark, item: Item, protocol: str) -> str:
    """The user turn of an item: one `<video>` marker a video, then the protocol's text.

    A single marker is followed by the text at once, as in the paper's evaluation; several stand on a line each. The
    system prompt and the length of the reply are in `benchmark.prompts[protocol]`. Raises ConfigError for an unknown
    protocol.
    """
    if protocol not in benchmark.prompts:
        raise ConfigError(f"a protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if item.task:
        return item.question  # of VIUBench: the markers of its clips are in it, for training and evaluation alike
    prompts = benchmark.prompts[protocol]
    template = prompts.kinds.get(item.kind, prompts.default)
    lines = zip(item.labels, item.options, strict=True)
    # The labels "yes" and "no" are the options themselves: there is no letter to put before them.
    option = prompts.option if item.kind != "yes_no" else "{text}"
    options = "\n".join(option.format(label=label, text=text) for label, text in lines)
    text = template.format_map({"question": item.question, "options": options, **item.prompt_values})
    markers = VIDEO_MARKER if len(item.videos) == 1 else f"{VIDEO_MARKER}\n" * len(item.videos)
    return markers + text
