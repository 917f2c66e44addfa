{{- define "ganagerie.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 54 characters leave room for "-headless" within the 63 of a name. */}}
{{- define "ganagerie.fullname" -}}
{{- $name := include "ganagerie.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- end -}}

{{- define "ganagerie.selector" -}}
app.kubernetes.io/name: {{ include "ganagerie.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ganagerie.labels" -}}
{{ include "ganagerie.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ganagerie.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "ganagerie.ports" -}}
- {name: grpc, port: {{ .Values.config.port }}, targetPort: grpc, appProtocol: grpc}
- {name: http, port: {{ .Values.config.http_port }}, targetPort: http, appProtocol: http}
{{- end -}}

{{/* What the container may do, and not: the image's user, and nothing of its own files written. */}}
{{- define "ganagerie.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Settings that the other values make, as YAML. */}}
{{- define "ganagerie.made" -}}
{{- if ne .Values.zoo.source "bundled" }}
zoo: /zoo
{{- end }}
{{- if .Values.tls.secret }}
tls_cert: /etc/ganagerie/tls/tls.crt
tls_key: /etc/ganagerie/tls/tls.key
{{- end }}
{{- if .Values.tls.clientCaSecret }}
tls_client_ca: /etc/ganagerie/client-ca/{{ .Values.tls.clientCaKey }}
{{- end }}
{{- if .Values.apiKeys.secret }}
api_keys: /etc/ganagerie/api-keys/{{ .Values.apiKeys.key }}
{{- end }}
{{- if .Values.admin.secret }}
admin: true
admin_keys: /etc/ganagerie/admin-keys/{{ .Values.admin.key }}
{{- end }}
{{- end -}}

{{/* The file that `serve --config` reads. A scalar of JSON is one of TOML; toToml makes
floats of integers. */}}
{{- define "ganagerie.toml" -}}
{{- range $key, $value := merge (include "ganagerie.made" . | fromYaml) .Values.config }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end -}}

{{/* Volumes of Secrets by their folder in /etc/ganagerie, as YAML. */}}
{{- define "ganagerie.secrets" -}}
{{- with .Values.tls.secret }}
tls: {{ . | quote }}
{{- end }}
{{- with .Values.tls.clientCaSecret }}
client-ca: {{ . | quote }}
{{- end }}
{{- with .Values.apiKeys.secret }}
api-keys: {{ . | quote }}
{{- end }}
{{- with .Values.admin.secret }}
admin-keys: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* What no schema can say. */}}
{{- define "ganagerie.check" -}}
{{- $v := .Values -}}
{{- if eq (int $v.config.port) (int $v.config.http_port) }}
{{- fail (printf "config.port and config.http_port are both %d: each needs a port of its own" (int $v.config.port)) }}
{{- end }}
{{- if and $v.tls.clientCaSecret (not $v.tls.secret) }}
{{- fail "tls.clientCaSecret needs tls.secret beside it" }}
{{- end }}
{{- if and $v.admin.secret (not $v.apiKeys.secret) }}
{{- fail "admin.secret needs apiKeys.secret beside it" }}
{{- end }}
{{- if and $v.config.max_in_flight_per_key (not $v.apiKeys.secret) }}
{{- fail "config.max_in_flight_per_key needs apiKeys.secret beside it" }}
{{- end }}
{{- if and (eq $v.zoo.source "claim") (not $v.zoo.claim.name) }}
{{- fail "zoo.source is claim: zoo.claim.name must name a PersistentVolumeClaim" }}
{{- end }}
{{- if and (eq $v.zoo.source "image") (not $v.zoo.image.reference) }}
{{- fail "zoo.source is image: zoo.image.reference must name an image" }}
{{- end }}
{{- if and (eq $v.zoo.source "pull") (not $v.zoo.pull.urls) }}
{{- fail "zoo.source is pull: zoo.pull.urls must have a URL" }}
{{- end }}
{{- if and $v.autoscaling.enabled (lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) }}
{{- fail (printf "autoscaling.maxReplicas is %d, less than autoscaling.minReplicas, %d" (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) }}
{{- end }}
{{- if and $v.networkPolicy.enabled (not $v.networkPolicy.egress) }}
{{- if eq $v.zoo.source "pull" }}
{{- fail "zoo.source is pull: networkPolicy.egress must let it reach DNS and the store" }}
{{- end }}
{{- if eq (default "off" $v.config.traces) "otlp" }}
{{- fail "config.traces is otlp: networkPolicy.egress must let it reach DNS and the collector" }}
{{- end }}
{{- end }}
{{- end -}}
