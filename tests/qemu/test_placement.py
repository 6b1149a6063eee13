# SPDX-License-Identifier: GPL-2.0-or-later
"""What is copied to make room: to the log's end, or apart."""
from case import MIB, QemuTest, content, node
from lib import qmp

BLOCK = 65536
LASTING = 16 * MIB


class Placement(QemuTest):
    def start(self, **options):
        self.path_ = self.create(size="32M", options=[f"segment_size={MIB}"])
        self.attach(**options)

    def attach(self, **options):
        self.daemon_, self.disk = self.daemon_with_disk(self.path_, **{"cdp-window": 0, **options})

    def text(self, at):
        lines = "".join(f"{at} {i * i % 9973} the quick brown fox {i % 97};" for i in range(4000))
        return lines.encode()[:BLOCK]

    def overwrite(self, rounds):
        """Data that lasts, and amid it what is written again and again, until room is short."""
        for at in range(0, LASTING, BLOCK):
            self.disk.write(at, self.text(at))
            self.disk.write(LASTING + at % (4 * MIB), content(f"first {at}", BLOCK))
        for number in range(rounds):
            for at in range(LASTING, LASTING + 4 * MIB, BLOCK):
                self.disk.write(at, content(f"{number} {at}", BLOCK))
            self.disk.flush()


    def assertLasting(self):
        for at in range(0, LASTING, BLOCK):
            self.assertEqual(self.disk.read(at, BLOCK), self.text(at), at)

    def test_what_lasts_is_put_apart(self):
        self.start(placement="apart")
        self.overwrite(12)
        info = self.daemon_.info()
        self.assertEqual(info["placement"], "apart")
        self.assertGreater(info["stats"]["packed-bytes"], 0)
        self.assertGreater(info["packed"], LASTING // 4)
        self.assertLess(info["stats"]["moved-bytes"], info["stats"]["packed-bytes"])
        self.assertLasting()
        self.daemon_.quit()
        self.check()
        self.attach()
        self.assertLasting()
        self.daemon_.quit()

    def test_by_default_it_is_not_and_reopen_changes_it(self):
        self.start()
        self.overwrite(12)
        info = self.daemon_.info()
        self.assertEqual((info["placement"], info["stats"]["packed-bytes"]), ("log", 0))
        self.assertGreater(info["stats"]["moved-bytes"], 0)
        self.assertTrue(info["prediction"]["predict-placement"])
        options = node("disk", self.path_, **{"cdp-window": 0, "placement": "apart", "predict-placement": False})
        self.daemon_.qmp.execute("blockdev-reopen", options=[options])
        self.assertFalse(self.daemon_.info()["prediction"]["predict-placement"])
        self.overwrite(12)
        self.assertGreater(self.daemon_.info()["stats"]["packed-bytes"], 0)
        self.assertLasting()
        self.daemon_.quit()
        self.check()

    def test_what_is_predicted_to_be_written_is_left(self):
        self.start(placement="apart")
        predictions = [{"offset": 0, "length": 32 * MIB, "write": 0.9}]
        self.daemon_.qmp.execute("predsnap-set-predictions", node_name="disk", model="test", horizon=600,
                                 base_sequence=self.daemon_.info()["sequence"], predictions=predictions)
        self.overwrite(12)
        info = self.daemon_.info()
        self.assertEqual(info["stats"]["packed-bytes"], 0)
        self.assertGreater(info["stats"]["moved-bytes"], 0)
        self.assertLasting()
        self.daemon_.quit()

    def test_what_it_cannot_be_is_refused(self):
        path = self.create(size="32M")
        daemon = self.daemon()
        with self.assertRaisesRegex(qmp.QmpError, "does not accept value 'elsewhere'|placement"):
            daemon.add(node("disk", path, placement="elsewhere"))
        daemon.quit()
