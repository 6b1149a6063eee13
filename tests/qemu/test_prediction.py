# SPDX-License-Identifier: GPL-2.0-or-later
"""Predictions, hints and the threshold through QMP; reads from the staging cache."""
import base64

from case import MIB, QemuTest, content, node
from lib import process

CHUNK = 64 << 10
PAGE = 4096


class PredictionCase(QemuTest):
    def start(self, **options):
        path = self.create(size="16M")
        self.daemon_, self.disk = self.daemon_with_disk(path, **options)
        self.data = content("disk", 16 * MIB)
        for offset in range(0, 16 * MIB, 1 * MIB):
            self.disk.write(offset, self.data[offset : offset + MIB])
        self.disk.flush()

    def predict(self, predictions, **arguments):
        arguments = {
            "node_name": "disk",
            "model": "test-1",
            "base_sequence": self.daemon_.info()["sequence"],
            "horizon": 60,
            "predictions": predictions,
            **arguments,
        }
        return self.daemon_.qmp.execute("predsnap-set-predictions", **arguments)

    def refused(self, *words, predictions=(), **arguments):
        said = self.refusal(self.predict, list(predictions), **arguments)
        self.assertSaysAll(said, "disk", *words)

    def prediction(self):
        return self.daemon_.info()["prediction"]

    def read_page(self, page):
        offset = page * PAGE
        self.assertEqual(self.disk.read(offset, PAGE), self.data[offset : offset + PAGE])

    def reads(self):
        return self.daemon_.info()["staging"]["read"]

    def write_page(self, page, version):
        """A page of which little depends on the version."""
        data = bytearray(self.data[page * PAGE : (page + 1) * PAGE])
        data[0:8] = version.to_bytes(8, "little")
        self.disk.write(page * PAGE, bytes(data))


class Predictions(PredictionCase):
    def test_the_built_in_rules_serve_without_them(self):
        self.start()
        info = self.prediction()
        self.assertEqual((info["source"], info["accepted"], info["chunks"]), ("heuristic", 0, 0))
        self.assertNotIn("model", info)
        for _ in range(3):
            self.read_page(40)
        self.assertEqual(self.reads()["hits"], 1)
        self.assertEqual(self.reads()["blocks"], 1)

    def test_predicted_reads_are_served_from_the_second_one_on(self):
        self.start()
        self.predict([{"offset": 0, "length": 2 * CHUNK, "write": 0, "read": 0.9, "change": 0}])
        self.read_page(3)
        self.read_page(3)
        self.assertEqual(self.reads()["hits"], 1)
        info = self.prediction()
        self.assertEqual((info["source"], info["model"], info["chunks"]), ("predictions", "test-1", 2))
        self.assertEqual(info["judging"]["reads"]["predicted"], 2)
        self.assertEqual(info["judging"]["reads"]["came-true"], 1)
        self.assertEqual(info["judging"]["reads"]["precision"], 0.5)

    def test_packed_predictions_say_the_same(self):
        self.start()
        # Chunks 0 and 1, nothing said of their writes; chunk 272, which is not on the disk.
        packed = base64.b64encode(b"\1" + b"\0\1\0\x5a\0" + b"\x8e\2\0\x64\x64\xff").decode()
        self.predict([], packed=packed)
        self.read_page(3)
        self.read_page(3)
        self.assertEqual(self.reads()["hits"], 1)
        info = self.prediction()
        self.assertEqual((info["source"], info["chunks"]), ("predictions", 2))
        self.predict([{"offset": 8 * CHUNK, "length": CHUNK, "write": 1}], packed=packed)
        self.assertEqual(self.prediction()["chunks"], 3)

    def test_predicted_pages_are_logged_as_what_differs(self):
        self.start()
        self.predict(
            [
                {"offset": 0, "length": CHUNK, "write": 0.9, "change": 0.01},
                {"offset": CHUNK, "length": CHUNK, "write": 0.9, "change": 0.9},
            ]
        )
        for version in range(2):
            self.write_page(1, version)
            self.write_page(17, version)
        self.assertEqual(self.daemon_.info()["granularity"]["deltas-written"], 1)

    def test_what_they_decide_can_be_switched_off(self):
        off = {"predict-staging": False, "predict-granularity": False, "predict-pool": False}
        self.start(**off)
        self.predict([{"offset": 0, "length": CHUNK, "write": 0.9, "read": 0.9, "change": 0.01}])
        self.read_page(3)
        self.read_page(3)
        self.assertEqual(self.reads()["hits"], 0)
        self.write_page(1, 0)
        self.write_page(1, 1)
        info = self.daemon_.info()
        self.assertEqual(info["granularity"]["deltas-written"], 0)
        self.assertEqual(info["prediction"]["predict-staging"], False)
        self.assertEqual(info["prediction"]["source"], "predictions")
        self.daemon_.qmp.execute("blockdev-reopen", options=[node("disk", self.path)])
        self.assertEqual(self.prediction()["predict-staging"], True)

    def test_they_expire_and_are_judged(self):
        self.start()
        self.predict(
            [{"offset": 0, "length": 4 * CHUNK, "write": 1}], horizon=2.5, write_rate=1000000
        )
        self.write_page(0, 1)
        self.write_page(100, 1)
        process.wait_until(lambda: "judged" in self.prediction(), "the horizon to pass")
        info = self.prediction()
        self.assertEqual((info["source"], info["expired"]), ("heuristic", 1))
        writes = info["judged"]["writes"]
        self.assertEqual((writes["predicted"], writes["came-true"], writes["used"]), (4, 1, 2))
        self.assertEqual((writes["precision"], writes["recall"]), (0.25, 0.5))
        self.assertTrue(info["judged"]["finished"])

    def test_a_snapshot_with_a_horizon_is_judged(self):
        self.start()
        self.predict([{"offset": 0, "length": 2 * CHUNK, "write": 1}])
        self.daemon_.snapshot("s", horizon=3)
        self.assertGreater(self.prediction()["wanted-horizon"], 0)
        self.write_page(0, 1)

        def forecast():
            return self.daemon_.info()["snapshots"][0]["forecast"]

        self.assertFalse(forecast()["finished"])
        process.wait_until(lambda: forecast()["finished"], "the horizon to pass")
        self.assertEqual(forecast()["model"], "test-1")
        self.assertEqual(forecast()["writes"]["recall"], 1)
        self.assertEqual(forecast()["writes"]["precision"], 0.5)


class Refused(PredictionCase):
    def test_nonsense(self):
        self.start()
        one = {"offset": 0, "length": 512, "write": 0.5, "read": 0.5, "change": 0.5}
        self.refused("within the disk", predictions=[{**one, "offset": 16 * MIB}])
        self.refused("within the disk", predictions=[{**one, "length": 0}])
        self.refused("within the disk", predictions=[{**one, "length": 2**64 - 1}])
        for member in ("write", "read", "change"):
            self.refused("from 0 to 1", predictions=[one, {**one, member: 1.01}])
            self.refused("from 0 to 1", predictions=[{**one, member: -1}])
        self.refused("name", model="")
        self.refused("name", model="m" * 256)
        for horizon in (0, -1, 86401, 1e300):
            self.refused("horizon", horizon=horizon)
        self.refused("write rate", write_rate=-1)
        self.refused("ahead", base_sequence=10**9)
        info = self.prediction()
        self.assertEqual((info["source"], info["accepted"]), ("heuristic", 0))
        self.assertGreater(info["refused"], 10)

    def test_packed_nonsense(self):
        self.start()
        for packed, why in (("!", "Base64"), ("AAAA=A", "version"), ("", "cut off"), ("Ag==", "version")):
            self.refused(why, packed=packed)
        for packed, why in ((b"\1\0", "cut off"), (b"\1\0\0\x65\0\xff", "hundredths"), (b"\1" + b"\xff" * 8, "7 bytes"),
                            (b"\1" + b"\xff" * 6 + b"\x7f\0\0\0\0", "beyond")):
            self.refused(why, packed=base64.b64encode(packed).decode())
        many = base64.b64encode(b"\1" + b"\0\0\1\1\xff" * 256).decode()
        self.predict([{"offset": 0, "length": 512}] * 65280, packed=many)
        self.refused("too many", predictions=[{"offset": 0, "length": 512}] * 65281, packed=many)
        self.assertEqual(self.prediction()["source"], "predictions")

    def test_too_many(self):
        self.start()
        one = {"offset": 0, "length": 512}
        self.refused("too many", predictions=[one] * 65537)
        self.refused("too many", predictions=[{"offset": 0, "length": 16 * MIB}] * 1025)
        self.predict([one] * 65536)
        self.assertEqual(self.prediction()["chunks"], 1)

    def test_late(self):
        self.start()
        newest = self.daemon_.info()["sequence"]
        self.predict([])
        self.refused("older", base_sequence=newest - 1)
        self.daemon_.snapshot("s")
        self.daemon_.rollback(snapshot="s", force=True)
        self.assertEqual(self.prediction()["source"], "heuristic")
        self.refused("rollback", base_sequence=newest)
        self.predict([])

    def test_unknown_nodes(self):
        self.start()
        said = self.refusal(self.predict, [], node_name="nowhere")
        self.assertSaysAll(said, "nowhere")
        self.daemon_.add({"driver": "null-co", "node-name": "other", "size": MIB})
        said = self.refusal(self.predict, [], node_name="other")
        self.assertSaysAll(said, "other", "null-co")


class HintsAndThreshold(PredictionCase):
    def hint(self, offset, length, kind, **arguments):
        self.daemon_.qmp.execute(
            "predsnap-hint", node_name="disk", offset=offset, length=length, kind=kind, **arguments
        )

    def set_threshold(self, **arguments):
        self.daemon_.qmp.execute("predsnap-set-threshold", node_name="disk", **arguments)

    def test_hints(self):
        self.start()
        self.hint(0, CHUNK, "will-read", latency_us=1000)
        self.read_page(3)
        self.read_page(3)
        self.assertEqual(self.reads()["hits"], 1)
        self.hint(CHUNK, CHUNK, "cold")
        for _ in range(4):
            self.read_page(17)
        self.assertEqual(self.reads()["hits"], 1)
        self.assertEqual(self.prediction()["hints"], 2)
        said = self.refusal(self.hint, 16 * MIB, 512, "cold")
        self.assertSaysAll(said, "disk", "within")
        said = self.refusal(self.hint, 0, 512, "cold", latency_us=-1)
        self.assertSaysAll(said, "latency")

    def test_the_threshold(self):
        self.start(threshold=0.3, adaptive=False)
        threshold = self.daemon_.info()["threshold"]
        self.assertEqual((threshold["value"], threshold["adaptive"]), (0.3, False))
        for _ in range(4):
            self.read_page(3)  # of which the last has been read three times before
        self.set_threshold(threshold=1, adaptive=False)
        for _ in range(4):
            self.read_page(100)
        self.assertGreater(self.reads()["refused"], 0)
        before = self.reads()["hits"]
        self.set_threshold(threshold=0)
        self.read_page(100)
        self.read_page(100)
        self.assertEqual(self.reads()["hits"], before + 1)
        self.set_threshold(**{"adaptive": True, "min": 0.2, "max": 0.4, "target_hit_rate": 0.5})
        threshold = self.daemon_.info()["threshold"]
        self.assertEqual(threshold["value"], 0.2)
        self.assertEqual(threshold["target-hit-rate"], 0.5)
        for wrong in ({"threshold": 2}, {"min": 0.5, "max": 0.4}, {"target_hit_rate": -1}):
            self.assertSaysAll(self.refusal(self.set_threshold, **wrong), "disk", "min")
        self.assertEqual(self.daemon_.info()["threshold"]["value"], 0.2)

    def test_options_that_make_no_sense(self):
        path = self.create(size="16M")
        daemon = self.daemon()
        for wrong in (1.5, -0.1):
            said = self.refusal(daemon.add, node("disk", path, threshold=wrong))
            self.assertSaysAll(said, "threshold", "0 to 1")

    def test_reads_are_not_staged_if_that_is_off(self):
        self.start(**{"stage-reads": False})
        for _ in range(4):
            self.read_page(3)
        self.assertEqual(self.reads()["blocks"], 0)
        self.assertFalse(self.daemon_.info()["staging"]["stage-reads"])
