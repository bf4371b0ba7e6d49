"""The metrics that the relay promises: what alerts and panels may ask for."""

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

WATCHED_FILES = {"publish_secret", "publish_keys", "oidc_rules", "webhooks", "subscriber_keys", "certificate"}

# name -> (kind, labels with their fixed values; None where values are free)
METRICS = {
    "relay_connections": (GAUGE, {}),
    "relay_connections_limit": (GAUGE, {}),
    "relay_rooms": (GAUGE, {}),
    "relay_draining": (GAUGE, {}),
    "relay_nodes": (GAUGE, {}),
    "relay_connections_opened_total": (COUNTER, {}),
    "relay_connections_closed_total": (
        COUNTER,
        {"reason": {"client", "ping_timeout", "protocol", "too_big", "rate", "drain", "error", "expired", "slow"}},
    ),
    "relay_handshakes_refused_total": (
        COUNTER,
        {
            "reason": {
                "origin", "room", "full", "per_ip", "rate", "draining", "bad_request", "room_full", "room_not_allowed",
                "unauthorized", "forbidden", "issuer_unavailable",
            },
        },
    ),
    "relay_requests_refused_total": (COUNTER, {"reason": {"malformed", "head_too_large", "head_timeout"}}),
    "relay_tls_handshakes_failed_total": (COUNTER, {"reason": {"timeout", "gone", "protocol"}}),
    "relay_tls_certificate_expiry_timestamp_seconds": (GAUGE, {}),
    "relay_publishes_total": (
        COUNTER,
        {
            "api": {"partykit", "v1", "webhook"},
            "result": {
                "ok", "unconfirmed", "duplicate", "ignored", "unauthorized", "forbidden", "invalid", "rate_limited",
                "unavailable",
            },
        },
    ),
    "relay_room_queries_total": (
        COUNTER,
        {"result": {"ok", "not_found", "unauthorized", "forbidden", "invalid", "unavailable"}},
    ),
    "relay_jwks_fetches_total": (COUNTER, {"result": {"ok", "failed"}}),
    "relay_reloads_total": (COUNTER, {"file": WATCHED_FILES, "result": {"ok", "failed"}}),
    "relay_reload_failing": (GAUGE, {"file": WATCHED_FILES}),
    "relay_publications_received_total": (COUNTER, {"source": {"live", "reconcile"}}),
    "relay_deliveries_total": (COUNTER, {"outcome": {"sent", "conflated", "replayed"}}),
    "relay_confirmations_missing_total": (COUNTER, {}),
    "relay_publish_duration_seconds": (HISTOGRAM, {}),
    "relay_delivery_lag_seconds": (HISTOGRAM, {}),
    "relay_redis_link_up": (GAUGE, {}),
    "relay_redis_probe_seconds": (HISTOGRAM, {}),
    "relay_redis_reconnects_total": (COUNTER, {"cause": {"closed", "probe", "error"}}),
    "relay_redis_last_probe_timestamp_seconds": (GAUGE, {}),
    "relay_redis_mode": (GAUGE, {"mode": {"standalone", "sentinel", "cluster"}}),
    "relay_messages_unreadable_total": (COUNTER, {}),
    "relay_build_info": (GAUGE, {"version": None, "revision": None}),
    "process_cpu_seconds_total": (COUNTER, {}),
    "process_resident_memory_bytes": (GAUGE, {}),
    "process_open_fds": (GAUGE, {}),
    "process_max_fds": (GAUGE, {}),
    "process_start_time_seconds": (GAUGE, {}),
}

# What Prometheus itself adds: a series, and labels of the target.
BUILT_IN = {"up"}
TARGET_LABELS = {"namespace", "job", "instance", "pod"}


def series():
    """Every series name that may be asked for -> (metric, labels)."""
    names = {}
    for metric, (kind, labels) in METRICS.items():
        if kind == HISTOGRAM:
            names[f"{metric}_bucket"] = (metric, labels | {"le": None})
            names[f"{metric}_sum"] = (metric, labels)
            names[f"{metric}_count"] = (metric, labels)
        else:
            names[metric] = (metric, labels)
    return names
