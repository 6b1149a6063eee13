# SPDX-License-Identifier: GPL-2.0-or-later
"""Peers take turns, so that what else happens on the machine hits all of them."""
import os
import time

from .result import Measure, median_ratio

SETTLE_S = 0.3  # after images were made or removed


def settle():
    os.sync()
    time.sleep(SETTLE_S)


def alternate(peers, rounds, prepare, measure, progress):
    """measure(peer) of every peer in each of the rounds; a list of values for each peer, in order.
    Each round begins with another peer."""
    values = [[] for _ in peers]
    for number in range(rounds):
        for peer in peers:
            prepare(peer, number)
        settle()
        for i in range(len(peers)):
            at = (i + number) % len(peers)
            progress(f"round {number + 1} of {rounds}: {peers[at].label}")
            values[at].append(measure(peers[at]))
    return values


def compare(labels, values, unit):
    """Measures whose ratios are to the first of them."""
    return [
        Measure(label, one, unit, median_ratio(one, values[0]))
        for label, one in zip(labels, values)
    ]
