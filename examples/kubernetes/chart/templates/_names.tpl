{{- /* The webhook's names are fixed: a cluster has one. */}}
{{- define "trio-sidecar.name" -}}trio-sidecar-webhook{{- end }}
{{- define "trio-sidecar.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "trio-sidecar.labels" -}}
app.kubernetes.io/name: {{ include "trio-sidecar.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- define "trio-sidecar.metadata" -}}
name: {{ include "trio-sidecar.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "trio-sidecar.labels" . | nindent 2 }}
{{- end }}
