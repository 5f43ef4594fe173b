{{/* Names and labels. A component is one of router, redis, export, training. */}}
{{- define "router.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "router.fullname" -}}
{{- $name := include "router.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "router.serviceAccountName" -}}
{{ default (ternary (include "router.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{/* Takes (list . COMPONENT). */}}
{{- define "router.selectorLabels" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "router.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* Takes (list . COMPONENT). */}}
{{- define "router.labels" -}}
{{- $root := first . -}}
{{ include "router.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: adaptive-rag-router
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Takes (list . IMAGE). */}}
{{- define "router.image" -}}
{{- $image := last . -}}
image: "{{ $image.repository }}:{{ default (first .).Chart.AppVersion $image.tag }}"
imagePullPolicy: {{ $image.pullPolicy }}
{{- end }}

{{/* The Deployment, or the StatefulSet that gives each replica a volume for its spool. */}}
{{- define "router.workloadKind" -}}
{{ ternary "StatefulSet" "Deployment" .Values.spool.persistent }}
{{- end }}
