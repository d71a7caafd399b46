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
    fell, or that rose by more than `max_step`; the clock goes on from there. Frames that repeat a time, or a single one
    that is not above the time before, are spread evenly up to the next time that rises.
    """
    rising = np.zeros(len(times), np.int64)
    step = max(1, round(frame_ticks))
    first = next((number for number, time in enumerate(times) if time is not None), 0)
    offset = first * step - (times[first] or 0 if times else 0)
    last = -step
    number = 0
    while number < len(times):
        time = times[number]
        end = _end_of_repeats(times, number)
        if time is None:
            last += step
            rising[number] = last
        elif number == 0 or 0 < time + offset - last <= max_step:
            end, last = number + 1, time + offset
            rising[number] = last
        else:
            following = times[end] if end < len(times) else None
            count = end - number
            if time + offset <= last and following is not None and count < following + offset - last <= max_step:
                for place in range(count):
                    rising[number + place] = last + (following + offset - last) * (place + 1) // (count + 1)
            else:
                rising[number:end] = last + step * np.arange(1, count + 1)
                offset = int(rising[end - 1]) - time
            last = int(rising[end - 1])
        number = end
    return rising


def _end_of_repeats(times: Sequence[int | None], number: int) -> int:
    """The number after the last frame in a row that has the time of frame `number`."""
    end = number + 1
    while times[number] is not None and end < len(times) and times[end] == times[number]:
        end += 1
    return end


def max_step_ticks(seconds_per_tick: float) -> float:
    """The longest step of a broadcast clock that is not taken for a restart, in ticks."""
    return _MAX_STEP_SECONDS / seconds_per_tick
