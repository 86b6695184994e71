{{/* Names and labels */}}
{{- define "rua.name" -}}
{{ ternary .Release.Name (printf "%s-rua" .Release.Name) (contains "rua" .Release.Name) | trunc 30 | trimSuffix "-" }}
{{- end }}

{{- define "rua.selector" -}}
app.kubernetes.io/name: rua
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rua.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "rua.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "rua.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "rua.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* A scalar as written: Helm reads 1048576 as a float and would print 1.048576e+06 */}}
{{- define "rua.scalar" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{/* dict root, process: agent or worker */}}
{{- define "rua.image" -}}
{{- $i := .root.Values.image -}}
{{- $digest := index $i.digests .process -}}
{{- if $digest }}{{ $i.repository }}@{{ $digest }}
{{- else }}{{ $i.repository }}:{{ $i.tag | default .root.Chart.AppVersion }}-{{ .process }}{{ end -}}
{{- end }}

{{/* dict root, component, config (anything whose change must restart the pods, or nil) */}}
{{- define "rua.podMetadata" -}}
labels:
  {{- include "rua.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- range $k, $v := .root.Values.podLabels }}
  {{ $k }}: {{ include "rua.scalar" $v | quote }}
  {{- end }}
annotations:
  checksum/config: {{ toJson .config | sha256sum }}
  {{- range $k, $v := .root.Values.podAnnotations }}
  {{ $k }}: {{ include "rua.scalar" $v | quote }}
  {{- end }}
{{- end }}

{{/* Nobody's privileges, no token */}}
{{- define "rua.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "rua.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* One environment variable: dict name, value */}}
{{- define "rua.variable" -}}
- {name: {{ .name }}, value: {{ include "rua.scalar" .value | quote }}}
{{- end }}

{{- define "rua.kafkaEnvironment" -}}
{{- $k := .Values.kafka -}}
{{- include "rua.kafkaLogin" (dict "root" . "username" $k.username "secret" $k.existingSecret) -}}
{{ include "rua.variable" (dict "name" "RUA_KAFKA_BOOTSTRAP" "value" $k.bootstrap) }}
{{ include "rua.variable" (dict "name" "RUA_KAFKA_SECURITY_PROTOCOL" "value" $k.securityProtocol) }}
{{- if $k.username }}
{{ include "rua.variable" (dict "name" "RUA_KAFKA_MECHANISM" "value" $k.mechanism) }}
{{ include "rua.variable" (dict "name" "RUA_KAFKA_USERNAME" "value" $k.username) }}
{{ include "rua.variable" (dict "name" "RUA_KAFKA_PASSWORD_FILE" "value" (printf "/etc/rua/kafka/%s" $k.passwordKey)) }}
{{- end }}
{{- if $k.caKey }}
{{ include "rua.variable" (dict "name" "RUA_KAFKA_CA_FILE" "value" (printf "/etc/rua/kafka/%s" $k.caKey)) }}
{{- end }}
{{- end }}

{{- define "rua.clickhouseEnvironment" -}}
{{- $c := .Values.clickhouse -}}
{{ include "rua.variable" (dict "name" "RUA_CLICKHOUSE_URL" "value" (required "clickhouse.url is needed for workers.store and migrate" $c.url)) }}
{{ include "rua.variable" (dict "name" "RUA_CLICKHOUSE_DATABASE" "value" $c.database) }}
{{ include "rua.variable" (dict "name" "RUA_CLICKHOUSE_USER" "value" $c.user) }}
{{- if $c.existingSecret }}
{{ include "rua.variable" (dict "name" "RUA_CLICKHOUSE_PASSWORD_FILE" "value" (printf "/etc/rua/clickhouse/%s" $c.passwordKey)) }}
{{- end }}
{{- end }}

{{/* dict name, secret: a Secret as files, readable by the pod's group */}}
{{- define "rua.secretVolume" -}}
- name: {{ .name }}
  secret: {secretName: {{ .secret | quote }}, defaultMode: 0440}
{{- end }}

{{/* What a worker or the migration mounts: dict root, kafka, clickhouse (booleans) */}}
{{- define "rua.workerMounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if and .kafka .root.Values.kafka.existingSecret }}
- {name: kafka, mountPath: /etc/rua/kafka, readOnly: true}
{{- end }}
{{- if and .clickhouse .root.Values.clickhouse.existingSecret }}
- {name: clickhouse, mountPath: /etc/rua/clickhouse, readOnly: true}
{{- end }}
{{- end }}

{{- define "rua.workerVolumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if and .kafka .root.Values.kafka.existingSecret }}
{{ include "rua.secretVolume" (dict "name" "kafka" "secret" .root.Values.kafka.existingSecret) }}
{{- end }}
{{- if and .clickhouse .root.Values.clickhouse.existingSecret }}
{{ include "rua.secretVolume" (dict "name" "clickhouse" "secret" .root.Values.clickhouse.existingSecret) }}
{{- end }}
{{- end }}

{{/* Refuses half a login: dict root, username, secret */}}
{{- define "rua.kafkaLogin" -}}
{{- $sasl := hasPrefix "SASL" .root.Values.kafka.securityProtocol -}}
{{- if and $sasl (not .username) }}{{ fail "kafka.username (or agent.platforms[].kafkaUsername) is needed for SASL" }}{{ end -}}
{{- if and .username (not .secret) }}{{ fail "kafka.existingSecret (or agent.platforms[].kafkaSecret) is needed with a user name" }}{{ end -}}
{{- end }}
