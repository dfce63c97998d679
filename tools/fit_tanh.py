#!/usr/bin/env python3
"""Fits the rational tanh of `stream_rnn/kernels/activations.py` and prints its coefficients.

tanh(x) ~ x P(x^2) / Q(x^2) on [-CLAMP, CLAMP], P of degree 6, Q of degree 3, minimax in relative
error: Lawson's reweighting around Loeb's linearised least squares, on Chebyshev nodes.
"""

import numpy as np

CLAMP = 7.9053  # beyond it float32 tanh is 1 to the last bit but one
DEGREE_P, DEGREE_Q = 6, 3


def fit(nodes: int = 4000, rounds: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of P and Q, lowest power first, Q(0) = 1."""
    x = CLAMP * 0.5 * (1 - np.cos(np.pi * (np.arange(nodes) + 0.5) / nodes))
    u = (x / CLAMP) ** 2
    target = np.tanh(x) / x
    powers_p = u[:, None] ** np.arange(DEGREE_P + 1)
    powers_q = u[:, None] ** np.arange(1, DEGREE_Q + 1)
    q = np.ones(nodes)
    lawson = np.ones(nodes)
    best = (np.inf, np.empty(0), np.empty(0))
    for _ in range(rounds):
        scale = np.sqrt(lawson) / (q * target)
        rows = np.hstack([powers_p, -target[:, None] * powers_q]) * scale[:, None]
        norms = np.linalg.norm(rows, axis=0)
        solution = np.linalg.lstsq(rows / norms, target * scale, rcond=None)[0] / norms
        p, tail = solution[: DEGREE_P + 1], solution[DEGREE_P + 1 :]
        q = 1 + powers_q @ tail
        error = np.abs(powers_p @ p / q / target - 1)
        if error.max() < best[0]:
            best = (float(error.max()), p, np.concatenate([[1.0], tail]))
        lawson *= error / error.mean() + 1e-3
        lawson /= lawson.mean()
    _, p, q = best
    return p / CLAMP ** (2 * np.arange(p.size)), q / CLAMP ** (2 * np.arange(q.size))


def main() -> None:
    """Print the coefficients and how far they are from tanh."""
    exact_p, exact_q = fit()
    p, q = exact_p.astype(np.float32), exact_q.astype(np.float32)
    x = np.linspace(1e-4, CLAMP, 2_000_001).astype(np.float32)
    u = x * x
    top, bottom = np.zeros_like(x), np.zeros_like(x)
    for c in p[::-1]:
        top = top * u + c
    for c in q[::-1]:
        bottom = bottom * u + c
    error = np.abs(x * top / bottom - np.tanh(x.astype(np.float64)))
    print("P =", [float(c) for c in p])
    print("Q =", [float(c) for c in q])
    print(f"largest error in float32 arithmetic {error.max():.2e}")


if __name__ == "__main__":
    main()
