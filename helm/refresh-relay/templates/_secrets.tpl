{{/* Where secrets are kept and where the pods find them. */}}

{{- define "refresh-relay.secretsPath" -}}
/run/secrets/refresh-relay
{{- end }}

{{- define "refresh-relay.publishSecretName" -}}
{{- default (include "refresh-relay.fullname" .) .Values.publish.existingSecret }}
{{- end }}

{{- define "refresh-relay.publishSecretKey" -}}
{{- ternary .Values.publish.existingSecretKey "publish-key" (ne .Values.publish.existingSecret "") }}
{{- end }}

{{- define "refresh-relay.redisSecretName" -}}
{{- default (include "refresh-relay.fullname" .) .Values.redis.existingSecret }}
{{- end }}

{{/* Key of Redis' password in that Secret; empty for a Redis without password. */}}
{{- define "refresh-relay.redisPasswordKey" -}}
{{- if .Values.redis.existingSecret }}
{{- .Values.redis.existingSecretPasswordKey }}
{{- else if or .Values.redis.password .Values.redis.inChart.enabled -}}
redis-password
{{- end }}
{{- end }}

{{/* Key of the Sentinels' password in that Secret; empty for Sentinels without password. */}}
{{- define "refresh-relay.sentinelPasswordKey" -}}
{{- if .Values.redis.existingSecret }}
{{- .Values.redis.existingSecretSentinelPasswordKey }}
{{- else if .Values.redis.sentinelPassword -}}
redis-sentinel-password
{{- end }}
{{- end }}

{{/* `value`, or what the chart's Secret already holds under `key`, or something new. Without a cluster at hand
     (`helm template`, GitOps) it is new each time: give a value or a Secret of your own there. */}}
{{- define "refresh-relay.keptSecret" -}}
{{- $kept := lookup "v1" "Secret" .root.Release.Namespace (include "refresh-relay.fullname" .root) | dig "data" .key "" | b64dec }}
{{- .value | default $kept | default (randAlphaNum 40) }}
{{- end }}

{{/* One volume with every secret file, whichever Secret it comes from. */}}
{{- define "refresh-relay.secretsVolume" -}}
name: secrets
projected:
  defaultMode: 0440
  sources:
    - secret:
        name: {{ include "refresh-relay.publishSecretName" . }}
        items:
          - key: {{ include "refresh-relay.publishSecretKey" . }}
            path: publish-key
    {{- $password := include "refresh-relay.redisPasswordKey" . }}
    {{- $sentinelPassword := include "refresh-relay.sentinelPasswordKey" . }}
    {{- if or $password $sentinelPassword }}
    - secret:
        name: {{ include "refresh-relay.redisSecretName" . }}
        items:
          {{- with $password }}
          - key: {{ . }}
            path: redis-password
          {{- end }}
          {{- with $sentinelPassword }}
          - key: {{ . }}
            path: redis-sentinel-password
          {{- end }}
    {{- end }}
    {{- range $setting, $from := .Values.settingsFromSecrets }}
    - secret:
        name: {{ $from.secret }}
        items:
          - key: {{ $from.key }}
            path: {{ $setting }}
    {{- end }}
    {{- with .Values.tls }}
    {{- if .existingSecret }}
    - secret:
        name: {{ .existingSecret }}
        items:
          - key: {{ .certKey }}
            path: tls.crt
          - key: {{ .keyKey }}
            path: tls.key
    {{- end }}
    {{- end }}
    {{- with .Values.redis.tls }}
    {{- if .existingSecret }}
    - secret:
        name: {{ .existingSecret }}
        items:
          {{- range $path, $key := dict "redis-ca.crt" .caKey "redis-tls.crt" .certKey "redis-tls.key" .keyKey }}
          {{- if $key }}
          - key: {{ $key }}
            path: {{ $path }}
          {{- end }}
          {{- end }}
    {{- end }}
    {{- end }}
{{- end }}
