{{/* Rules for egress. Each takes .Values.networkPolicy and is one item of a list. */}}
{{- define "paddock.dnsEgress" -}}
- ports:
    {{- range .dns.ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "paddock.apiServerEgress" -}}
- to:
    {{- range .apiServer.cidrs }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  ports:
    {{- range .apiServer.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{- define "paddock.runtimeEgress" -}}
- to:
    - namespaceSelector: {}
      podSelector:
        matchLabels:
          app.kubernetes.io/name: paddock-runtime
  ports:
    - {port: 8080, protocol: TCP}
{{- end -}}

{{- define "paddock.downloadEgress" -}}
- to:
    {{- range .downloads.to }}
    - ipBlock:
        {{- toYaml . | nindent 8 }}
    {{- end }}
  ports:
    {{- range .downloads.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- with .downloads.more }}
{{ toYaml . }}
{{- end }}
{{- end -}}
