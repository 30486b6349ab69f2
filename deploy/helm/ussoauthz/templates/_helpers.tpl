{{- define "ussoauthz.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "ussoauthz.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "ussoauthz.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ussoauthz.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ussoauthz.selector" -}}
app.kubernetes.io/name: {{ include "ussoauthz.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ussoauthz.labels" -}}
{{ include "ussoauthz.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ussoauthz.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ussoauthz.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ussoauthz.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "ussoauthz.tlsSecret" -}}
{{- if .Values.tls.secretName -}}
{{- .Values.tls.secretName -}}
{{- else if .Values.tls.certManager.enabled -}}
{{- printf "%s-tls" (include "ussoauthz.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* The configuration: what the user wrote over what this chart knows. */}}
{{- define "ussoauthz.config" -}}
{{- $known := dict "shutdown" (dict "drain" (printf "%vs" .Values.shutdown.drainSeconds) "grace" (printf "%vs" .Values.shutdown.graceSeconds)) -}}
{{- if eq .Values.mode "sidecar" -}}
{{- $_ := set $known "listen" "unix:///run/ussoauthz/authz.sock" -}}
{{- else -}}
{{- $_ := set $known "listen" "0.0.0.0:9191" -}}
{{- end -}}
{{- $_ := set $known "admin" (dict "listen" "0.0.0.0:9192") -}}
{{- if include "ussoauthz.tlsSecret" . -}}
{{- $tls := dict "cert_file" "/etc/ussoauthz/tls/tls.crt" "key_file" "/etc/ussoauthz/tls/tls.key" -}}
{{- if .Values.tls.clientCA -}}
{{- $_ := set $tls "client_ca_file" "/etc/ussoauthz/tls/ca.crt" -}}
{{- with .Values.tls.peers -}}{{- $_ := set $tls "peers" . -}}{{- end -}}
{{- end -}}
{{- $_ := set $known "tls" $tls -}}
{{- $_ := set $known "require_tls" true -}}
{{- end -}}
{{- if .Values.keyStore.enabled -}}
{{- $_ := set $known "jwks_dir" "/var/lib/ussoauthz/keys" -}}
{{- end -}}
{{- if .Values.policies -}}
{{- $_ := set $known "policy" (dict "paths" (list "/etc/ussoauthz/policies")) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $known (deepCopy .Values.config)) -}}
{{- end -}}

{{/* GOMEMLIMIT: a part of the memory limit, in bytes. */}}
{{- define "ussoauthz.memoryLimit" -}}
{{- $limit := toString (dig "limits" "memory" "" .Values.resources) -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "k" 1000 "M" 1000000 "G" 1000000000 -}}
{{- $unit := regexFind "[A-Za-z]+$" $limit -}}
{{- $number := trimSuffix $unit $limit -}}
{{- if and $number (or (eq $unit "") (hasKey $units $unit)) -}}
{{- $factor := 1 -}}
{{- if $unit -}}{{- $factor = get $units $unit -}}{{- end -}}
{{- printf "%d" (int64 (divf (mulf (float64 $number) $factor .Values.goMemLimitPercent) 100)) -}}
{{- end -}}
{{- end -}}

{{/* The container, for the pods of this chart and for sidecars in others. */}}
{{- define "ussoauthz.container" -}}
name: ussoauthz
image: {{ include "ussoauthz.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, -c, /etc/ussoauthz/config/ussoauthz.yaml]
{{- $memory := include "ussoauthz.memoryLimit" . }}
{{- if or $memory .Values.env }}
env:
  {{- if $memory }}
  - {name: GOMEMLIMIT, value: {{ $memory | quote }}}
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  {{- if ne .Values.mode "sidecar" }}
  - {name: grpc, containerPort: 9191, protocol: TCP}
  {{- end }}
  - {name: admin, containerPort: 9192, protocol: TCP}
startupProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 1
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  failureThreshold: 1
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  failureThreshold: 3
{{- if gt (int .Values.shutdown.preStopSeconds) 0 }}
lifecycle:
  preStop:
    sleep: {seconds: {{ int .Values.shutdown.preStopSeconds }}}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: ussoauthz-config, mountPath: /etc/ussoauthz/config, readOnly: true}
  {{- if .Values.policies }}
  - {name: ussoauthz-policies, mountPath: /etc/ussoauthz/policies, readOnly: true}
  {{- end }}
  {{- if include "ussoauthz.tlsSecret" . }}
  - {name: ussoauthz-tls, mountPath: /etc/ussoauthz/tls, readOnly: true}
  {{- end }}
  {{- if .Values.keyStore.enabled }}
  - {name: ussoauthz-keys, mountPath: /var/lib/ussoauthz}
  {{- end }}
  {{- if eq .Values.mode "sidecar" }}
  - {name: ussoauthz-socket, mountPath: /run/ussoauthz}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The volumes that the container mounts. */}}
{{- define "ussoauthz.volumes" -}}
- name: ussoauthz-config
{{- if eq .Values.existingConfig.kind "Secret" }}
  secret: {secretName: {{ .Values.existingConfig.name }}}
{{- else }}
  configMap: {name: {{ default (include "ussoauthz.fullname" .) .Values.existingConfig.name }}}
{{- end }}
{{- if .Values.policies }}
- name: ussoauthz-policies
  configMap: {name: {{ include "ussoauthz.fullname" . }}-policies}
{{- end }}
{{- if include "ussoauthz.tlsSecret" . }}
- name: ussoauthz-tls
  secret: {secretName: {{ include "ussoauthz.tlsSecret" . }}, defaultMode: 0440}
{{- end }}
{{- if .Values.keyStore.enabled }}
- name: ussoauthz-keys
{{- if .Values.keyStore.persistentVolumeClaim }}
  persistentVolumeClaim: {claimName: {{ .Values.keyStore.persistentVolumeClaim }}}
{{- else }}
  emptyDir: {sizeLimit: 64Mi}
{{- end }}
{{- end }}
{{- if eq .Values.mode "sidecar" }}
- name: ussoauthz-socket
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ussoauthz.terminationGracePeriod" -}}
{{- add .Values.shutdown.preStopSeconds .Values.shutdown.drainSeconds .Values.shutdown.graceSeconds 5 -}}
{{- end -}}
