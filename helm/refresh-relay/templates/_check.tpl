{{/* What no schema can say: values that do not go together. Each sentence tells what to do. */}}
{{- define "refresh-relay.check" -}}
{{- $redis := .Values.config.redis }}
{{- $usesRedis := include "refresh-relay.usesRedis" . }}
{{- if and (not $usesRedis) (or .Values.autoscaling.enabled (gt (int (include "refresh-relay.replicas" .)) 1)) }}
{{- fail "Several nodes need a Redis between them: set config.redis.url (or urls), or redis.inChart.enabled=true for a trial, or replicaCount=1." }}
{{- end }}
{{- if and .Values.redis.inChart.enabled (or $redis.url $redis.urls (ne $redis.mode "standalone")) }}
{{- fail "redis.inChart.enabled is a standalone Redis of its own: leave config.redis.url and urls empty and mode standalone, or turn it off." }}
{{- end }}
{{- if and (eq $redis.mode "standalone") $redis.urls }}
{{- fail "config.redis.urls is for the modes sentinel and cluster: set config.redis.mode, or use config.redis.url." }}
{{- end }}
{{- if and (ne $redis.mode "standalone") (or $redis.url (not $redis.urls)) }}
{{- fail (printf "config.redis.mode %s takes its addresses from config.redis.urls: fill that and leave config.redis.url empty." $redis.mode) }}
{{- end }}
{{- if and .Values.publish.key .Values.publish.existingSecret }}
{{- fail "publish.key and publish.existingSecret are two places for one key: leave one of them empty." }}
{{- end }}
{{- if and .Values.tls.existingSecret (or .Values.config.server.tls.cert_file .Values.config.server.tls.key_file) }}
{{- fail "tls.existingSecret and config.server.tls name two certificates: leave cert_file and key_file empty." }}
{{- end }}
{{- if ne (empty .Values.config.server.tls.cert_file) (empty .Values.config.server.tls.key_file) }}
{{- fail "A certificate and its key come together: set both config.server.tls.cert_file and key_file, or neither." }}
{{- end }}
{{- if and .Values.redis.existingSecret (or .Values.redis.password .Values.redis.sentinelPassword) }}
{{- fail "redis.existingSecret already holds the passwords: leave redis.password and redis.sentinelPassword empty." }}
{{- end }}
{{- if and .Values.redis.tls.existingSecret (not (regexMatch "(^| )rediss://" (join " " (append $redis.urls $redis.url)))) }}
{{- fail "redis.tls.existingSecret is set, but no URL starts with rediss://, so TLS would be off." }}
{{- end }}
{{- if ne (empty .Values.redis.tls.certKey) (empty .Values.redis.tls.keyKey) }}
{{- fail "A client certificate and its key come together: set both redis.tls.certKey and redis.tls.keyKey, or neither." }}
{{- end }}
{{- if eq (include "refresh-relay.publicPort" .) (include "refresh-relay.adminPort" .) }}
{{- fail "config.server.bind and config.admin.bind need different ports." }}
{{- end }}
{{- with .Values.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas." }}
{{- end }}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .targetConnectionsPerPod) }}
{{- fail "autoscaling needs a target: targetCPUUtilizationPercentage, targetConnectionsPerPod or both." }}
{{- end }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled needs at least one name in ingress.hosts." }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.enabled needs the gateway it attaches to in httpRoute.parentRefs." }}
{{- end }}
{{- end }}
