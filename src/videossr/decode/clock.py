"""From the times that a decoder gives to frames to times that rise: as players show them."""

from collections.abc import Sequence

import numpy as np

from videossr.clip import Ticks

# Players take a longer step of a broadcast clock for a restart and not for a pause (mpv: 60 seconds).
_MAX_STEP_SECONDS = 60.0


def best_effort_ticks(pts: Sequence[int | None], dts: Sequence[int | None]) -> list[int | None]:
    """The best-effort time of each frame of a full decode, from the presentation and decoding times that it carries.

    This is FFmpeg's rule (`guess_correct_pts`): presentation times are used until they have fallen more often than
    decoding times.
    """
    times: list[int | None] = []
    last_pts = last_dts = -(2**63)
    faulty_pts = faulty_dts = 0
    for frame_pts, frame_dts in zip(pts, dts, strict=True):
        if frame_dts is not None:
            faulty_dts += frame_dts <= last_dts
            last_dts = frame_dts
        elif frame_pts is not None:
            last_dts = frame_pts
        if frame_pts is not None:
            faulty_pts += frame_pts <= last_pts
            last_pts = frame_pts
        elif frame_dts is not None:
            last_pts = frame_dts
        is_pts_right = frame_pts is not None and (faulty_pts <= faulty_dts or frame_dts is None)
        times.append(frame_pts if is_pts_right else frame_dts)
    return times


def rising_ticks(times: Sequence[int | None], frame_ticks: float, max_step: float = float("inf")) -> Ticks:
    """Times that rise from 0, int64 [N]: `times` where they rise; a clock that restarts is continued.

    A frame without a time follows `frame_ticks` after the one before, and so does the first frame after a clock that
    fell, or that rose by more than `max_step`; the clock goes on from there. A single time that is not above the one
    before is replaced by one between its neighbours.
    """
    rising = np.zeros(len(times), np.int64)
    step = max(1, round(frame_ticks))
    offset = -next((time for time in times if time is not None), 0)
    last = -step
    for number, time in enumerate(times):
        shown = last + step if time is None else time + offset
        if time is not None and number and not 0 < shown - last <= max_step:
            following = next((later + offset for later in times[number + 1 : number + 2] if later is not None), None)
            if following is not None and last + 1 < following <= last + max_step and shown <= last:
                shown = (last + following) // 2
            else:
                offset += last + step - shown
                shown = last + step
        rising[number] = last = shown
    return rising


def max_step_ticks(seconds_per_tick: float) -> float:
    """The longest step of a broadcast clock that is not taken for a restart, in ticks."""
    return _MAX_STEP_SECONDS / seconds_per_tick
