"""Kills daemon and broker under load, and compares every prediction: `python -m bench.chaos`.

A daemon with `[state]`, kept answers and qos 1 both ways serves many streams over a real mosquitto. A
producer goes on publishing and publishes again what is not answered; a consumer goes on listening. Daemon,
broker, or both at once are killed (SIGKILL) at random instants, the daemon while it starts too; the broker
comes back with whatever it had saved. At the end every sample must have been answered, and every answer must
be that of one uninterrupted run of the model, bit for bit.
"""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from bench.chaos_clients import RING, Answers, Consumer, Producer
from bench.chaos_processes import Broker, Daemon
from bench.networks import named
from bench.report import Findings, Goal, Row, Table
from bench.runner import reported, say, tell
from stream_rnn.model.file import save_model
from stream_rnn.model.model import Model
from stream_rnn.predictor import Predictor
from stream_rnn.sample import F32

EARLY = 0.3  # share of kills that do not wait for the daemon: it may be starting
STREAMS, RATE_HZ, WINDOW, CALM_S = 50, 1000, 60, 1.5

Victim: TypeAlias = Literal["daemon", "broker", "both"]


class Outcome(NamedTuple):
    """What became of it.

    Attributes:
        daemon: Kills of the daemon.
        early: Kills of either while the daemon started.
        broker: Kills of the broker.
        both: Kills of either that met both at once.
        samples: Published.
        missing: Samples never answered.
        different: Answers that are not those of an uninterrupted run.
        repeated: Answers that the consumer got more than once.
        sent_again: Samples that the producer published again.
        answered_again: Of these, answered from what the daemon had kept, as far as its metrics told.
        outage_s: Longest time without any answer.
        seconds: It all took.
    """

    daemon: int
    early: int
    broker: int
    both: int
    samples: int
    missing: int
    different: int
    repeated: int
    sent_again: int
    answered_again: int
    outage_s: float
    seconds: float


def victims(kills: int, chance: random.Random) -> list[Victim]:
    """Who is killed each time: three times of six the daemon, two the broker, one both; each at least once.

    Args:
        kills: How often; at least three.
        chance: Gives the order.
    """
    both, broker = max(1, kills // 6), max(1, kills // 3)
    every: list[Victim] = ["daemon"] * (kills - both - broker)
    every += ["broker"] * broker
    every += ["both"] * both
    chance.shuffle(every)
    return every


def chaos(
    folder: Path,
    binary: str,
    model: Model,
    kills: int,
    seed: int,
    *,
    streams: int,
    rate_hz: float,
    window: int,
    calm_s: float,
) -> Outcome:
    """Kill so often.

    Args:
        folder: An empty one.
        binary: mosquitto.
        model: What is served.
        kills: How often something is killed.
        seed: Of victims and instants, and of the samples.
        streams: How many.
        rate_hz: Samples a second, all streams together.
        window: Samples of a stream that may be unanswered.
        calm_s: Longest time between a start and the next kill.
    """
    chance, began = random.Random(seed), time.monotonic()  # noqa: S311 - instants, no secrets
    save_model(model, folder / "model.safetensors")
    inputs = model.card.architecture.inputs
    ring = np.random.default_rng(seed).poisson(2, (streams, RING, inputs)).astype(np.float32)
    broker, early, plan = Broker(folder, binary), 0, victims(kills, chance)
    daemon = Daemon(folder, broker.port, window)
    with contextlib.ExitStack() as stack:
        broker.start()
        stack.callback(broker.kill)
        broker.until_ready()
        daemon.start()
        stack.callback(daemon.kill)
        daemon.until_ready()
        consumer = Consumer(broker.port)
        stack.callback(consumer.stop)
        producer = Producer(broker.port, ring, rate_hz, window, consumer.answers)
        stack.callback(producer.stop)
        for number, victim in enumerate(plan, start=1):
            if chance.random() > EARLY:
                daemon.until_ready()
            time.sleep(chance.uniform(0, calm_s))
            early += not daemon.ready
            kill(victim, daemon, broker, chance)
            if number % 20 == 0:
                say(f"chaos: {number} kills, {sum(producer.sent)} samples, {time.monotonic() - began:.0f} s")
        daemon.until_ready()
        producer.stop()
        consumer.stop()
        daemon.stop()
    missing, different, repeated = compare(consumer.answers, Predictor(model), ring, producer.sent)
    both, alone = plan.count("both"), plan.count("broker")
    again = sum(consumer.answered_again.values())
    came = missing, different, repeated, producer.again, again, consumer.outage_s
    return Outcome(
        kills - alone, early, alone + both, both, sum(producer.sent), *came, time.monotonic() - began
    )


def kill(victim: Victim, daemon: Daemon, broker: Broker, chance: random.Random) -> None:
    """Kill, and begin to start again; of both, either one first."""
    killed: list[Daemon | Broker] = [daemon] if victim == "daemon" else [broker]
    if victim == "both":
        killed = [daemon, broker]
        chance.shuffle(killed)
    for one in killed:
        one.kill()
    for one in killed:
        one.start()


def compare(
    answers: Answers, predictor: Predictor, ring: F32, lengths: Sequence[int]
) -> tuple[int, int, int]:
    """How many samples have no answer, how many answers are wrong, how many came again."""
    missing = different = 0
    for stream, (xs, length) in enumerate(zip(ring, lengths, strict=True)):
        expected = predictor.run(xs[np.arange(length) % RING], f"s{stream}")
        for seq in range(length):
            got = answers.get((stream, seq), [])
            missing += not got
            different += sum(y.tobytes() != expected[seq].tobytes() for y in got)
    return missing, different, sum(map(len, answers.values())) - len(answers)


def findings(outcome: Outcome) -> Findings:
    """What was done and what came of it; two goals."""
    told = {
        "kills of the daemon (SIGKILL)": outcome.daemon,
        "kills of the broker (SIGKILL)": outcome.broker,
        "of these together with the daemon": outcome.both,
        "kills of either while the daemon started": outcome.early,
        "samples published (qos 1)": outcome.samples,
        "samples without a prediction": outcome.missing,
        "predictions unlike an uninterrupted run's, in any bit": outcome.different,
        "samples that the producer published again": outcome.sent_again,
        "repeats answered from what was kept, at least": outcome.answered_again,
        "predictions that the consumer got again": outcome.repeated,
        "longest time without any prediction, s": outcome.outage_s,
        "the run took, s": outcome.seconds,
    }
    rows = tuple(Row(name, "chaos", {"found": float(value)}) for name, value in told.items())
    table = Table(title="Kills under load", unit="of each", ours="chaos", rows=rows, ratios=False)
    goals = (
        Goal("samples without a prediction", outcome.missing, 0),
        Goal("predictions unlike an uninterrupted run's, in any bit", outcome.different, 0),
    )
    load = f"{STREAMS} streams, {RATE_HZ} samples a second, at most {WINDOW} of a stream unanswered."
    return Findings(tables=(table,), goals=goals, notes=(load,))


def main() -> None:
    """Run it as a program; 1 where anything is missing or different."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how often something is killed (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the instants and the samples (1)")
    parser.add_argument("--json", metavar="PATH", type=Path, help="write what was found here too")
    args = parser.parse_args()
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("mosquitto is not installed")
    with tempfile.TemporaryDirectory() as name:
        outcome = chaos(
            Path(name),
            binary,
            named("A"),
            args.kills,
            args.seed,
            streams=STREAMS,
            rate_hz=RATE_HZ,
            window=WINDOW,
            calm_s=CALM_S,
        )
    options = f" --kills {args.kills} --seed {args.seed}"
    tell(reported("bench.chaos", __doc__, options, findings(outcome), quick=args.kills < 200), args.json)
    sys.exit(int(outcome.missing + outcome.different > 0))


if __name__ == "__main__":
    main()
