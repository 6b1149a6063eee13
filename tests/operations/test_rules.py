# SPDX-License-Identifier: GPL-2.0-or-later
"""Alert rules and the dashboard: they come when they should, and ask for metrics that there are."""
import json
import re
import subprocess
import unittest

from lib import paths
from lib.process import run
from lib.workdir import WorkDir
from operations_case import SERVICES

SERVED = set(re.findall(r'"(predsnapd?_[a-z0-9_]+)"', (paths.CHECKOUT / "tools/predsnapd/exposition.cc").read_text(encoding="utf-8")))


def asked(text):
    return set(re.findall(r"predsnapd?_[a-z0-9_]+", text)) - {"predsnapd_"}


class Rules(unittest.TestCase):
    def test_alerts_come_when_they_should(self):
        run(["promtool", "check", "rules", SERVICES / "predsnap.rules.yml"])
        run(["promtool", "test", "rules", SERVICES / "predsnap.rules-test.yml"])
        rules = (SERVICES / "predsnap.rules.yml").read_text(encoding="utf-8")
        tested = (SERVICES / "predsnap.rules-test.yml").read_text(encoding="utf-8")
        alerts = re.findall(r"- alert: (\w+)", rules)
        for alert in alerts:
            self.assertEqual(tested.count(f"alertname: {alert}}}"), 1, f"{alert} is not tested to stay away")
            self.assertEqual(tested.count(f'alertname="{alert}"'), 1, f"{alert} is not tested to come")

    def test_alerts_ask_for_metrics_that_are_served(self):
        rules = (SERVICES / "predsnap.rules.yml").read_text(encoding="utf-8")
        expressions = re.sub(r"(summary|description): .*|^ *#.*", "", rules, flags=re.MULTILINE)
        self.assertLessEqual(asked(expressions), SERVED)

    def test_the_dashboard_asks_for_metrics_that_are_served(self):
        dashboard = json.loads((SERVICES / "predsnap.grafana.json").read_text(encoding="utf-8"))
        expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        self.assertGreater(len(expressions), 20)
        self.assertLessEqual(asked(" ".join(expressions)), SERVED)
        with WorkDir("rules") as work:
            # promtool reads expressions in rules only.
            rules = [{"record": f"r{i}", "expr": expr.replace("$disk", ".*").replace("$instance", ".*")}
                     for i, expr in enumerate(expressions)]
            path = work / "rules.yml"
            path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}), encoding="utf-8")
            done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn(f"{len(rules)} rules found", done.stdout)
