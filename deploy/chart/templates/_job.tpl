{{/* Where the log lies: on object storage, or on the volume that both jobs mount. */}}
{{- define "router.logsPlace" -}}
{{ default "/var/lib/rag-router/logs" .Values.logs.url }}
{{- end }}

{{/* Options by which rag-policy reaches the store. Takes (list . OPTION). */}}
{{- define "router.storeOptions" -}}
{{- $root := first . -}}
- {{ last . }}={{ include "router.redisUrl" $root }}
{{- if $root.Values.redis.existingSecret }}
- --password-env=REDIS_PASSWORD
{{- if $root.Values.redis.sentinelPasswordKey }}
- --sentinel-password-env=REDIS_SENTINEL_PASSWORD
{{- end }}
{{- end }}
{{- with ($root.Values.config.redis).prefix }}
- --prefix={{ . }}
{{- end }}
{{- end }}

{{/*
A CronJob's spec.jobTemplate.spec.
Takes a dict: root, component, job (the values of this job), args (YAML), volumes and mounts (YAML).
*/}}
{{- define "router.jobSpec" -}}
backoffLimit: 1
activeDeadlineSeconds: {{ .job.deadlineSeconds }}
template:
  metadata:
    labels:
      {{- include "router.labels" (list .root .component) | nindent 6 }}
  spec:
    restartPolicy: Never
    {{- include "router.podSecurity" .root | nindent 4 }}
    serviceAccountName: {{ include "router.serviceAccountName" .root }}
    {{- with include "router.pullSecrets" .root | trim }}{{ nindent 4 . }}{{ end }}
    {{- with include "router.placement" .root | trim }}{{ nindent 4 . }}{{ end }}
    containers:
      - name: {{ .component }}
        {{- include "router.image" (list .root .root.Values.trainerImage) | nindent 8 }}
        command: [rag-policy]
        args:
          {{- .args | nindent 10 }}
          {{- with .job.extraArgs }}{{ toYaml . | nindent 10 }}{{ end }}
        {{- with list (include "router.redisVariables" .root) (include "router.storageVariables" .root) (include "router.extraVariables" .root) | join "" | trim }}
        env:
          {{- nindent 10 . }}
        {{- end }}
        resources:
          {{- toYaml .job.resources | nindent 10 }}
        {{- include "router.containerSecurity" .root | nindent 8 }}
        volumeMounts:
          - name: tmp
            mountPath: /tmp
          {{- if not .root.Values.logs.url }}
          - name: logs
            mountPath: /var/lib/rag-router/logs
          {{- end }}
          {{- with .mounts }}{{ nindent 10 . }}{{ end }}
          {{- with .root.Values.extraVolumeMounts }}{{ toYaml . | nindent 10 }}{{ end }}
    volumes:
      - name: tmp
        emptyDir: {}
      {{- if not .root.Values.logs.url }}
      - name: logs
        persistentVolumeClaim:
          claimName: {{ include "router.fullname" .root }}-logs
      {{- end }}
      {{- with .volumes }}{{ nindent 6 . }}{{ end }}
      {{- with .root.Values.extraVolumes }}{{ toYaml . | nindent 6 }}{{ end }}
{{- end }}

{{/* Takes (list . COMPONENT SIZE STORAGE_CLASS ACCESS_MODES). */}}
{{- define "router.keptVolume" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "router.fullname" (index . 0) }}-{{ index . 1 }}
  labels:
    {{- include "router.labels" (list (index . 0) (index . 1)) | nindent 4 }}
  annotations:
    # An uninstalled release mustn't take the log with it.
    helm.sh/resource-policy: keep
spec:
  accessModes: {{ toJson (index . 4) }}
  {{- with include "router.storageClass" (index . 3) | trim }}{{ nindent 2 . }}{{ end }}
  resources:
    requests:
      storage: {{ index . 2 }}
{{- end }}
