"""The exact text of prompts."""

from pathlib import Path

import pytest

from tests.support.benchmark_records import write_made_records
from videossr.errors import ConfigError
from videossr.evaluation import BENCHMARKS, load
from videossr.evaluation.benchmarks import render_prompt_text


def prompt(key: str, folder: Path, protocol: str, place: int = 0) -> str:
    write_made_records(key, folder)
    return render_prompt_text(BENCHMARKS[key], load(key, folder, counts=False)[place], protocol)


def test_the_papers_question_has_its_options_and_its_suffix(tmp_path: Path):
    assert prompt("cgbench", tmp_path, "videossr") == (
        "<video>What colour is the car?\nA. Grey\nB. Blue\nC. White\nD. Red\nE. Ivory\n"
        "Answer with the option letter directly."
    )


def test_the_official_options_have_the_form_of_their_benchmark(tmp_path: Path):
    assert prompt("mvbench", tmp_path, "official") == (
        "<video>Question: What happened in action_antonym?\nOptions:\n(A) Ate the soup.\n(B) Closed the door.\n"
        "(C) Took the box.\nOnly give the best option."
    )


def test_the_papers_grounding_prompt_is_verbatim_and_leaves_the_stop_of_the_caption(tmp_path: Path):
    text = prompt("charadessta", tmp_path, "videossr")
    assert "in the 24.3 - 30.4 seonds. Now I will give you the textual sentence: person opens door 0. Please" in text


@pytest.mark.parametrize("key", ["qvhighlights", "activitynet", "charadessta", "tacos"])
def test_the_official_grounding_prompt_does_not_leak_a_question(key: str, tmp_path: Path):
    assert "24.3" in prompt(key, tmp_path, "videossr")
    assert "24.3" not in prompt(key, tmp_path, "official")


def test_several_videos_stand_before_the_question(tmp_path: Path):
    assert prompt("cvbench", tmp_path, "videossr", 1).startswith("<video>\n<video>\n<video>\nWhat is the same")


def test_questions_of_yes_and_no_have_no_letters(tmp_path: Path):
    text = prompt("cvbench", tmp_path, "official")
    assert "Respond with only the word (Yes or No) of the correct option.\n" in text
    assert text.endswith("\nWhat is the same in these videos?\nYes\nNo\nThe best answer is:")


def test_the_prompt_of_vcrbench_keeps_its_trailing_spaces(tmp_path: Path):
    text = prompt("vcrbench", tmp_path, "official")
    assert text.count("Make Tea. \n") == 2
    assert text.endswith("Correct order: <mention the Clip numbers separated by a comma>\n")


def test_adaptation_questions_say_where_their_image_is(tmp_path: Path):
    assert "The image for this question is at the end of the video.\n" in prompt("videommmu", tmp_path, "official", 6)
    assert "Please ignore the Quiz question in last frame" in prompt("videommmu", tmp_path, "official", 0)


def test_an_unknown_protocol_lists_the_protocols(tmp_path: Path):
    with pytest.raises(ConfigError, match="a protocol must be one of videossr, official, got 'paper'"):
        prompt("cgbench", tmp_path, "paper")
