{{/* What every pod of the chart has in common. */}}
{{- define "router.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "router.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "router.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "router.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "router.storageClass" -}}
{{- with . }}
storageClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{/* A replica of the service, under the Deployment or the StatefulSet. */}}
{{- define "router.podTemplate" -}}
metadata:
  labels:
    {{- include "router.labels" (list . "router") | nindent 4 }}
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # A changed configuration starts new pods.
    checksum/config: {{ include "router.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  {{- include "router.podSecurity" . | nindent 2 }}
  serviceAccountName: {{ include "router.serviceAccountName" . }}
  {{- with include "router.pullSecrets" . | trim }}{{ nindent 2 . }}{{ end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  # preStop, --grace for answers under way, and 15 seconds to write the log.
  terminationGracePeriodSeconds: {{ add .Values.preStopSeconds .Values.graceSeconds 15 }}
  {{- with include "router.placement" . | trim }}{{ nindent 2 . }}{{ end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      labelSelector:
        matchLabels:
          {{- include "router.selectorLabels" (list $ "router") | nindent 10 }}
      # Replicas of one revision only: the old ones are about to go.
      matchLabelKeys: [{{ ternary "controller-revision-hash" "pod-template-hash" $.Values.spool.persistent }}]
    {{- end }}
  {{- end }}
  containers:
    - name: router
      {{- include "router.image" (list . .Values.image) | nindent 6 }}
      args:
        - serve
        - --config=/etc/rag-router/router.toml
        - --host=0.0.0.0
        - --port=8000
        - --workers={{ .Values.workers }}
        - --data=/var/lib/rag-router
        - --grace={{ .Values.graceSeconds }}
      {{- with .Values.envFromSecrets }}
      envFrom:
        {{- range . }}
        - secretRef:
            name: {{ . }}
        {{- end }}
      {{- end }}
      {{- $storage := ternary (include "router.storageVariables" .) "" (not (empty (include "router.indexOnObjectStorage" .))) }}
      {{- with list (include "router.redisVariables" .) (include "router.callerKeys" .) $storage (include "router.secretVariables" .) (include "router.extraVariables" .) | join "" | trim }}
      env:
        {{- nindent 8 . }}
      {{- end }}
      ports:
        - name: http
          containerPort: 8000
      startupProbe:
        httpGet: {path: /health/live, port: http}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /health/live, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /health/ready, port: http}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      lifecycle:
        preStop:
          # Until every proxy has taken the pod off its list.
          sleep:
            seconds: {{ .Values.preStopSeconds }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      {{- include "router.containerSecurity" . | nindent 6 }}
      volumeMounts:
        - name: config
          mountPath: /etc/rag-router
          readOnly: true
        - name: data
          mountPath: /var/lib/rag-router
        - name: tmp
          mountPath: /tmp
        {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "router.fullname" . }}
    {{- if not .Values.spool.persistent }}
    - name: data
      emptyDir: {}
    {{- end }}
    - name: tmp
      emptyDir: {}
    {{- with .Values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}

{{- define "router.callerKeys" -}}
{{- with .Values.auth }}
{{- if .existingSecret }}
{{ include "router.secretVariable" (list "RAG_ROUTER_ADMIN_KEY" .existingSecret .adminKeyKey) }}
{{- if .apiKeysKey }}
{{ include "router.secretVariable" (list "RAG_ROUTER_API_KEYS" .existingSecret .apiKeysKey) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
