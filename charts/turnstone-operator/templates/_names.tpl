{{- define "operator.selector" -}}
app.kubernetes.io/name: turnstone-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
{{- end -}}

{{- /* A digest says exactly which image it is; a tag beside it is for readers. */ -}}
{{- define "operator.image" -}}
{{- .image.repository }}
{{- if or .image.tag (not .image.digest) }}:{{ .image.tag | default .appVersion }}{{ end }}
{{- with .image.digest }}@{{ . }}{{ end }}
{{- end -}}

{{- /* The kinds of prometheus-operator, where the cluster has them. */ -}}
{{- define "operator.hasPodMonitor" -}}
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1/PodMonitor" }}yes{{ end }}
{{- end -}}
{{- define "operator.hasPrometheusRule" -}}
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1/PrometheusRule" }}yes{{ end }}
{{- end -}}

{{- /* What Prometheus chooses its objects by. */ -}}
{{- define "operator.monitoringLabels" -}}
{{ include "operator.labels" . }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}
