"""Parsing of replies: whole labels, then option text, else none; orders; intervals."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videossr.evaluation.benchmarks import Item, VideoRef, parse_reply

VIDEO = (VideoRef("v.mp4"),)
LETTERS = "ABCDEFGHIJKLMN"


def choice(*options: str, labels: tuple[str, ...] = ()) -> Item:
    return Item("1", VIDEO, "?", "A", labels=labels or tuple(LETTERS[: len(options)]), options=options)


FRUIT = choice("a red apple", "a pear", "an apple", "no fruit")
YES_NO = choice("yes", "no", labels=("yes", "no"))
NUMBERED = choice("A man runs.", "A man sits.", labels=("1", "2"))
TEN = choice(*(f"option text {n}" for n in range(10)))
WINDOW = Item("1", VIDEO, "?", "24.3-30.4", windows=((24.3, 30.4),))
ORDER = Item("1", VIDEO, "?", "2,1,3")


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("B", "B"),
        ("b", "B"),
        (" (B). ", "B"),
        ("**B**", "B"),
        ("B. a pear", "B"),
        ("Answer: C", "C"),
        ("The answer is A because it is red", None),  # "A because" could be an article: no label stands alone
        ("The correct option is (C), not B.", "C"),
        ("Final answer: \\boxed{\\text{D}}", "D"),
        ("<think>A or B?</think>C", "C"),
        ("<think>I think it is B", None),
        ("<answer>B</answer> although A looks good", "B"),
        ('```json\n{"result": "B"}\n```', "B"),
        ("B\n\nThe pear is green, while A and C show apples.", "B"),
        ("It shows a pear.", "B"),
        ("It shows a red apple.", "A"),
        ("A pear or an apple", None),
        ("A man holds it", None),
        ("All of them", None),
        ("It is not B", None),
        ("E", None),
        ("AB", None),
        ("", None),
        ("A, B", None),
    ],
)
def test_a_choice_is_read_from_whole_labels_and_then_from_option_text(reply: str, label: str | None):
    assert parse_reply(FRUIT, reply) == label


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("Yes", "yes"),
        ("NO.", "no"),
        ("Yes, there is no dog.", "yes"),
        ("No, he is not.", "no"),
        ("The answer is no", "no"),
        ("There is no doubt: yes", "yes"),
        ("No dog can be seen", None),
        ("Yes and no", None),
        ("Not really", None),
        ("nope", None),
        ("A", None),
    ],
)
def test_yes_and_no_are_words_not_beginnings(reply: str, label: str | None):
    assert parse_reply(YES_NO, reply) == label


@pytest.mark.parametrize(
    ("reply", "label"),
    [("2", "2"), ("Option 2", "2"), ("(1) A man runs.", "1"), ("A man sits", "2"), ("I see 2 men", None), ("B", None)],
)
def test_a_number_is_a_label_only_where_it_is_marked_as_one(reply: str, label: str | None):
    assert parse_reply(NUMBERED, reply) == label


def test_the_pronoun_is_not_the_ninth_label():
    assert parse_reply(TEN, "I think it is B") == "B"
    assert parse_reply(TEN, "I") == "I"


def test_text_that_stands_under_two_labels_names_none():
    assert parse_reply(choice("Grey", "Grey", "Blue"), "Grey") is None


def test_a_label_comes_before_the_text_of_another_option():
    assert parse_reply(choice("B", "A"), "A") == "A"


@pytest.mark.parametrize(
    ("reply", "order"),
    [
        ("Correct order: 2, 1, 3", (2, 1, 3)),
        ("Clips 1, 2, 3 are shuffled.\nCorrect order: Clip 2, Clip 1, Clip 3", (2, 1, 3)),
        ("2 -> 1 -> 3", (2, 1, 3)),
        ("[3,1,2]", (3, 1, 2)),
        ("213", (2, 1, 3)),
        ("1, 2, 3 or 2, 1, 3", None),
        ("Correct order: 1, 1, 2", None),
        ("Correct order: 0, 1, 2", None),
        ("", None),
    ],
)
def test_an_order_is_one_permutation_of_the_clips(reply: str, order: tuple[int, ...] | None):
    assert parse_reply(ORDER, reply) == order


@pytest.mark.parametrize(
    ("reply", "interval"),
    [
        ("The event happens in the 24.3 - 30.4 seonds.", (24.3, 30.4)),
        ("30.4 - 24.3", (24.3, 30.4)),
        ("from 24.3s to 30.4s", (24.3, 30.4)),
        ("between 24 and 30 seconds", (24, 30)),
        ("It starts at 0:24 and ends at 0:30.5", (24, 30.5)),
        ("1:02:03 - 1:02:09", (3723, 3729)),
        ("[24,30]", (24, 30)),
        ("1,062 - 1,070", (1062, 1070)),
        ("24,3 - 30,4", (24.3, 30.4)),
        ("'The event happens in 24.3 - 30.4 seconds'", (24.3, 30.4)),
        ("The event 'track 1 - 2' happens in 24.3 - 30.4", (24.3, 30.4)),
        ("5 - 8, then 24.3 - 30.4", (5, 8)),
        ("24.3", None),
        ("2 people enter at 24.3", None),
        ("never", None),
        ("9" * 400 + " - " + "8" * 400, None),
    ],
)
def test_an_interval_is_read_in_the_common_forms(reply: str, interval: tuple[float, float] | None):
    assert parse_reply(WINDOW, reply) == interval


@pytest.mark.parametrize(
    "reply",
    [
        "answer is" + " " * 20_000 + "x",
        "B\n" * 10_000,
        "<answer>" * 5_000,
        "start " * 5_000,
        "1, 2, " * 5_000,
        "(" * 20_000,
    ],
)
def test_a_long_reply_of_one_thing_is_read_in_no_time(reply: str):
    start = time.monotonic()
    for item in (FRUIT, YES_NO, NUMBERED, TEN, WINDOW, ORDER):
        parse_reply(item, reply)
    assert time.monotonic() - start < 5


REPLIES = st.text(max_size=80) | st.text(alphabet="ABIabno yes123.:,-()[]\n*<>/think", max_size=60)
TEXTS = st.lists(st.text(alphabet="abcdexyz 0123456789.,'-", min_size=1, max_size=12), min_size=2, max_size=14)


@given(REPLIES)
def test_no_reply_raises(reply: str):
    for item in (FRUIT, YES_NO, NUMBERED, TEN, WINDOW, ORDER):
        parse_reply(item, reply)


@given(TEXTS, st.data())
def test_a_reply_that_is_exactly_a_label_is_that_label(options: list[str], data: st.DataObject):
    item = choice(*options)
    label = data.draw(st.sampled_from(item.labels))
    assert parse_reply(item, label) == label
    assert parse_reply(item, f"({label})") == label
    assert parse_reply(item, f"Answer: {label}") == label


@given(TEXTS, st.data())
def test_a_reply_that_is_a_label_with_its_text_is_that_label(options: list[str], data: st.DataObject):
    item = choice(*options)
    place = data.draw(st.integers(0, len(options) - 1))
    assert parse_reply(item, f"{item.labels[place]}. {options[place]}") == item.labels[place]


@given(REPLIES)
def test_a_parsed_choice_is_always_one_of_the_items_labels(reply: str):
    for item in (FRUIT, YES_NO, NUMBERED, TEN):
        assert parse_reply(item, reply) in (None, *item.labels)


@given(st.permutations(range(1, 6)))
def test_an_order_written_as_asked_is_read_back(order: list[int]):
    item = Item("1", VIDEO, "?", "1,2,3,4,5")
    assert parse_reply(item, "Correct order: " + ", ".join(map(str, order))) == tuple(order)


@given(st.floats(0, 9000).map(lambda x: round(x, 1)), st.floats(0, 9000).map(lambda x: round(x, 1)))
def test_an_interval_written_as_asked_is_read_back_in_increasing_order(start: float, end: float):
    reply = f"The event happens in the {start} - {end} seconds."
    assert parse_reply(WINDOW, reply) == (min(start, end), max(start, end))
