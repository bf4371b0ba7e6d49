{{/* The relay's settings file. */}}

{{/* `config` of the values, and what the chart knows better: its own Redis, and where it mounts certificates. */}}
{{- define "refresh-relay.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if .Values.redis.inChart.enabled }}
{{- $_ := set $config.redis "url" (printf "redis://%s-redis:6379" (include "refresh-relay.fullname" .)) }}
{{- end }}
{{- with .Values.redis.tls }}
{{- if .existingSecret }}
{{- $files := dict "ca_file" (ternary "redis-ca.crt" "" (ne .caKey "")) "cert_file" (ternary "redis-tls.crt" "" (ne .certKey "")) "key_file" (ternary "redis-tls.key" "" (ne .keyKey "")) }}
{{- range $setting, $file := $files }}
{{- if $file }}
{{- $_ := set $config.redis.tls $setting (printf "%s/%s" (include "refresh-relay.secretsPath" $) $file) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.tls.existingSecret }}
{{- $_ := set $config.server.tls "cert_file" (printf "%s/tls.crt" (include "refresh-relay.secretsPath" .)) }}
{{- $_ := set $config.server.tls "key_file" (printf "%s/tls.key" (include "refresh-relay.secretsPath" .)) }}
{{- end }}
{{- include "refresh-relay.toml" (dict "table" $config "path" "") | trim }}
{{- end }}

{{/* A table as TOML: first its values, then its tables. JSON's way of writing a text, number, boolean or list is TOML's too.
     Empty texts are left out, so that the program's own default holds. */}}
{{- define "refresh-relay.toml" -}}
{{- $path := .path }}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value) (eq (toString $value) "")) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $name := ternary $key (printf "%s.%s" $path $key) (eq $path "") }}
{{- with include "refresh-relay.toml" (dict "table" $value "path" $name) | trim }}

[{{ $name }}]
{{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* "true" when the nodes themselves serve TLS, else empty. */}}
{{- define "refresh-relay.hasTls" -}}
{{- if or .Values.tls.existingSecret .Values.config.server.tls.cert_file }}true{{ end }}
{{- end }}

{{- define "refresh-relay.publicPort" -}}
{{- regexFind "[0-9]+$" .Values.config.server.bind }}
{{- end }}

{{- define "refresh-relay.adminPort" -}}
{{- regexFind "[0-9]+$" .Values.config.admin.bind }}
{{- end }}

{{/* From SIGTERM until the last socket is closed. */}}
{{- define "refresh-relay.drainSeconds" -}}
{{- add (int .Values.config.drain.notice_seconds) (int .Values.config.drain.spread_seconds) }}
{{- end }}

{{/* "true" when the nodes share a Redis, else empty. A URL that holds a password may come from a Secret by `extraEnv`. */}}
{{- define "refresh-relay.usesRedis" -}}
{{- $fromEnv := false }}
{{- range .Values.extraEnv }}
{{- $fromEnv = or $fromEnv (has .name (list "RELAY_REDIS__URL" "RELAY_REDIS__URLS")) }}
{{- end }}
{{- if or .Values.redis.inChart.enabled .Values.config.redis.url .Values.config.redis.urls $fromEnv }}true{{ end }}
{{- end }}

{{- define "refresh-relay.replicas" -}}
{{- if ne (toString .Values.replicaCount) "auto" }}
{{- .Values.replicaCount }}
{{- else }}
{{- ternary 3 1 (eq (include "refresh-relay.usesRedis" .) "true") }}
{{- end }}
{{- end }}

{{/* Ports at which Redis and Sentinels listen, as a JSON list: those given, else those in the URLs. */}}
{{- define "refresh-relay.redisPorts" -}}
{{- $ports := list }}
{{- range .Values.networkPolicy.redis.ports }}
{{- $ports = append $ports (int .) }}
{{- end }}
{{- if not $ports }}
{{- $redis := .Values.config.redis }}
{{- range append $redis.urls $redis.url }}
{{- if and . (not (hasPrefix "redis+unix:" .)) }}
{{- $port := urlParse . | dig "host" "" | regexFind ":[0-9]+$" | trimPrefix ":" }}
{{- $ports = append $ports (int (default (ternary 26379 6379 (eq $redis.mode "sentinel")) $port)) }}
{{- end }}
{{- end }}
{{- if eq $redis.mode "sentinel" }}
{{- $ports = append $ports 6379 }}
{{- end }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}
