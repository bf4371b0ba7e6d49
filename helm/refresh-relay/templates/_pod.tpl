{{/* The pod of a node. */}}
{{- define "refresh-relay.pod" -}}
serviceAccountName: {{ include "refresh-relay.serviceAccountName" . }}
automountServiceAccountToken: false
# Kubernetes would put variables such as RELAY_PORT beside a Service named `relay`, and the program refuses settings it does not know.
enableServiceLinks: false
# Notice and spread of the drain, and a margin: the pod is not killed while it still moves its clients.
terminationGracePeriodSeconds: {{ add (include "refresh-relay.drainSeconds" .) (int .Values.drainMarginSeconds) }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- $selector := dict "matchLabels" (include "refresh-relay.selector" (dict "root" . "component" "relay") | fromYaml) }}
  {{- /* By revision: else the pods of the version that leaves push the new ones together. */}}
  {{- range .Values.topologySpreadConstraints }}
  - {{ merge (dict) . (dict "labelSelector" $selector "matchLabelKeys" (list "pod-template-hash")) | toYaml | indent 4 | trim }}
  {{- end }}
{{- end }}
{{- with .Values.extraInitContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - {{ include "refresh-relay.container" . | indent 4 | trim }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "refresh-relay.fullname" . }}
  - {{ include "refresh-relay.secretsVolume" . | indent 4 | trim }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
