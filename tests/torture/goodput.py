"""How soon calls are answered as often as usual after a fault."""

import bisect

# As often as usual means four fifths of it, counted in windows of this length, so many of them a second.
WINDOW_S, USUAL_SHARE, STEPS_A_SECOND = 1.0, 0.8, 10
BEFORE_S = 5.0


def good_again(answered_at: list[float], moment: float, until: float) -> tuple[float, float]:
    """Seconds after `moment` until the first window with goodput as usual begins, and until the last without has ended.

    Usual is what was answered in the 5 s before. The first is infinite where there is none, the last 0.
    """
    ordered = sorted(answered_at)

    def between(start: float, end: float) -> int:
        return bisect.bisect_left(ordered, end) - bisect.bisect_left(ordered, start)

    usual = USUAL_SHARE * between(moment - BEFORE_S, moment) / BEFORE_S * WINDOW_S
    starts = [step / STEPS_A_SECOND for step in range(int((until - moment - WINDOW_S) * STEPS_A_SECOND))]
    good = {start: between(moment + start, moment + start + WINDOW_S) >= usual for start in starts}
    first = min((start for start in starts if good[start]), default=float("inf"))
    last = max((start + WINDOW_S for start in starts if not good[start]), default=0.0)
    return first, last
