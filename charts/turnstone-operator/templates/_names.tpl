{{- define "operator.selector" -}}
app.kubernetes.io/name: turnstone-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
{{- end -}}

{{- define "operator.image" -}}
{{ .image.repository }}:{{ .image.tag | default .appVersion }}
{{- end -}}
