"""What is run against every peer, and which of its figures stand in the table.

The scenarios themselves are those of `refresh-relay bench`; here is only with what load.
"""

from dataclasses import dataclass, field

COST = [
    ("cpu_us_per_delivery", "CPU us/delivery"),
    ("cpu_us_per_delivery/floor", "to floor"),
    ("deliveries_per_second", "deliveries/s"),
]

LATENCY = [("p50_ms", "p50 ms"), ("p99_ms", "p99 ms"), ("p99.9_ms", "p99.9 ms"), ("max_ms", "max ms"), *COST[:1]]


@dataclass
class Scenario:
    name: str
    # (figure, heading); `figure/floor` is its ratio to the floor's.
    columns: list
    load: list = field(default_factory=list)
    # The scenario of `bench`, where it has another name.
    runs: str = ""
    # Fewer sockets than --connections.
    most_connections: int = 1_000_000
    # More than one node: only for peers whose nodes share a Redis.
    nodes: int = 1
    # Whether deliveries must tell which publish they belong to.
    numbered: bool = False

    @property
    def bench(self):
        return self.runs or self.name


SCENARIOS = [
    Scenario(
        "connect",
        [("connects_per_second", "connects/s"), ("handshake_p99_ms", "handshake p99 ms"), ("cpu_us_per_connect", "CPU us/connect")],
    ),
    Scenario(
        "idle",
        [("rss_bytes_per_socket/1024", "KB/socket"), ("cpu_us_per_second_and_socket", "CPU us/s and socket")],
        # Longer than a ping interval of 25 s.
        ["--duration", "30"],
    ),
    Scenario(
        "broadcast",
        [
            *COST,
            ("first_ms", "first ms"),
            ("median_ms", "median ms"),
            ("last_ms", "last ms"),
            ("answer_after_last_ms", "answer after last ms"),
        ],
        ["--repeat", "15"],
    ),
    Scenario("sustained", COST, ["--duration", "10"]),
    # 10,000 and 50,000 deliveries per second, over Redis. With more sockets and fewer publishes it would be the kernel's time for
    # the writes of one broadcast: to 1,000 sockets it is 4 ms.
    Scenario("latency", LATENCY, ["--duration", "10", "--rate", "100"], most_connections=100, nodes=3, numbered=True),
    Scenario(
        "latency-busy", LATENCY, ["--duration", "10", "--rate", "100"], runs="latency", most_connections=500, nodes=3, numbered=True
    ),
    Scenario(
        "stuck",
        [("without_p99_ms", "p99 ms, none stuck"), ("with_p99_ms", "p99 ms, 1 % stuck"), ("p99_with_over_without", "ratio")],
        ["--duration", "10", "--stuck-percent", "1"],
        numbered=True,
    ),
]


def by_name(names):
    known = {scenario.name: scenario for scenario in SCENARIOS}
    return [known[name] for name in names] if names else SCENARIOS
