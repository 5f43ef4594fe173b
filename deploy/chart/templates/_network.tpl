{{/* Ports and peers of the NetworkPolicies. */}}

{{/* The port of each URL in a list, each once, as rules. */}}
{{- define "router.portsOf" -}}
{{- $ports := list -}}
{{- range compact . -}}
{{- $parts := urlParse . -}}
{{- $named := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $parts.host) -}}
{{- $ports = append $ports (default (ternary "80" "443" (eq $parts.scheme "http")) $named) -}}
{{- end -}}
{{- range $ports | uniq | sortAlpha }}
- {protocol: TCP, port: {{ . }}}
{{- end -}}
{{- end }}

{{/* The store's ports: those that values name, or the URL's. */}}
{{- define "router.redisPorts" -}}
{{- $ports := .Values.redis.enabled | ternary (list 6379) .Values.networkPolicy.redisPorts -}}
{{- if not $ports -}}
{{- $hosts := (splitList "/" (.Values.redis.url | splitList "://" | last)) | first -}}
{{- range splitList "," (splitList "@" $hosts | last) -}}
{{- $named := regexFind "[0-9]+$" (regexFind ":[0-9]+$" .) -}}
{{- $ports = append $ports (default (ternary "26379" "6379" (contains "+sentinel" $.Values.redis.url)) $named) -}}
{{- end -}}
{{/* Sentinels only name the primary, which has a port of its own. */}}
{{- if contains "+sentinel" .Values.redis.url }}{{ $ports = append $ports "6379" }}{{ end -}}
{{- end -}}
{{- range $ports | uniq }}
- {protocol: TCP, port: {{ . }}}
{{- end -}}
{{- end }}

{{/* Takes (list PORTS PEERS): one egress rule; without peers, to anywhere on these ports. */}}
{{- define "router.egressRule" -}}
{{- if first . }}
- ports:
    {{- first . | nindent 4 }}
  {{- with last . }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "router.storeEgress" -}}
{{- $peers := .Values.networkPolicy.redisTo -}}
{{- if .Values.redis.enabled -}}
{{- $labels := include "router.selectorLabels" (list . "redis") | fromYaml -}}
{{- $peers = list (dict "podSelector" (dict "matchLabels" $labels)) -}}
{{- end -}}
{{ include "router.egressRule" (list (include "router.redisPorts" . | trim) $peers) }}
{{- end }}

{{- define "router.dnsEgress" -}}
{{ include "router.egressRule" (list "- {protocol: UDP, port: 53}\n- {protocol: TCP, port: 53}" .Values.networkPolicy.dnsTo) }}
{{- end }}

{{- define "router.backendEgress" -}}
{{- $urls := list -}}
{{- range .Values.config.models }}{{ $urls = append $urls .base_url }}{{ end -}}
{{- range .Values.config.retrievers }}{{ $urls = append $urls .url }}{{ end -}}
{{ include "router.egressRule" (list (include "router.portsOf" $urls | trim) .Values.networkPolicy.backendsTo) }}
{{- end }}

{{/* Takes (list . NEEDED). */}}
{{- define "router.objectStorageEgress" -}}
{{- $root := first . -}}
{{- if last . -}}
{{- $endpoint := default "https://amazonaws.com" $root.Values.objectStorage.endpoint -}}
{{ include "router.egressRule" (list (include "router.portsOf" (list $endpoint) | trim) $root.Values.networkPolicy.objectStorageTo) }}
{{- end -}}
{{- end }}

{{/* Whether a retriever reads its index from object storage; empty where none does. */}}
{{- define "router.indexOnObjectStorage" -}}
{{- range .Values.config.retrievers -}}
{{- if hasPrefix "s3://" (default "" .path) }}yes{{ end -}}
{{- end -}}
{{- end }}
