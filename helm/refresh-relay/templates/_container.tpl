{{/* The relay's container. */}}
{{- define "refresh-relay.container" -}}
name: relay
image: {{ include "refresh-relay.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
ports:
  - name: http
    containerPort: {{ include "refresh-relay.publicPort" . }}
    protocol: TCP
  - name: admin
    containerPort: {{ include "refresh-relay.adminPort" . }}
    protocol: TCP
env:
  - name: RELAY_CONFIG
    value: /etc/refresh-relay/config.toml
  {{- include "refresh-relay.secretFiles" . | nindent 2 }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
startupProbe:
  {{- include "refresh-relay.probe" (dict "path" "/livez" "timings" .Values.startupProbe) | nindent 2 }}
livenessProbe:
  {{- include "refresh-relay.probe" (dict "path" "/livez" "timings" .Values.livenessProbe) | nindent 2 }}
readinessProbe:
  {{- include "refresh-relay.probe" (dict "path" "/readyz" "timings" .Values.readinessProbe) | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: config
    mountPath: /etc/refresh-relay
    readOnly: true
  - name: secrets
    mountPath: {{ include "refresh-relay.secretsPath" . }}
    readOnly: true
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Secrets are named to the relay as files, never put into its environment. */}}
{{- define "refresh-relay.secretFiles" -}}
- name: RELAY_PUBLISH__SECRET_FILE
  value: {{ include "refresh-relay.secretsPath" . }}/publish-key
{{- if include "refresh-relay.redisPasswordKey" . }}
- name: RELAY_REDIS__PASSWORD_FILE
  value: {{ include "refresh-relay.secretsPath" . }}/redis-password
{{- end }}
{{- if include "refresh-relay.sentinelPasswordKey" . }}
- name: RELAY_REDIS__SENTINEL_PASSWORD_FILE
  value: {{ include "refresh-relay.secretsPath" . }}/redis-sentinel-password
{{- end }}
{{- range $setting, $_ := .Values.settingsFromSecrets }}
- name: RELAY_{{ $setting | replace "." "__" | upper }}
  value: {{ include "refresh-relay.secretsPath" $ }}/{{ $setting }}
{{- end }}
{{- end }}

{{- define "refresh-relay.probe" -}}
httpGet:
  path: {{ .path }}
  port: admin
{{ toYaml .timings }}
{{- end }}
