# SPDX-License-Identifier: GPL-2.0-or-later
"""The crash tests' own judgement: every kind of wrong disk must be told from a right one."""
import random
import unittest
from array import array

from crash_model import SECTOR, Inconsistent, Ledger, numbers_of, stamped


class Stamps(unittest.TestCase):
    def test_numbers_come_back(self):
        numbers = array("Q", [3, 0, 7, 7])
        self.assertEqual(numbers_of(stamped(10, numbers), 10), numbers)

    def test_torn_misplaced_and_foreign_sectors_are_caught(self):
        good = stamped(10, array("Q", [3, 4]))
        torn = good[: SECTOR - 16] + bytes(16) + good[SECTOR:]
        misplaced = good[SECTOR:] + good[:SECTOR]
        for bad in (torn, misplaced, b"x" * (2 * SECTOR)):
            with self.assertRaisesRegex(AssertionError, "sector 10"):
                numbers_of(bad, 10)


class States(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger(8, 2)
        self.one, self.two = self.ledger.regions
        self.write(self.one, 0)
        self.write(self.two, 0)
        sent = self.ledger.tick()
        self.write(self.one, 1)
        self.ledger.flush_answered(sent)
        self.write(self.one, 0)
        self.write(self.two, 2)

    def write(self, region, start, answered=True):
        self.ledger.write(region, start, 1)
        if answered:
            self.ledger.answered(region)

    def right(self, *numbers, **limits):
        self.ledger.require_state(array("Q", numbers), **limits)

    def wrong(self, why, *numbers, **limits):
        with self.assertRaisesRegex(Inconsistent, why):
            self.right(*numbers, **limits)

    def test_every_prefix_since_the_flush_is_right(self):
        self.right(1, 0, 0, 0, 2, 0, 0, 0)
        self.right(1, 3, 0, 0, 2, 0, 0, 0)
        self.right(4, 3, 0, 0, 2, 0, 0, 0)
        self.right(4, 3, 0, 0, 2, 0, 5, 0)

    def test_lost_flushed_write(self):
        self.wrong("completed flush", 0, 0, 0, 0, 2, 0, 0, 0)
        self.wrong("completed flush", 1, 3, 0, 0, 0, 0, 0, 0)

    def test_hole_in_a_clients_order(self):
        self.wrong("never like this", 4, 0, 0, 0, 2, 0, 0, 0)

    def test_write_that_was_never_made(self):
        self.wrong("never like this", 9, 3, 0, 0, 2, 0, 0, 0)

    def test_later_write_of_another_client_without_the_earlier_one(self):
        self.wrong("another client", 1, 3, 0, 0, 2, 0, 5, 0)

    def test_request_in_flight_may_be_there_or_not(self):
        self.write(self.two, 3, answered=False)
        self.right(4, 3, 0, 0, 2, 0, 5, 0)
        self.right(4, 3, 0, 0, 2, 0, 5, 6)

    def test_moment_in_between_has_a_lower_and_an_upper_limit(self):
        asked = self.ledger.tick()
        answered = self.ledger.tick()
        self.write(self.one, 3)
        self.right(4, 3, 0, 0, 2, 0, 5, 0, after=asked, before=answered)
        self.wrong("never like this", 4, 3, 0, 6, 2, 0, 5, 0, after=asked, before=answered)
        self.wrong("completed flush", 4, 3, 0, 0, 2, 0, 0, 0, after=asked, before=answered)

    def test_random_damage_is_always_caught(self):
        draw = random.Random(1)
        ledger = Ledger(64, 1)
        region = ledger.regions[0]
        for _ in range(100):
            start = draw.randrange(60)
            ledger.write(region, start, draw.randint(1, 4))
            ledger.answered(region)
        right = ledger.now()
        ledger.require_state(right)
        for sector in range(64):
            for number in (right[sector] - 1, right[sector] + 1):
                damaged = right[:]
                damaged[sector] = max(number, 0)
                if damaged != right:
                    with self.assertRaises(Inconsistent):
                        ledger.require_state(damaged)
