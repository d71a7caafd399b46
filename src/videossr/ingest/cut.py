"""Cut a long video into windows, each a video of its own. Worker processes import this module; it loads no tables."""

from dataclasses import dataclass, replace

from videossr.clip import Times
from videossr.frames.sampling import choose_frames, window_frames
from videossr.ingest.windows import Windows
from videossr.records import RejectedFile, Video, window_id


@dataclass(frozen=True)
class CutVideo:
    """The usable windows of a video, and those with too few frames."""

    usable: tuple[Video, ...]
    too_short: tuple[RejectedFile, ...]


def cut_into_windows(
    video: Video, times: Times, windows: Windows, min_frames: int, span: tuple[float, float]
) -> CutVideo | None:
    """The windows of `video`, whose frames have these `times`; None where it is not longer than a window.

    Only whole windows: what is left at the end, shorter than a window, is not used. A usable window has `min_frames`
    frames within the fractions `span` of it.
    """
    duration_ms, half_frame_ms = 1000 * video.duration_seconds, 500 / video.fps  # containers round their times
    if duration_ms <= windows.length_ms + half_frame_ms:
        return None
    usable, too_short = [], []
    last_start_ms = int(duration_ms + half_frame_ms) - windows.length_ms
    for start_ms in range(0, last_start_ms + 1, windows.stride_ms):
        window = _cut(video, times, start_ms, start_ms + windows.length_ms)
        part = times[window_frames(times, window.window_seconds)]
        if len(part) and choose_frames(part, min_frames, span) is not None:
            usable.append(window)
        else:
            detail = f"{len(part)} frames, but {min_frames} are needed within {span[0]:.0%} to {span[1]:.0%} of it"
            too_short.append(RejectedFile(window.name, "too_short", detail))
    return CutVideo(tuple(usable), tuple(too_short))


def _cut(video: Video, times: Times, start_ms: int, end_ms: int) -> Video:
    window = replace(video, video_id=window_id(video.video_id[:16], start_ms, end_ms))
    part = window_frames(times, window.window_seconds)
    return replace(window, duration_seconds=(end_ms - start_ms) / 1000, num_frames=part.stop - part.start)
