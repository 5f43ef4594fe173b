{{/*
router.toml out of values. Helm's own toToml writes every whole number as a float (5 as 5.0), which the
service refuses. JSON's strings and numbers are TOML's too.
*/}}
{{- define "router.tomlKey" -}}
{{ if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end }}
{{- end }}

{{- define "router.tomlValue" -}}
{{- if kindIs "map" . -}}
{{- $parts := list -}}
{{- range $key, $value := . -}}
{{- $parts = append $parts (printf "%s = %s" (include "router.tomlKey" $key) (include "router.tomlValue" $value)) -}}
{{- end -}}
{ {{ join ", " $parts }} }
{{- else if kindIs "slice" . -}}
{{- $parts := list -}}
{{- range . -}}{{- $parts = append $parts (include "router.tomlValue" .) -}}{{- end -}}
[{{ join ", " $parts }}]
{{- else -}}
{{ toRawJson . }}
{{- end -}}
{{- end }}

{{/* Takes (dict "path" PATH "table" MAP); null leaves a key out. */}}
{{- define "router.tomlTable" -}}
{{- $path := .path -}}
{{- $lines := list -}}
{{- $tables := list -}}
{{- range $key, $value := .table -}}
{{- $name := include "router.tomlKey" $key -}}
{{- if kindIs "map" $value -}}
{{- $tables = append $tables (include "router.tomlTable" (dict "path" (join "." (compact (list $path $name))) "table" $value)) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $lines = append $lines (printf "%s = %s" $name (include "router.tomlValue" $value)) -}}
{{- end -}}
{{- end -}}
{{- if and $path (or $lines (not $tables)) -}}{{- $lines = prepend $lines (printf "[%s]" $path) -}}{{- end -}}
{{ join "\n\n" (compact (prepend $tables (join "\n" $lines))) }}
{{- end }}
