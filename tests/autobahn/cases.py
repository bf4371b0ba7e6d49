"""Runs the cases against a node per wire, and fails when one of them does.

Usage: cases.py PYTHON2 PACKAGES REPORTS [CASE...]
"""

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.relay import node

WIRES = ("direct", "actix-ws")
# Each group has a client and a node of its own, as a client runs its cases one after the other and mostly waits.
GROUPS = (("1.*", "2.*", "3.*", "4.*", "5.*"), ("6.*",), ("7.*",), ("9.*", "10.*"))

# The largest message of section 9.
LARGEST = 16 * 1024 * 1024

# Seconds for one group of cases; it takes a minute.
CLIENT_TIMEOUT = 600

# Seconds: how long the client waits for the server to end the connection once it is closed, which actix-http does late.
SERVER_CLOSES_WITHIN = 3

# Python 2 finds packages with a common namespace only in a folder that it was told of this way.
START = (
    "import site, runpy, sys; site.addsitedir({packages!r}); del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)

PASSED = ("OK", "NON-STRICT", "INFORMATIONAL")


def main(python2, packages, reports, *cases):
    groups = [cases] if cases else GROUPS
    client = [python2, "-c", START.format(packages=packages), str(Path(__file__).with_name("fuzzingclient.py"))]
    with ThreadPoolExecutor(max_workers=len(WIRES) * len(groups)) as pool:
        runs = [
            (wire, pool.submit(run, client, wire, group, Path(reports) / f"{wire}-{number}"))
            for wire in WIRES
            for number, group in enumerate(groups, start=1)
        ]
        verdicts = {wire: {} for wire in WIRES}
        for wire, one in runs:
            verdicts[wire] |= one.result()
    print(table(verdicts))
    failures = [
        f"{wire} {case}: {verdict['behavior']}, close {verdict['behaviorClose']} ({verdict['remoteCloseCode']})"
        for wire, by_case in verdicts.items()
        for case, verdict in sorted(by_case.items(), key=lambda item: numbers(item[0]))
        if not passed(verdict)
    ]
    print(*failures, f"reports: {reports}/*/index.html", sep="\n")
    return 1 if failures or not all(verdicts.values()) else 0


def run(client, wire, cases, reports):
    """The verdict of each case."""
    reports.mkdir(parents=True, exist_ok=True)
    settings = {"RELAY_WEBSOCKET__WIRE": wire, "RELAY_WEBSOCKET__MAX_MESSAGE_BYTES": str(LARGEST)}
    # Some cases send thousands of frames at once.
    settings["RELAY_WEBSOCKET__MAX_FRAMES_PER_SECOND"] = "0"
    with node(env=settings) as server, (reports / "client.log").open("w") as log:
        spec = {
            "outdir": str(reports),
            "options": {"serverConnectionDropTimeout": SERVER_CLOSES_WITHIN},
            "servers": [{"agent": wire, "url": f"ws://{server.public}/party/autobahn"}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        spec_file = reports / "spec.json"
        spec_file.write_text(json.dumps(spec))
        done = subprocess.run([*client, str(spec_file)], stdout=log, stderr=log, timeout=CLIENT_TIMEOUT)
    if done.returncode != 0:
        last = (reports / "client.log").read_text().strip().splitlines()[-1]
        sys.exit(f"the client failed with {last!r}; cases are named like 6.* and 7.5.1. Its log: {log.name}")
    return json.loads((reports / "index.json").read_text())[wire]


def passed(verdict):
    return verdict["behavior"] in PASSED and verdict["behaviorClose"] in PASSED


def numbers(case):
    return [int(number) for number in case.split(".")]


def table(verdicts):
    lines = ["section  wire      cases  verdicts"]
    sections = sorted({numbers(case)[0] for by_case in verdicts.values() for case in by_case})
    for section in sections:
        for wire, by_case in verdicts.items():
            of_section = [verdict for case, verdict in by_case.items() if numbers(case)[0] == section]
            count = Counter(verdict["behavior"] for verdict in of_section)
            shown = ", ".join(f"{number} {verdict}" for verdict, number in count.most_common())
            lines.append(f"{section:<8} {wire:<9} {len(of_section):<6} {shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
