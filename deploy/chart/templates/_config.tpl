{{/* Where the store is. */}}
{{- define "router.redisUrl" -}}
{{- if .Values.redis.enabled -}}
{{- if .Values.redis.url }}{{ fail "redis.url names a store of your own: set redis.enabled to false as well" }}{{ end -}}
redis://{{ include "router.fullname" . }}-redis:6379/0
{{- else -}}
{{- /* A user's bare name may stand before the host. A password may contain a slash, and be an option. */ -}}
{{- if regexMatch "[@?]" (regexReplaceAll "://[A-Za-z0-9_.-]+@" .Values.redis.url "://") }}{{ fail "redis.url holds a password, or options (after ?): put the password into a Secret, and name that in redis.existingSecret" }}{{ end -}}
{{ required "redis.url is needed where redis.enabled is false: replicas share nothing but the store" .Values.redis.url }}
{{- end -}}
{{- end }}

{{/* All of router.toml: config, with the store and the keys as redis and auth have them. */}}
{{- define "router.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $redis := default dict $config.redis -}}
{{- $auth := default dict $config.auth -}}
{{- range list "url" "password_env" "sentinel_password_env" -}}
{{- if hasKey $redis . }}{{ fail (printf "config.redis.%s is written by the chart: set redis.url and redis.existingSecret instead" .) }}{{ end -}}
{{- end -}}
{{- range list "api_keys_env" "admin_key_env" -}}
{{- if hasKey $auth . }}{{ fail (printf "config.auth.%s is written by the chart: set auth.existingSecret and auth.apiKeysKey instead" .) }}{{ end -}}
{{- end -}}
{{- range list (list "models" "base_url") (list "retrievers" "url") (list "retrievers" "path") -}}
{{- $table := index . 0 -}}
{{- $key := index . 1 -}}
{{- range $name, $backend := get $config $table | default dict -}}
{{- if regexMatch "(?i)://.*@|[?&][^=&]*(key|token|secret|passw|auth|credential|signature|sig=)" (get $backend $key | default "") }}{{ fail (printf "config.%s.%s.%s holds a secret: name its variable in api_key_env, and its Secret in secretEnv" $table $name $key) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- /* A week's index would fill the bundled store at some 15 decisions a second. */ -}}
{{- if and .Values.redis.enabled (not (hasKey $redis "trace_hours")) }}{{ $_ := set $redis "trace_hours" 8 }}{{ end -}}
{{- $_ := set $redis "url" (include "router.redisUrl" .) -}}
{{- if .Values.redis.existingSecret -}}
{{- $_ := set $redis "password_env" "REDIS_PASSWORD" -}}
{{- if .Values.redis.sentinelPasswordKey }}{{ $_ := set $redis "sentinel_password_env" "REDIS_SENTINEL_PASSWORD" }}{{ end -}}
{{- end -}}
{{- if and .Values.auth.existingSecret .Values.auth.apiKeysKey }}{{ $_ := set $auth "api_keys_env" "RAG_ROUTER_API_KEYS" }}{{ end -}}
{{- $_ := set $config "redis" $redis -}}
{{- if $auth }}{{ $_ := set $config "auth" $auth }}{{ end -}}
{{ include "router.tomlTable" (dict "path" "" "table" $config) }}
{{- end }}

{{/* Takes (list NAME SECRET KEY). */}}
{{- define "router.secretVariable" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end }}

{{/* The store's passwords, by reference. */}}
{{- define "router.redisVariables" -}}
{{- if .Values.redis.existingSecret }}
{{ include "router.secretVariable" (list "REDIS_PASSWORD" .Values.redis.existingSecret .Values.redis.passwordKey) }}
{{- if .Values.redis.sentinelPasswordKey }}
{{ include "router.secretVariable" (list "REDIS_SENTINEL_PASSWORD" .Values.redis.existingSecret .Values.redis.sentinelPasswordKey) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Object storage, as AWS clients read it. */}}
{{- define "router.storageVariables" -}}
{{- with .Values.objectStorage }}
{{- if .existingSecret }}
{{ include "router.secretVariable" (list "AWS_ACCESS_KEY_ID" .existingSecret .accessKeyIdKey) }}
{{ include "router.secretVariable" (list "AWS_SECRET_ACCESS_KEY" .existingSecret .secretAccessKeyKey) }}
{{- end }}
{{- if .endpoint }}
- name: AWS_ENDPOINT_URL
  value: {{ .endpoint | quote }}
{{- end }}
{{- if .region }}
- name: AWS_REGION
  value: {{ .region | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What secretEnv names, for the service alone. */}}
{{- define "router.secretVariables" -}}
{{- range $name, $from := .Values.secretEnv }}
{{ include "router.secretVariable" (list $name $from.secret $from.key) }}
{{- end }}
{{- end }}

{{/* What extraEnv gives, to the service and the jobs. */}}
{{- define "router.extraVariables" -}}
{{- range $name, $value := .Values.extraEnv }}
{{- if regexMatch "(KEY|KEYS|PASSWORD|SECRET|TOKEN)$" $name }}{{ fail (printf "extraEnv.%s is named like a secret: name its Secret in secretEnv" $name) }}{{ end }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
