"""Every entry end to end on made records in the published shape, and what stops a load."""

import gzip
import json
from pathlib import Path

import pytest

from tests.support.benchmark_records import MADE, write_document, write_made_records
from videossr.errors import BenchmarkError, ConfigError
from videossr.evaluation import BENCHMARKS, load
from videossr.evaluation.benchmarks import Item, Items, VideoRef, find_videos, parse_reply, render_prompt_text, score
from videossr.records import VIDEO_MARKER

KEYS = list(BENCHMARKS)


def load_made(key: str, folder: Path, **options: bool) -> Items:
    write_made_records(key, folder)
    return load(key, folder, **{"counts": False, **options})


def first(key: str, folder: Path) -> Item:
    return load_made(key, folder)[0]


@pytest.mark.parametrize("key", KEYS)
def test_made_records_are_asked_and_scored_from_file_to_number(key: str, tmp_path: Path):
    items = load_made(key, tmp_path)
    layout = BENCHMARKS[key].default_layout
    skipped = 1 if key == "videommmu" else 0  # its open question
    assert len(items) == 3 * len(layout.parts) - skipped
    assert len({item.id for item in items}) == len(items)
    for protocol in ("videossr", "official"):
        texts = [render_prompt_text(items.benchmark, item, protocol) for item in items]
        assert [text.count(VIDEO_MARKER) for text in texts] == [len(item.videos) for item in items]
        assert all("{" not in text for text in texts)
    result = score(items, {item.id: item.answer for item in items}, num_resamples=100)
    assert result.number.mean == pytest.approx(100, abs=0.01)
    assert result.counts.parsed == len(items)


@pytest.mark.parametrize("key", KEYS)
def test_two_loads_of_the_same_files_are_equal(key: str, tmp_path: Path):
    assert load_made(key, tmp_path).digest == load_made(key, tmp_path).digest


def test_mvbench_maps_the_gold_text_to_a_label_and_keeps_clip_bounds(tmp_path: Path):
    items = {item.id: item for item in load_made("mvbench", tmp_path)}
    item = items["action_sequence/1"]
    assert item.videos == (VideoRef("star/Charades_v1_480/V1.mp4", 1.5, 17.1),)
    assert (item.labels, item.answer, item.groups) == (("A", "B", "C"), "B", {"task": ("action_sequence",)})
    assert items["action_antonym/0"].videos == (VideoRef("ssv2_video/V0.mp4"),)


def test_mvbench_shows_folders_of_frames_at_their_rate(tmp_path: Path):
    item = {item.id: item for item in load_made("mvbench", tmp_path)}["episodic_reasoning/0"]
    assert item.videos[0].is_frame_folder
    assert item.videos[0].frames_per_second == 3


def test_tempcompass_reads_its_three_kinds_of_labels(tmp_path: Path):
    items = {item.id: item for item in load_made("tempcompass", tmp_path)}
    choice = items["multi-choice/100/action/0"]
    assert (choice.labels, choice.options[2], choice.answer) == (("A", "B", "C"), "standing up", "C")
    assert items["yes_no/100/action/0"].labels == ("yes", "no")
    caption = items["caption_matching/100/action/0"]
    assert (caption.labels, caption.options, caption.answer) == (("1", "2"), ("A man runs.", "A man sits."), "2")


def test_a_baked_in_instruction_is_not_part_of_the_question(tmp_path: Path):
    assert first("aotbench", tmp_path).question == "Is the video played forward or backward?\nA. Forward\nB. Backward"


def test_vinoground_pairs_its_items_and_splits_minor_groups(tmp_path: Path):
    item = first("vinoground", tmp_path)
    assert (item.id, item.pair, item.kind, item.cluster) == ("text/0_pos", "0", "text", "0")
    assert item.groups == {"major": ("object",), "minor": ("swap", "count")}


def test_groups_of_a_missing_side_file_are_absent(tmp_path: Path):
    write_made_records("vinoground", tmp_path)
    (tmp_path / "vinoground.csv").unlink()
    assert load("vinoground", tmp_path, counts=False)[0].groups == {}


def test_lvbench_has_several_types_a_question_and_ids_as_text(tmp_path: Path):
    item = load_made("lvbench", tmp_path)[1]
    assert item.id == "1"
    assert item.groups["question_type"] == ("entity recognition", "reasoning")


def test_longvideobench_takes_the_video_from_its_field_and_the_answer_from_a_position(tmp_path: Path):
    item = load_made("longvideobench", tmp_path)[2]
    assert (item.videos[0].path, item.answer, item.options[2]) == ("videos/2.mp4", "C", "a lamp")


def test_qvhighlights_keeps_every_window_and_clusters_by_source_video(tmp_path: Path):
    item = load_made("qvhighlights", tmp_path)[1]
    assert item.windows == ((0, 10), (40, 60))
    assert (item.cluster, item.duration_seconds) == ("a_b1", 150)


def test_tacos_windows_are_seconds(tmp_path: Path):
    item = first("tacos", tmp_path)
    assert item.windows == (pytest.approx((5.0, 10.0)),)
    assert item.duration_seconds == pytest.approx(7346 / 29.4)


def test_charades_takes_durations_from_its_side_file(tmp_path: Path):
    item = first("charadessta", tmp_path)
    assert (item.windows, item.duration_seconds, item.question) == (((0.5, 30.4),), 30.5, "person opens door 0.")


def test_videommmu_leaves_open_questions_out_and_reads_lettered_text_as_text(tmp_path: Path):
    items = load_made("videommmu", tmp_path)
    assert [item.id for item in items if item.kind == "adaptation"] == [
        "Adaptation/dev_Biology_0",
        "Adaptation/dev_Biology_1",
    ]
    assert items[0].options[2] == "A: 5, B: 6"
    assert items[0].videos[0].path == "Science/dev_Biology_0.mp4"


def test_videott_has_its_fifth_option(tmp_path: Path):
    item = first("videott", tmp_path)
    assert (item.labels[4], item.options[4], item.answer) == ("E", "None of the above", "E")
    assert "E. None of the above\nAnswer with" in render_prompt_text(BENCHMARKS["videott"], item, "videossr")


def test_vcrbench_counts_clips_from_one(tmp_path: Path):
    assert first("vcrbench", tmp_path).order == (1, 2, 4, 3)


def test_cvbench_has_as_many_videos_as_the_record_names(tmp_path: Path):
    items = load_made("cvbench", tmp_path)
    assert [len(item.videos) for item in items] == [2, 3, 2]
    assert (items[0].labels, items[0].kind) == (("Yes", "No"), "yes_no")


def test_annotations_may_lie_flat_and_compressed(tmp_path: Path):
    write_made_records("tempcompass", tmp_path / "made")
    for path in (tmp_path / "made/questions").iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert len(load("tempcompass", tmp_path, counts=False)) == 9


def test_another_number_of_questions_stops_the_load(tmp_path: Path):
    write_made_records("tacos", tmp_path)
    with pytest.raises(BenchmarkError, match=r"tacos: test.json must hold 4001 questions, got 3: .* get it from https"):
        load("tacos", tmp_path)


def test_a_folder_without_the_files_says_which_and_how_to_obtain_them(tmp_path: Path):
    with pytest.raises(BenchmarkError, match=r"charadessta needs charades_sta_test.txt in .* not found: take "):
        load("charadessta", tmp_path)


def test_a_missing_part_is_named(tmp_path: Path):
    write_made_records("videommmu", tmp_path)
    (tmp_path / "data/comprehension_video.json").unlink()
    with pytest.raises(BenchmarkError, match="needs data/comprehension_video.json in"):
        load("videommmu", tmp_path, counts=False)


def test_an_unknown_name_lists_the_benchmarks(tmp_path: Path):
    with pytest.raises(ConfigError, match="must be one of viubench, mvbench.* got 'mvbensh'"):
        load("mvbensh", tmp_path)


def test_an_unknown_layout_lists_the_layouts(tmp_path: Path):
    with pytest.raises(ConfigError, match="layout of activitynet must be one of val_2, val_1, got 'train'"):
        load("activitynet", tmp_path, layout="train")


@pytest.mark.parametrize("key", KEYS)
def test_half_a_file_is_one_sentence(key: str, tmp_path: Path):
    write_made_records(key, tmp_path)
    path = tmp_path / BENCHMARKS[key].default_layout.parts[0].paths[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    lines_only = key == "charadessta"  # a whole line may end where the file was cut: the count shows it
    with pytest.raises(BenchmarkError, match="download it again|another benchmark or version|must hold 3720"):
        load(key, tmp_path, counts=lines_only)


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b\x08broken", b"<html>not found</html>", b"\xff\xfe", b"[[]", b"null", b"[3]"]
)
@pytest.mark.parametrize("key", ["cvbench", "tacos", "videommmu", "tempcompass", "videomme", "lvbench"])
def test_a_file_of_anything_else_is_one_sentence(key: str, content: bytes, tmp_path: Path):
    write_made_records(key, tmp_path)
    (tmp_path / BENCHMARKS[key].default_layout.parts[0].paths[0]).write_bytes(content)
    with pytest.raises(BenchmarkError):
        load(key, tmp_path, counts=False)


def test_a_compressed_file_cut_short_is_one_sentence(tmp_path: Path):
    whole = gzip.compress(json.dumps(MADE["cvbench"]("")).encode())
    (tmp_path / "CVBench.json.gz").write_bytes(whole[:-20])
    with pytest.raises(BenchmarkError, match="not a complete json file .* download it again"):
        load("cvbench", tmp_path, counts=False)


@pytest.mark.parametrize(
    ("key", "name", "other"), [("activitynet", "test.json", "tacos"), ("tacos", "test.json", "activitynet")]
)
def test_the_file_of_another_benchmark_under_the_same_name_is_refused(key: str, name: str, other: str, tmp_path: Path):
    write_document(tmp_path / name, MADE[other](""))
    with pytest.raises(BenchmarkError, match="the file is of another benchmark or version"):
        load(key, tmp_path, counts=False)


@pytest.mark.parametrize("key", [key for key in KEYS if key not in ("charadessta",)])
def test_records_of_another_schema_are_refused(key: str, tmp_path: Path):
    write_made_records(key, tmp_path)
    path = tmp_path / BENCHMARKS[key].default_layout.parts[0].paths[0]
    write_document(path, [{"name": "x", "value": 1}])
    with pytest.raises(BenchmarkError, match="another benchmark or version"):
        load(key, tmp_path, counts=False)


def change(key: str, folder: Path, place: int, **fields: object) -> None:
    """Change fields of one made record of a benchmark that is a list of records."""
    rows = MADE[key]("")
    rows[place] = {name: value for name, value in {**rows[place], **fields}.items() if value is not ...}
    write_document(folder / BENCHMARKS[key].default_layout.parts[0].paths[0], rows)


@pytest.mark.parametrize(
    ("key", "fields", "sentence"),
    [
        (
            "cgbench",
            {"question": ...},
            "record 2 of cgbench_mini.json: every record needs the field 'question', got qid|position",
        ),
        ("cgbench", {"qid": 0}, "an id must occur once, but item 0: it repeats 0: mend the file, or"),
        (
            "cgbench",
            {"right_answer": "H"},
            "the answer must be one of the labels, but item 1: .*A, B, C, D, E, got 'H'",
        ),
        ("cgbench", {"choices": ["Grey"]}, "a choice must have at least two options, but item 1: it has 'Grey' alone"),
        (
            "cgbench",
            {"choices": ["Grey", "Grey"]},
            "the text of the right option must stand under one label, but item 1",
        ),
        ("cgbench", {"choices": []}, "record 2 .* needs at least one option, got none"),
        ("cgbench", {"choices": "Grey"}, "options must be a list of texts, got 'Grey'"),
        ("cgbench", {"question": " "}, "a question must have a text and a video, but item 1"),
        ("cgbench", {"question": "a <video> b"}, "a question must not hold <video>, but item 1"),
        ("cgbench", {"duration": "long"}, "'duration' must be a number, got 'long'"),
        (
            "cvbench",
            {"options": ["A. a", "B. b", "B. c"]},
            "the options must be labelled in sequence from A, but item 1",
        ),
        ("cvbench", {"options": ["A. a, B. b, C. c"]}, "the options must be a list, but item 1"),
        (
            "qvhighlights",
            {"relevant_windows": [[30, 20]]},
            "a window must end after it starts, at 0 s or later, but item 1",
        ),
        (
            "qvhighlights",
            {"relevant_windows": [[30, 160]]},
            "a window must end within the video, but item 1: it has 30-160",
        ),
        ("qvhighlights", {"relevant_windows": []}, r"the windows must be a list of \[start, end\], got \[\]"),
        ("qvhighlights", {"vid": "plain"}, "'vid' must have the form .* got 'plain'"),
        ("vcrbench", {"ground_truth": [1, 2, 3]}, "an order must be a permutation of the clips from 0"),
    ],
)
def test_a_fault_in_one_record_is_one_sentence_that_names_it(key: str, fields: dict, sentence: str, tmp_path: Path):
    change(key, tmp_path, 1, **fields)
    with pytest.raises(BenchmarkError, match=sentence):
        load(key, tmp_path, counts=False)


def test_a_subject_outside_the_table_is_one_sentence(tmp_path: Path):
    write_made_records("videommmu", tmp_path)
    path = tmp_path / "data/perception_video.json"
    path.write_text(path.read_text().replace("Biology_1", "Alchemy_1"))
    with pytest.raises(BenchmarkError, match="record 2 .*'subject' must be one of Art, .* got 'Alchemy'"):
        load("videommmu", tmp_path, counts=False)


def test_a_fault_that_the_table_knows_is_kept_as_data(tmp_path: Path):
    change("cgbench", tmp_path, 1, qid=4424, choices=["Grey", "Grey"])
    items = load("cgbench", tmp_path, counts=False)
    assert [(fault.rule, fault.item_id) for fault in items.faults] == [("answer_text_twice", "4424")]


def test_more_faults_than_the_known_count_stop_the_load(tmp_path: Path):
    rows = MADE["lvbench"]("")
    question = "What year?\n(A) 1\n(B) 1\n(C) 2"
    rows[0]["qa"] = [{**rows[0]["qa"][0], "uid": n, "question": question.replace("?", f" {n}?")} for n in range(5)]
    write_document(tmp_path / "video_info.meta.jsonl", rows)
    with pytest.raises(BenchmarkError, match="under one label, but item 4"):
        load("lvbench", tmp_path, counts=False)


def test_an_overrun_beyond_the_known_one_stops_the_load(tmp_path: Path):
    write_made_records("charadessta", tmp_path)
    for length, is_known in ((29.0, True), (28.0, False)):
        write_document(tmp_path / "Charades_v1_test.csv", [{"id": f"VID{n}", "length": length} for n in range(3)])
        if is_known:
            assert len(load("charadessta", tmp_path, counts=False).faults) == 3
        else:
            with pytest.raises(BenchmarkError, match="a window must end within the video"):
                load("charadessta", tmp_path, counts=False)


def test_check_false_loads_faulty_items_and_keeps_their_faults(tmp_path: Path):
    change("cgbench", tmp_path, 1, right_answer="H")
    items = load("cgbench", tmp_path, counts=False, check=False)
    assert [fault.rule for fault in items.faults] == ["answer_not_a_label"]
    assert parse_reply(items[1], "H") is None


def test_videos_are_found_at_their_path_or_under_another_ending_and_the_missing_are_named(tmp_path: Path):
    items = load_made("videomme", tmp_path)
    videos = tmp_path / "videos"
    (videos / "data").mkdir(parents=True)
    (videos / "data/-vid0.mp4").touch()
    (videos / "data/-vid2.mkv").touch()
    found = find_videos(items, videos)
    assert found.present == {"data/-vid0.mp4": videos / "data/-vid0.mp4", "data/-vid2.mp4": videos / "data/-vid2.mkv"}
    assert (found.missing, found.items_missing, found.num_videos, found.num_items) == (
        ("data/-vid1.mp4",),
        {"001-1"},
        3,
        3,
    )


def test_an_item_with_one_of_its_videos_missing_is_missing(tmp_path: Path):
    items = load_made("cvbench", tmp_path)
    for item in items:
        for ref in item.videos[:2]:
            (tmp_path / ref.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / ref.path).touch()
    assert find_videos(items, tmp_path).items_missing == {"1"}


def test_a_folder_of_frames_is_a_video(tmp_path: Path):
    items = [item for item in load_made("mvbench", tmp_path) if item.id.startswith("episodic")]
    (tmp_path / "tvqa/frames_fps3_hq/V0.mp4").mkdir(parents=True)
    assert len(find_videos(items, tmp_path).present) == 1
