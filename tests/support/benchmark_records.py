"""Made annotations of the benchmarks, three records a file, in the shape that each one is published in."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from videossr.evaluation.benchmarks import BENCHMARKS

Document = Any
LETTERS = "ABC"
SUFFIX = "\nAnswer with the option's letter from the given choices directly."


def write_made_records(key: str, folder: Path) -> None:
    """Write every annotation file that the first layout of the benchmark `key` needs, below `folder`."""
    for part in BENCHMARKS[key].default_layout.parts:
        path = folder / part.paths[0]
        write_document(path, MADE[key](path.stem))
    if key == "vinoground":
        write_document(
            folder / "vinoground.csv", [{"index": n, "major": "object", "minor": "swap;count"} for n in (0, 1)]
        )
    if key == "charadessta":
        write_document(folder / "Charades_v1_test.csv", [{"id": f"VID{n}", "length": 30.5} for n in range(3)])


def write_document(path: Path, document: Document) -> None:
    """Write a document in the format that the ending of the path names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(document), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(document[0]))
            writer.writeheader()
            writer.writerows(document)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in document), encoding="utf-8")
    else:
        text = document if isinstance(document, str) else json.dumps(document)
        path.write_text(text, encoding="utf-8")


def _viubench(_: str) -> Document:
    edits = {
        "grounding": {"num_frames": 48, "start": 4, "length": 12},
        "counting": {"num_frames": 48, "shapes": []},
        "jigsaw": {"order": [1, 0, 2, 5, 4, 3], "frames_per_clip": 8},
    }
    rows = [("grounding", "mirror", "1.0-4.0"), ("counting", "easy", "1,2,1"), ("jigsaw", "6", "213654")]
    return [
        {
            "sample_id": f"viubench/{task}/{variant}/000000",
            "task": task,
            "variant": variant,
            "video_id": "0123456789abcdef",
            "edit": json.dumps(edits[task]),
            "question": "<video>\n" * (6 if task == "jigsaw" else 1) + "What was done to the video?",
            "answer": answer,
        }
        for task, variant, answer in rows
    ]


def _mvbench(task: str) -> Document:
    bounds = {"start": 1.5, "end": 17.1} if task == "action_sequence" else {}
    candidates = ["Ate the soup.", "Closed the door.", "Took the box."]
    question = f"What happened in {task}?"
    return [
        {"video": f"V{n}.mp4", "question": question, "candidates": candidates, "answer": candidates[n], **bounds}
        for n in range(3)
    ]


def _tempcompass(kind: str) -> Document:
    rows = {
        "multi-choice": ("What does the man do?\nA. running\nB. sitting\nC.standing up", "C. standing up"),
        "yes_no": ("Is the man running?", "no"),
        "caption_matching": (
            "Which caption fits?\nOption 1: A man runs.\nOption 2: A man sits.",
            "Option 2: A man sits.",
        ),
    }
    question, answer = rows[kind]
    return {f"10{n}": {"action": [{"question": question, "answer": answer}]} for n in range(3)}


def _aotbench(name: str) -> Document:
    question = "Is the video played forward or backward?\nA. Forward\nB. Backward" + SUFFIX
    return [{"qa_idx": n, "video_name": f"{name}/v{n}.avi", "question": question, "ans": "AB"[n % 2]} for n in range(3)]


def _vinoground(name: str) -> Document:
    folder = "vinoground_videos" if "text" in name else "vinoground_videos_concated"
    question = (
        "Which caption best describes this video?\nA. a man eats, then drinks\nB. a man drinks, then eats" + SUFFIX
    )
    ids = [("0_pos", "A"), ("0_neg", "B"), ("1_pos", "B")]
    return [
        {"idx": idx, "video_name": f"{folder}/{idx}.mp4", "question": question, "GT": answer} for idx, answer in ids
    ]


def _videomme(_: str) -> Document:
    return [
        {
            "video_id": f"00{n}",
            "duration": ("short", "medium", "long")[n],
            "domain": "Knowledge",
            "sub_category": "History",
            "url": "",
            "videoID": f"-vid{n}",
            "question_id": f"00{n}-1",
            "task_type": "Counting Problem",
            "question": "How many apples are there?",
            "options": ["A. One.", "B. Two.", "C. Three.", "D. The same number."],
            "answer": LETTERS[n],
        }
        for n in range(3)
    ]


def _lvbench(_: str) -> Document:
    question = "What year appears?\n(A) 1636\n(B) 1366\n(C) 1363\n(D) 1633"
    types = [["entity recognition"], ["entity recognition", "reasoning"], ["reasoning"]]
    qa = [
        {
            "uid": n,
            "question": question,
            "answer": LETTERS[n],
            "question_type": types[n],
            "time_reference": "00:15-00:19",
        }
        for n in range(3)
    ]
    return [{"key": "vid", "type": "cartoon", "qa": qa, "video_info": {"duration_minutes": 61.0}}]


def _longvideobench(_: str) -> Document:
    return [
        {
            "id": f"@user-{n}_0",
            "video_id": f"@user-{n}",
            "video_path": f"{n}.mp4",
            "question": "What stands on the table?",
            "candidates": ["a cup", "a plate", "a lamp"],
            "correct_choice": n,
            "duration_group": 600,
            "duration": 190.16,
            "question_category": "TOS",
            "level": "L2-Relation",
            "topic_category": "News",
        }
        for n in range(3)
    ]


def _cgbench(_: str) -> Document:
    return [
        {
            "qid": n,
            "video_uid": f"uid{n}",
            "question": "What colour is the car?",
            "answer": "Grey",
            "choices": ["Grey", "Blue", "White", "Red", "Ivory"],
            "right_answer": "A",
            "clue_intervals": [[8, 11]],
            "domain": "Art & Culture",
            "sub_category": "Entity Perception",
            "duration": 2741,
        }
        for n in range(3)
    ]


def _qvhighlights(_: str) -> Document:
    windows = [[[82, 150]], [[0, 10], [40, 60]], [[20, 30]]]
    return [
        {
            "qid": n,
            "query": "A girl cooks.",
            "duration": 150,
            "vid": f"a_b{n}_210.0_360.0",
            "relevant_windows": windows[n],
        }
        for n in range(3)
    ]


def _dense(_: str) -> Document:
    sentences = ["A man lifts a weight.", " He puts it down.", " He leaves."]
    return {
        "v_1": {"duration": 55.15, "timestamps": [[0.0, 4.14], [4.14, 33.36], [33.36, 55.15]], "sentences": sentences}
    }


def _charades(_: str) -> Document:
    return "".join(f"VID{n} {n}.5 30.4##person opens door {n}.\n" for n in range(3))


def _tacos(_: str) -> Document:
    sentences = ["She took out a kiwi", "She washed it", "She cut it"]
    windows = [[147, 294], [361, 732], [780, 986]]
    return {"s30-d52.avi": {"timestamps": windows, "sentences": sentences, "fps": 29.4, "num_frames": 7346}}


def _videommmu(name: str) -> Document:
    track = name.removesuffix("_video").title()
    kinds = ["multiple-choice", "multiple-choice", "open"] if track == "Adaptation" else [None] * 3
    rows = {}
    for n, kind in enumerate(kinds):
        row = {
            "id": f"dev_Biology_{n}",
            "link_selected": f"link{n}",
            "question": f"<image 1> How many in {track}?",
            "answer": "B",
        }
        row["options"] = ["3", "4", "A: 5, B: 6"]
        rows[str(n)] = row | ({"question_type": kind} if kind else {})
    return {track: rows}


def _videott(_: str) -> Document:
    question = "Why does he laugh?\nA. a joke\nB. a dog\nC. a cat\nD. a fall"
    prompt = "E. None of the above\nSelect one best answer. Respond with only the letter (A, B, C, D or E)."
    ids = ["0008-7", "0009-7", "0010-7"]
    return [
        {
            "qid": qid,
            "video_id": qid[:4],
            "question": question,
            "question_prompt": prompt,
            "answer": "E",
            "capability": "Humour",
        }
        for qid in ids
    ]


def _vcrbench(_: str) -> Document:
    orders = [[0, 1, 3, 2], [2, 0, 1], [1, 0, 2, 4, 3]]
    return [
        {"qid": str(n + 1), "goal": "Make Tea", "video_file": f"video_{n + 1}.mp4", "ground_truth": order}
        for n, order in enumerate(orders)
    ]


def _cvbench(_: str) -> Document:
    options = [["Yes.", "No."], ["A. White.", "B. Red.", "C. Blue."], ["A. Video 1.", "B. Video 2."]]
    answers, third = ["No", "C", "A"], [None, "1/c.mp4", None]
    return [
        {
            "id": n,
            "task_type": "Cross-video Scene Recognition",
            "video_1": f"{n}/a.mp4",
            "video_2": f"{n}/b.mp4",
            "video_3": third[n],
            "video_4": None,
            "question": "What is the same in these videos?",
            "options": options[n],
            "answer": answers[n],
        }
        for n in range(3)
    ]


MADE: dict[str, Callable[[str], Document]] = {
    "viubench": _viubench,
    "mvbench": _mvbench,
    "tempcompass": _tempcompass,
    "aotbench": _aotbench,
    "vinoground": _vinoground,
    "videomme": _videomme,
    "lvbench": _lvbench,
    "longvideobench": _longvideobench,
    "cgbench": _cgbench,
    "qvhighlights": _qvhighlights,
    "activitynet": _dense,
    "charadessta": _charades,
    "tacos": _tacos,
    "videommmu": _videommmu,
    "videott": _videott,
    "vcrbench": _vcrbench,
    "cvbench": _cvbench,
}
