{{/* Names begin with the release's, and with "paddock" once. */}}
{{- define "paddock.name" -}}
{{- if contains "paddock" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-paddock" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "part" "gateway"): labels of all that belongs to a part. */}}
{{- define "paddock.labels" -}}
{{ include "paddock.selector" . }}
app.kubernetes.io/part-of: paddock
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "paddock.selector" -}}
app.kubernetes.io/name: paddock-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{/* (dict "root" $ "image" .Values.gateway.image) */}}
{{- define "paddock.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "paddock.rootTokenSecret" -}}
{{- .Values.rootToken.existingSecret | default (printf "%s-root-token" (include "paddock.name" .)) -}}
{{- end -}}

{{/* The Secret with records of API keys; empty when there is none. */}}
{{- define "paddock.keysSecret" -}}
{{- with .Values.gateway.apiKeys -}}
{{- if .existingSecret -}}
{{ .existingSecret }}
{{- else if or .records (and .generate (not .anonymous)) -}}
{{ include "paddock.name" $ }}-api-keys
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether a key is generated: "true" or empty. */}}
{{- define "paddock.generatesKey" -}}
{{- with .Values.gateway.apiKeys -}}
{{- if and .generate (not .anonymous) (not .existingSecret) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Pod Security `restricted`. */}}
{{- define "paddock.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "paddock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* (dict "root" $ "part" "gateway" "values" .Values.gateway): what the pods of both Deployments share. */}}
{{- define "paddock.placement" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "paddock.selector" . | nindent 8 }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "paddock.adminProbes" -}}
startupProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}
