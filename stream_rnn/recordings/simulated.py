"""A seeded motor cortex that reaches for targets: spike counts with the hand's velocity. Knows no clock.

The hand rests, sees a random target, and reaches for it along a straight line of least jerk (Flash & Hogan,
"The coordination of arm movements", J. Neurosci. 5, 1985), from s = 0 to 1 while tau goes from 0 to 1:

    s(tau) = 10 tau^3 - 15 tau^4 + 6 tau^5

Each unit fires most for movement in its preferred direction p, less by the cosine of the angle to it
(Georgopoulos et al., J. Neurosci. 2, 1982). The tuning grows with speed, speed alone adds to it, and the
firing leads the hand by about 100 ms (Moran & Schwartz, J. Neurophysiol. 82, 1999):

    rate(t) = max(0, baseline + depth * (p . v(t + lead) + speed_share * |v(t + lead)|))

Spikes are Poisson counts per bin. A seed is one animal: its units stay the same from day to day; what it
reaches for, and its spikes, differ. The same arguments give the same numbers on one machine and build.
"""

from collections.abc import Iterator
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_rnn.errors import ConfigError
from stream_rnn.recordings.table import Recording, last_fifth
from stream_rnn.sample import F32

F64: TypeAlias = NDArray[np.float64]

HALF_WIDTH_CM = 10.0  # targets lie in a square of 20 cm around the origin
LEAST_REACH_CM = 4.0  # a nearer target would hardly be a movement
REACTION_S = (0.15, 0.30)  # target seen -> hand moves
DWELL_S = (0.10, 0.40)  # target reached -> next target
TEMPO_S = (0.35, 0.55)  # a reach takes this long, and
TEMPO_S_PER_CM = 0.02  # this much more for each cm of the way

BASELINE_HZ = (5.0, 20.0)
DEPTH_HZ_PER_CM_S = (0.1, 0.6)  # few units are strong, as in the field's recordings
SPEED_SHARE = (0.0, 0.5)
LEAD_S = (0.06, 0.14)

LEAST_RATE_HZ = 10.0  # below, a reach is a handful of bins and no movement is left to decode
BLOCK_BINS = 8192  # bounds the memory of a long simulation; changes no number


class Tuning(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """What each of U units answers to.

    Attributes:
        preferred: Unit vectors of the preferred directions, (U, 2).
        baseline_hz: Rate while the hand rests, (U,).
        depth: Rise of the rate with velocity in the preferred direction, Hz per cm/s, (U,).
        speed_share: Part of `depth` with which mere speed raises the rate, (U,).
        lead_s: How long the firing comes before the movement, (U,).
    """

    preferred: F64
    baseline_hz: F64
    depth: F64
    speed_share: F64
    lead_s: F64


class Activity(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """T bins of the simulation.

    Attributes:
        x: Spike counts, (T, U).
        y: Velocity of the hand at the start of the bin, (T, 2), in cm/s.
        position: Position of the hand at the start of the bin, (T, 2), in cm.
        target: Where the hand is asked to go, (T, 2), in cm.
    """

    x: F32
    y: F32
    position: F32
    target: F32


class SimulatedCortex:
    """A live feed: the bins of one day, one after another, in pieces of any length.

    >>> cortex = SimulatedCortex(units=64, rate_hz=100, seed=7)
    >>> x, y = cortex.step()
    >>> x.shape, y.shape, cortex.take(500).x.shape
    ((64,), (2,), (500, 64))

    Attributes:
        tuning: What each unit answers to.
        rate_hz: Bins per second.
        position: Position of the hand in the last bin given, (2,), in cm.
        target: Target in the last bin given, (2,), in cm.
    """

    def __init__(self, *, units: int, rate_hz: float, seed: int, day: int = 0) -> None:
        """Raises ConfigError where a number makes no simulation."""
        if units < 1:
            raise ConfigError(f"simulated cortex: expected 1 unit or more, got {units}")
        if not LEAST_RATE_HZ <= rate_hz < np.inf:
            raise ConfigError(
                f"simulated cortex: expected rate_hz of {LEAST_RATE_HZ:g} or more, got {rate_hz:g}"
            )
        if seed < 0 or day < 0:
            raise ConfigError(f"simulated cortex: expected seed and day of 0 or more, got {seed} and {day}")
        self.rate_hz = float(rate_hz)
        self.tuning = draw_tuning(units, seed)
        self.position = np.zeros(2, dtype=np.float32)
        self.target = np.zeros(2, dtype=np.float32)
        self._lead_bins = np.rint(self.tuning.lead_s * rate_hz).astype(np.int64)
        self._spikes = np.random.default_rng([seed, 1, day])
        self._reaches = reaches(np.random.default_rng([seed, 2, day]), self.rate_hz)
        self._path = np.zeros((0, 6))  # rows ahead: position, velocity, target
        self._at = 0  # the next bin's row in it

    def step(self) -> tuple[F32, F32]:
        """The next bin: spike counts, (U,), and velocity of the hand, (2,), in cm/s."""
        activity = self.take(1)
        return activity.x[0], activity.y[0]

    def take(self, bins: int) -> Activity:
        """The next bins, at least one. However they are cut, the numbers are the same."""
        if bins < 1:
            raise ConfigError(f"simulated cortex: expected 1 bin or more, got {bins}")
        self._plan(bins + int(self._lead_bins.max()))
        # Poisson draws go row by row, and the rates below are sums without BLAS: no cut changes a bit.
        x = self._spikes.poisson(self._rates_hz(bins) / self.rate_hz).astype(np.float32)
        rows = self._path[self._at : self._at + bins].astype(np.float32)
        self._at += bins
        self.position, self.target = rows[-1, :2], rows[-1, 4:]
        return Activity(x=x, y=rows[:, 2:4].copy(), position=rows[:, :2].copy(), target=rows[:, 4:].copy())

    def _plan(self, bins: int) -> None:
        """Reach on until the path holds so many bins ahead."""
        ahead = len(self._path) - self._at
        if ahead >= bins:
            return
        pieces = [self._path[self._at :]]
        while ahead < bins:
            pieces.append(next(self._reaches))
            ahead += len(pieces[-1])
        self._path, self._at = np.concatenate(pieces), 0

    def _rates_hz(self, bins: int) -> F64:
        """Firing rates of the next bins, (bins, U)."""
        rows = self._at + np.arange(bins)[:, None] + self._lead_bins
        vx, vy = self._path[rows, 2], self._path[rows, 3]
        tuning = self.tuning
        along = vx * tuning.preferred[:, 0] + vy * tuning.preferred[:, 1]
        drive = along + tuning.speed_share * np.sqrt(vx * vx + vy * vy)
        rates_hz: F64 = np.maximum(0.0, tuning.baseline_hz + tuning.depth * drive)
        return rates_hz


def simulate(seconds: float, units: int, *, seed: int, rate_hz: float = 100.0, day: int = 0) -> Recording:
    """Record the first seconds of a `SimulatedCortex`; the last 20 % are test rows.

    Raises:
        ConfigError: A number makes no simulation.
    """
    cortex = SimulatedCortex(units=units, rate_hz=rate_hz, seed=seed, day=day)
    T = round(seconds * rate_hz) if 0 < seconds < np.inf else 0
    if T < 1:
        raise ConfigError(f"simulated cortex: expected time for 1 bin or more, got {seconds:g} s")
    pieces = [cortex.take(min(BLOCK_BINS, T - start)) for start in range(0, T, BLOCK_BINS)]
    recording = np.zeros(T, dtype=np.int32)
    name = f"simulated_seed{seed}_day{day}"
    return Recording(
        name=name,
        x=np.concatenate([piece.x for piece in pieces]),
        y=np.concatenate([piece.y for piece in pieces]),
        rate_hz=cortex.rate_hz,
        x_names=tuple(f"unit{i:0{len(str(units - 1))}}" for i in range(units)),
        y_names=("velocity_x", "velocity_y"),
        x_units=("spikes",) * units,
        y_units=("cm/s", "cm/s"),
        is_test=last_fifth(recording),
        recording=recording,
        recording_names=(name,),
    )


def draw_tuning(units: int, seed: int) -> Tuning:
    """The units of the animal that has this seed."""
    rng = np.random.default_rng([seed, 0])
    angle = rng.uniform(0.0, 2.0 * np.pi, units)
    low, high = DEPTH_HZ_PER_CM_S
    return Tuning(
        preferred=np.stack([np.cos(angle), np.sin(angle)], axis=1),
        baseline_hz=rng.uniform(*BASELINE_HZ, units),
        depth=low + (high - low) * rng.uniform(0.0, 1.0, units) ** 2,
        speed_share=rng.uniform(*SPEED_SHARE, units),
        lead_s=rng.uniform(*LEAD_S, units),
    )


def reaches(rng: np.random.Generator, rate_hz: float) -> Iterator[F64]:
    """Reach after reach without end, from the origin: rows of position, velocity and target, (bins, 6)."""
    start = np.zeros(2)
    while True:
        target = _next_target(rng, start)
        way_cm = float(np.hypot(*(target - start)))
        before, after = (round(rng.uniform(*span) * rate_hz) for span in (REACTION_S, DWELL_S))
        moving = round((rng.uniform(*TEMPO_S) + TEMPO_S_PER_CM * way_cm) * rate_hz)
        s, rate = minimum_jerk(moving)
        s = np.concatenate([np.zeros(before), s, np.ones(after)])
        rate = np.concatenate([np.zeros(before), rate * rate_hz, np.zeros(after)])
        position = start + s[:, None] * (target - start)
        velocity = rate[:, None] * (target - start)
        yield np.concatenate([position, velocity, np.broadcast_to(target, position.shape)], axis=1)
        start = target


def minimum_jerk(bins: int) -> tuple[F64, F64]:
    """Part of the way done at the start of each bin, (bins,), and its rise per bin there, (bins,)."""
    tau = np.arange(bins) / bins
    s: F64 = tau**3 * (10.0 - 15.0 * tau + 6.0 * tau**2)
    rate: F64 = 30.0 * tau**2 * (1.0 - tau) ** 2 / bins
    return s, rate


def _next_target(rng: np.random.Generator, start: F64) -> F64:
    while True:
        target = rng.uniform(-HALF_WIDTH_CM, HALF_WIDTH_CM, 2)
        if np.hypot(*(target - start)) >= LEAST_REACH_CM:
            return target
