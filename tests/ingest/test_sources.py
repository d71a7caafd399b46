"""A source may be a folder, a list of paths in any spelling, or a description of videos to make."""

import itertools
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.ingesting import SMALL, ingest_path, reasons
from tests.support.videos import write_video
from videossr.errors import ConfigError, SourceError
from videossr.ingest.sources import require_usable_source


def test_the_error_for_an_unusable_source_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "one.mp4").write_bytes(b"")
    (tmp_path / "made_videos").mkdir()
    (tmp_path / "bad.yaml").write_text("num_videos: [")
    for source, words in {
        "empty": "no videos under",
        "absent": "does not exist",
        "one.mp4": "is one file",
        "made_videos": "is emptied",
        "bad.yaml": "not valid YAML",
    }.items():
        with pytest.raises((SourceError, ConfigError), match=words):
            ingest_path(tmp_path / source, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_the_error_for_an_unreadable_folder_is_one_sentence(source: Path, tmp_path: Path) -> None:
    source.chmod(0)
    with pytest.raises(SourceError, match="cannot be read"):
        ingest_path(source, tmp_path)
    source.chmod(0o755)


def test_a_list_may_name_videos_in_any_folder(source: Path, tmp_path: Path) -> None:
    good = ["my videos/a.mp4", str(source / "deep" / "d.mov")]
    names = [*good, "my videos/absent.mp4", "my videos", "my videos/deep/../c.webm", "/dev/zero", "my videos/a\tb.mp4"]
    (tmp_path / "list.txt").write_text("\n".join([*names, "", good[0]]), encoding="utf-8")
    pq.write_table(pa.table({"path": names}), tmp_path / "list.parquet")
    by_text, by_table = (ingest_path(tmp_path / name, tmp_path) for name in ("list.txt", "list.parquet"))
    assert by_text == by_table and [Path(v.path).name for v in by_text.videos] == ["a.mp4", "d.mov"]
    assert sorted(item.reason for item in by_text.rejected) == ["bad_name"] * 2 + ["unreadable"] * 3


def test_a_file_that_a_list_names_in_several_spellings_is_one_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (source / "text.mp4").write_text("no video")
    for listed in ("a.mp4", "text.mp4", "absent.mp4"):
        for names in itertools.permutations((listed, f"./{listed}", str(source / listed))):
            (source / "list.txt").write_text("\n".join(names), encoding="utf-8")
            pq.write_table(pa.table({"path": names}), source / "list.parquet")
            for kind in ("list.txt", "list.parquet"):
                inventory = ingest_path(Path("my videos") / kind, tmp_path)
                paths = [row.path for row in (*inventory.videos, *inventory.rejected)]
                assert paths == [str(Path("my videos") / names[0])]
    (tmp_path / "linked").symlink_to(source)
    (source / "list.txt").write_text(f"{tmp_path}/linked/a.mp4\na.mp4\n{source}/a.mp4\n", encoding="utf-8")
    for folder in (tmp_path / "linked", Path("linked") / ".." / "my videos"):
        inventory = ingest_path(folder / "list.txt", tmp_path)
        assert [v.path for v in inventory.videos] == [f"{tmp_path}/linked/a.mp4"] and inventory.rejected == []
    (source / "list.txt").write_text("deep/../a.mp4\na.mp4\n", encoding="utf-8")
    inventory = ingest_path(source / "list.txt", tmp_path)
    assert len(inventory.videos) == 1 and [item.reason for item in inventory.rejected] == ["bad_name"]
    (source / "deep" / "same.mp4").symlink_to(source / "a.mp4")
    (source / "list.txt").write_text("a.mp4\ndeep/same.mp4\n", encoding="utf-8")
    inventory = ingest_path(source / "list.txt", tmp_path)
    assert reasons(inventory) == {"same.mp4": "duplicate"} and len(inventory.videos) == 1


def test_a_tilde_that_names_no_user_is_part_of_the_file_name(source: Path, tmp_path: Path) -> None:
    (source / "a.mp4").rename(source / "~backup.mp4")
    (source / "deep").rename(source / "~nobody here")
    (source / "list.txt").write_text("~backup.mp4\n~nobody here/d.mov\n~no one.mp4\n~\0.mp4\n", encoding="utf-8")
    inventory = ingest_path(source / "list.txt", tmp_path)
    assert [Path(v.path).name for v in inventory.videos] == ["~backup.mp4", "d.mov"]
    assert reasons(inventory) == {"~no one.mp4": "unreadable", "~\0.mp4": "bad_name"}
    with pytest.raises(SourceError, match="does not exist"):
        ingest_path(Path("~nobody here"), tmp_path)


def test_a_list_is_split_at_line_feeds_alone_and_may_begin_with_a_byte_order_mark(source: Path, tmp_path: Path) -> None:
    odd = [f"a{character}b.mp4" for character in "\u2028\u2029 \u3000"]
    for number, name in enumerate(odd):
        write_video(source / name, 40 + number, **SMALL)
    (source / "list.txt").write_bytes("\r\n".join(["c.webm", "", *odd, "a\rb.mp4", ""]).encode("utf-8-sig"))
    inventory = ingest_path(source / "list.txt", tmp_path)
    assert [Path(v.path).name for v in inventory.videos] == ["c.webm", *odd]
    assert reasons(inventory) == {"a\rb.mp4": "bad_name"}


def test_a_source_may_be_above_the_current_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source / "deep")
    assert len(ingest_path(Path("..") / ".." / "my videos", tmp_path).videos) == 5


def test_the_error_for_a_file_that_is_not_a_list_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "text.parquet").write_text("no table")
    pq.write_table(pa.table({"name": ["a.mp4"]}), tmp_path / "other.parquet")
    (tmp_path / "empty.txt").write_text("\n")
    for name in ("bytes.txt", "text.parquet", "other.parquet"):
        with pytest.raises(SourceError, match="is not a list of videos"):
            ingest_path(tmp_path / name, tmp_path)
    with pytest.raises(SourceError, match="no videos under"):
        ingest_path(tmp_path / "empty.txt", tmp_path)
    (tmp_path / "urls.txt").write_text("a.mp4\ns3://me:secret@bucket/a.mp4\n")
    with pytest.raises(SourceError, match="contains URLs") as caught:
        ingest_path(tmp_path / "urls.txt", tmp_path)
    assert "secret" not in str(caught.value)


def test_a_description_makes_its_videos(tmp_path: Path) -> None:
    description = tmp_path / "made.yaml"
    description.write_text("num_videos: 4\nmin_seconds: 2\nmax_seconds: 3\nsize_pixels: 32\n")
    inventory = ingest_path(description, tmp_path)
    assert len(inventory.videos) == 4 and inventory.rejected == []
    assert {Path(v.path).parent for v in inventory.videos} == {tmp_path / "made_videos"}
    description.write_text("num_vidoes: 4\n")
    with pytest.raises(ConfigError, match="did you mean 'num_videos'"):
        ingest_path(description, tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("num_videos: 3\nnum_videos: 4\n", "in line 2: found duplicate key"),
        ("num_videos: 3\n\tfps: 8\n", "is not valid YAML in line 2"),
        ("camera_noise: on\n", "camera_noise must be a number, got 'on'"),
    ],
)
def test_a_description_is_read_as_params_are(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "made.yaml").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        require_usable_source("made.yaml", tmp_path / "made", below=tmp_path)


def test_an_empty_source_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="ingest.source is empty"):
        require_usable_source("", tmp_path / "made", below=tmp_path)
